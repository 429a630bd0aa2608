"""The ruler: every verdict on every crystal, and every metric with its counts.

Words, kept apart (every metric has its line here):

* **valid_cdvae**: all distances above 0.5 Å, volume at least 0.1 Å³. **valid_strict**: also every distance at least
  0.7 of the covalent radii, density 1.5 to 20 g/cm³. **charge_neutral**: some mixed-valence assignment sums to zero.
  All of the inputs, files that could not be read included: they are neither.
* Only crystals that are strictly valid and made of elements of the system are compared further. **unique**: the first
  of its equals (StructureMatcher, default tolerances). **novel**: equal to no known phase. **new**: novel, and equal to
  no crystal learned from either. All of the compared; **valid_unique_novel** and **valid_unique_new** of the inputs.
* Relaxation: **e_above_hull** is the energy above the hull of the relaxed known phases, **stable** at most 0,
  **metastable** at most 0.1 eV/atom, of all crystals given to the relaxer. After it, unique (the lowest in energy of
  its equals), novel and new are judged again, of those whose relaxation is usable.
* **SUN** / **MSUN**: stable / metastable, unique among the relaxed, and novel after relaxation. ``of_relaxed`` divides
  by the crystals given to the relaxer. ``of_budget`` divides by all inputs: where only a random part of the eligible
  crystals was relaxed, it is the rate of that part times the share of inputs that are eligible. (More relaxations find
  more copies, so this estimate errs on the high side.) Per CPU-hour: see `crystalgraph.runs.evaluate`.
* **rmsd**: root mean square displacement from given to relaxed, Å, over the pairs that match; with their share.
* **Rediscovery**: known compounds of the whole system that some input equals. Where the matcher cannot tell two known
  phases apart, the one of the same space group counts, else the first.
* CDVAE's set: **struct_valid** is valid_cdvae, **comp_valid** SMACT's verdict, **valid** both; see
  `crystalgraph.evaluation.coverage` for the others, which compare crystals that are valid_cdvae and in the system.

A metric whose reference is missing is absent and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import group_equal, match_all, match_any, rms_displacements
from crystalgraph.crystals.reference_index import MatchLog
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.crystals.validity import densities
from crystalgraph.evaluation.coverage import coverage, property_distances
from crystalgraph.evaluation.rates import Absent, BudgetRate, Metric, Number, Rate, rate, records
from crystalgraph.evaluation.rows import Inputs, Row, first_verdicts
from crystalgraph.known.reference import (
    COMPUTED,
    EXPERIMENTAL,
    Reference,
    reduced_compositions,
    templates_seen,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.relaxation import Relaxation

Watch = Callable[[str, int, int], None]
"""Called with (what is being done, done, in all)."""

METASTABLE = 0.1
"""eV/atom above the hull."""

NO_REFERENCE = "no known phases were given; name them with --reference"
NO_TRAINING = "what the generator learned from is not known; name it with --training"
NOT_RELAXED = "nothing was relaxed; ask for it with --relax"
NO_COVERAGE = "not asked for (--coverage); it takes about 0.06 s an atom"
NOTHING_COMPARED = "no input is strictly valid and in the system"

_PROPERTY_METRICS = ("wdist_density", "wdist_num_elems")
_COVERAGE_METRICS = ("cov_recall", "cov_precision", "comp_div", "struct_div")


@dataclass(frozen=True, kw_only=True)
class KnownPhaseFound:
    """A known phase of the system, and which inputs are equal to it.

    Attributes:
        name: id in the reference.
        formula: reduced.
        space_group: number found with 0.1 Å; None where none is found.
        origin: "experimental", "computed" or "not stated".
        whole_system: whether it has every element of the system, and so counts in the rates.
        template: space group and Wyckoff letters whatever the elements; empty where no symmetry was found.
        template_seen: whether a crystal learned from has the same; None where not known.
        before: names of the inputs that equal it as given.
        after: names of the inputs that equal it after relaxation.
    """

    name: str
    formula: str
    space_group: int | None
    origin: str
    whole_system: bool
    template: str
    template_seen: bool | None
    before: list[str]
    after: list[str]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Everything that was found out.

    Attributes:
        rows: one for each input, in input order.
        metrics: group -> name -> metric.
        rediscovery: the known compounds of the whole system, and the other known phases that were found.
        undecided: stage -> comparisons made, given up after the time limit, and crystals that could not be reduced.
    """

    rows: list[Row]
    metrics: dict[str, dict[str, Metric]]
    rediscovery: list[KnownPhaseFound]
    undecided: dict[str, dict[str, int]]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "metrics": records(self.metrics),
            "rediscovery": [vars(phase) for phase in self.rediscovery],
            "undecided": self.undecided,
        }


def judge(
    inputs: Inputs,
    *,
    system: ChemicalSystem,
    known: Reference | Absent | None = None,
    training: Reference | Absent | None = None,
    relaxations: Mapping[str, Relaxation] | None = None,
    hull: Hull | None = None,
    with_coverage: bool = False,
    cache: Path | None = None,
    workers: int = 1,
    watch: Watch | None = None,
) -> Judgement:
    """Judge crystals.

    Args:
        inputs: crystals by name, and the reason for each that could not be read.
        system: what they should consist of.
        known: known phases, or why there are none; only those made of elements of the system are used.
        training: what the generator learned from, or why that is not known.
        relaxations: of some of the eligible inputs, a random part of them if rates are to hold for all (see
            `crystalgraph.evaluation.rows.not_relaxable`); None if nothing was relaxed.
        hull: of the system; needed with ``relaxations``.
        with_coverage: also compute fingerprints, 0.06 s an atom.
        cache: folder for fingerprints; None keeps none.
        workers: processes; the judgement does not depend on it.
        watch: called as the work goes on.

    Returns:
        The judgement.

    Raises:
        ValueError: if there are no inputs, relaxations without a hull, or one of an input that is not eligible.
    """
    if not inputs:
        raise ValueError("there is nothing to judge")
    known = Absent(NO_REFERENCE) if known is None else known
    training = Absent(NO_TRAINING) if training is None else training
    return _Judge(inputs, system, known, training, workers, watch).judge(relaxations, hull, with_coverage, cache)


class _Judge:
    """One judgement in the making: the rows as dictionaries, filled stage by stage."""

    def __init__(
        self,
        inputs: Inputs,
        system: ChemicalSystem,
        known: Reference | Absent,
        training: Reference | Absent,
        workers: int,
        watch: Watch | None,
    ) -> None:
        self.system, self.workers, self.watch = system, workers, watch
        self.structures = {name: value for name, value in inputs.items() if not isinstance(value, str)}
        verdicts, self.formulas = first_verdicts(inputs, system)
        self.rows = {row["name"]: row for row in verdicts}
        self.compared = [name for name, row in self.rows.items() if row["valid_strict"] and row["in_system"]]
        self.eligible = [name for name, row in self.rows.items() if not row["reason"]]
        self.known = known if isinstance(known, Absent) else known.within(system)
        if isinstance(self.known, Reference) and not len(self.known):
            self.known = Absent(f"{self.known.name} has no known phase of {system}; name another with --reference")
        # Only known phases of a composition that occurs can be found; a large reference has many others.
        self.near: Reference | None = None
        if isinstance(self.known, Reference) and self.compared:
            crystals = from_structures([self.structures[name] for name in self.compared])
            self.near = self.known.of_compositions(reduced_compositions(crystals))
        self.near_groups = [] if self.near is None else space_groups(self.near.structures)
        self.training = training
        self.logs: dict[str, MatchLog] = {}
        self.metrics: dict[str, dict[str, Metric]] = {}

    def judge(
        self, relaxations: Mapping[str, Relaxation] | None, hull: Hull | None, with_coverage: bool, cache: Path | None
    ) -> Judgement:
        """All stages in order."""
        self._validity()
        self._compare("", self.compared, [self.structures[name] for name in self.compared])
        self.metrics["as given"] = self._comparison_rates("", self.compared, NOTHING_COMPARED)
        self.metrics["symmetry"] = self._symmetry("", self.compared, NOTHING_COMPARED)
        if relaxations is None:
            self._no_relaxation()
        else:
            self._relaxed(relaxations, hull)
        phases = self._rediscovery(was_relaxed=relaxations is not None)
        self._cdvae(with_coverage, cache)
        return Judgement(
            rows=[Row(**row) for row in self.rows.values()],
            metrics=self.metrics,
            rediscovery=phases,
            undecided={stage: vars(found) for stage, found in self.logs.items()},
        )

    def _validity(self) -> None:
        rows, n = list(self.rows.values()), len(self.rows)
        n_read = len(self.structures)
        self.metrics["validity"] = {
            "read": Rate(numerator=n_read, denominator=n),
            "in_system": rate(sum(row["in_system"] is True for row in rows), n_read, "no input could be read"),
            **{
                name: Rate(numerator=sum(row[name] is True for row in rows), denominator=n)
                for name in ("valid_cdvae", "valid_strict", "charge_neutral")
            },
        }

    def _compare(self, prefix: str, names: list[str], structures: list[Structure]) -> None:
        """Fill in unique, novel, new and the space groups of some inputs, as given or relaxed.

        Args:
            prefix: of the columns that are filled: "" or "relaxed_".
            names: the inputs, the one to keep of several equal ones first.
            structures: the crystals, in that order.
        """
        stage = prefix.replace("_", " ")
        groups = space_groups(structures)
        for name, group in zip(names, groups, strict=True):
            self.rows[name][f"{prefix}space_group"] = None if group == NOT_FOUND else group
        labels = group_equal(structures, n_jobs=self.workers, **self._options(f"{stage}copies"))
        for k, name in enumerate(names):
            first = int(labels[k])
            self.rows[name][f"{prefix}unique"] = first == k
            self.rows[name][f"{prefix}copy_of"] = "" if first == k else names[first]
        if self.near is not None:
            options = self._options(f"{stage}known phases")
            equal = match_all(structures, self.near.structures, n_jobs=self.workers, **options)
            for k, name in enumerate(names):
                same_group = [position for position in equal[k] if self.near_groups[position] == groups[k]]
                chosen = (same_group or equal[k])[:1]
                self.rows[name][f"{prefix}novel"] = not chosen
                self.rows[name][f"{prefix}known_phase"] = self.near.ids[chosen[0]] if chosen else ""
        if isinstance(self.training, Reference) and names:
            learned = self.training.decorated(reduced_compositions(from_structures(structures)))
            options = self._options(f"{stage}training crystals")
            positions = match_any(structures, learned.structures, n_jobs=self.workers, **options)
            for name, position in zip(names, positions.tolist(), strict=True):
                row = self.rows[name]
                row[f"{prefix}training_crystal"] = learned.ids[position] if position >= 0 else ""
                novel = row[f"{prefix}novel"]
                row[f"{prefix}new"] = None if novel is None else novel and position < 0

    def _comparison_rates(self, prefix: str, names: list[str], nothing: str) -> dict[str, Metric]:
        """Rates of what `_compare` found, of the compared and, for given crystals, of all inputs."""
        found: dict[str, Metric] = {}
        absent = {"unique": None, "novel": self._no_known(), "new": self._no_known() or self._no_training()}
        for what, reason in absent.items():
            hits = sum(self.rows[name][f"{prefix}{what}"] is True for name in names)
            found[what] = reason or rate(hits, len(names), nothing)
        if not prefix:
            for what in ("novel", "new"):
                hits = sum(self.rows[name]["unique"] is True and self.rows[name][what] is True for name in names)
                found[f"valid_unique_{what}"] = absent[what] or Rate(numerator=hits, denominator=len(self.rows))
        return found

    def _symmetry(self, prefix: str, names: list[str], nothing: str) -> dict[str, Metric]:
        """How widely the space groups are spread."""
        groups = [self.rows[name][f"{prefix}space_group"] for name in names]
        found = np.array([group for group in groups if group is not None])
        if not len(groups):
            return dict.fromkeys(("space_groups", "space_group_above_2", "space_group_entropy"), Absent(nothing))
        counts = np.unique(found, return_counts=True)[1] if len(found) else np.zeros(0)
        shares = counts / max(counts.sum(), 1)
        return {
            "space_groups": Number(value=len(counts), n=len(found)),
            "space_group_above_2": Rate(numerator=int((found > 2).sum()), denominator=len(groups)),
            "space_group_entropy": Number(value=-sum(p * log(p) for p in shares) + 0.0, unit="nats", n=len(found))
            if len(found)
            else Absent("no space group was found"),
        }

    def _relaxed(self, relaxations: Mapping[str, Relaxation], hull: Hull | None) -> None:
        """Everything after relaxation."""
        if hull is None and relaxations:
            raise ValueError("relaxations are judged against a hull")
        if strangers := [name for name in relaxations if name not in set(self.eligible)]:
            raise ValueError(f"{strangers[0]!r} was relaxed but is not eligible")
        usable: dict[str, Structure] = {}
        for name, relaxation in relaxations.items():
            row = self.rows[name]
            row.update(
                relaxation=relaxation.status,
                n_steps=relaxation.n_steps,
                initial_energy=relaxation.initial_energy,
                energy=relaxation.energy,
            )
            if relaxation.status != "converged":
                row["reason"] = f"relaxation: {relaxation.reason or relaxation.status}"
            if hull is not None and relaxation.usable and relaxation.structure is not None:
                structure = usable[name] = relaxation.structure
                above = hull.e_above_hull(structure.composition, relaxation.energy)
                row.update(
                    e_above_hull=above,
                    stable=above <= 0,
                    metastable=above <= METASTABLE,
                    relaxed_volume_per_atom=structure.volume / len(structure),
                )
            else:
                row.update(stable=False, metastable=False)
        order = {name: k for k, name in enumerate(self.rows)}
        names = sorted(usable, key=lambda name: (self.rows[name]["e_above_hull"], order[name]))
        structures = [usable[name] for name in names]
        self._compare("relaxed_", names, structures)
        self._displacements(names, structures)
        for name in relaxations:
            row = self.rows[name]
            if isinstance(self.known, Reference):
                fresh = row["relaxed_unique"] is True and row["relaxed_novel"] is True
                row["sun"], row["msun"] = fresh and row["stable"], fresh and row["metastable"]
        self._relaxation_rates(list(relaxations), names)

    def _displacements(self, names: list[str], structures: list[Structure]) -> None:
        log_found = self.logs.setdefault("displacements", MatchLog())
        before = [self.structures[name] for name in names]
        moved = rms_displacements(before, structures, n_jobs=self.workers, log=log_found)
        for name, distance in zip(names, moved, strict=True):
            self.rows[name]["rmsd"] = distance

    def _relaxation_rates(self, tried: list[str], usable: list[str]) -> None:
        nothing, none_usable = "no input is eligible for relaxation", "no relaxation is usable"
        rows = [self.rows[name] for name in tried]

        def of_tried(column: str) -> Rate | Absent:
            return rate(sum(row[column] is True for row in rows), len(rows), nothing)

        distances = [row["rmsd"] for row in rows if row["rmsd"] is not None]
        energies = [row["e_above_hull"] for row in rows if isfinite(row["e_above_hull"])]
        no_match, none = Absent("no relaxed crystal matches the given one"), Absent(none_usable)
        self.metrics["relaxation"] = {
            "usable": rate(len(usable), len(rows), nothing),
            "converged": rate(sum(row["relaxation"] == "converged" for row in rows), len(rows), nothing),
            "rmsd": Number(value=float(np.mean(distances)), unit="Å", n=len(distances)) if distances else no_match,
            "rmsd_matched": rate(len(distances), len(usable), none_usable),
            "e_above_hull_median": Number(value=float(np.median(energies)), unit="eV/atom", n=len(energies))
            if energies
            else none,
            "e_above_hull_mean": Number(value=float(np.mean(energies)), unit="eV/atom", n=len(energies))
            if energies
            else none,
            "stable": of_tried("stable"),
            "metastable": of_tried("metastable"),
        }
        self.metrics["after relaxation"] = {
            **self._comparison_rates("relaxed_", usable, none_usable),
            **self._symmetry("relaxed_", usable, none_usable),
        }
        eligible = Rate(numerator=len(self.eligible), denominator=len(self.rows))
        discovery: dict[str, Metric] = {"eligible": eligible}
        for name in ("sun", "msun"):
            found = self._no_known() or of_tried(name)
            discovery[f"{name}_of_relaxed"] = found
            discovery[f"{name}_of_budget"] = (
                BudgetRate(of_sample=found, eligible=eligible) if isinstance(found, Rate) else found
            )
        self.metrics["discovery"] = discovery

    def _no_relaxation(self) -> None:
        groups = {
            "relaxation": ("rmsd", "rmsd_matched", "e_above_hull_median", "stable", "metastable"),
            "after relaxation": ("unique", "novel", "new"),
            "discovery": ("sun_of_relaxed", "sun_of_budget", "msun_of_relaxed", "msun_of_budget"),
        }
        for group, names in groups.items():
            self.metrics[group] = dict.fromkeys(names, Absent(NOT_RELAXED))

    def _rediscovery(self, *, was_relaxed: bool) -> list[KnownPhaseFound]:
        """The compounds of the whole system and what else was found, and the rates over the former."""
        if isinstance(self.known, Absent):
            names = ("known_before", "known_after", "experimental_before", "experimental_after")
            self.metrics["rediscovery"] = dict.fromkeys(names, self.known)
            return []
        found = {row[column] for row in self.rows.values() for column in ("known_phase", "relaxed_known_phase")}
        complete = set(self.known.of_whole_system(self.system).ids)
        listed = self.known[np.array([name in complete or name in found for name in self.known.ids], dtype=bool)]
        self._report("templates of known phases", 0, 1)
        templates: list[tuple[str, bool | None]] = [("", None)] * len(listed)
        if isinstance(self.training, Reference) and len(listed):
            templates = templates_seen(listed, self.training, n_jobs=self.workers)
        self._report("templates of known phases", 1, 1)
        groups = space_groups(listed.structures)
        phases = [
            KnownPhaseFound(
                name=name,
                formula=str(Formula.from_atomic_numbers(structure.atomic_numbers)),
                space_group=None if group == NOT_FOUND else group,
                origin=origin,
                whole_system=name in complete,
                template=template,
                template_seen=seen,
                before=[row["name"] for row in self.rows.values() if row["known_phase"] == name],
                after=[row["name"] for row in self.rows.values() if row["relaxed_known_phase"] == name],
            )
            for name, structure, group, origin, (template, seen) in zip(
                listed.ids, listed.structures, groups, listed.origin, templates, strict=True
            )
        ]
        self.metrics["rediscovery"] = self._rediscovery_rates([p for p in phases if p.whole_system], was_relaxed)
        return phases

    def _rediscovery_rates(self, phases: list[KnownPhaseFound], was_relaxed: bool) -> dict[str, Metric]:
        parts: dict[str, tuple[list[KnownPhaseFound], Absent | None]] = {
            "known": (phases, None),
            "experimental": ([p for p in phases if p.origin == EXPERIMENTAL], None),
            "computed": ([p for p in phases if p.origin == COMPUTED], None),
            "template_seen": ([p for p in phases if p.template_seen is True], self._no_training()),
            "template_unseen": ([p for p in phases if p.template_seen is False], self._no_training()),
        }
        said = {
            "known": f"no known phase has all {len(self.system)} elements of the system",
            "experimental": "no known phase of the system is stated to be experimental",
            "computed": "no known phase of the system is stated to be computed",
            "template_seen": "no known phase has a template that was learned from",
            "template_unseen": "every known phase has a template that was learned from",
        }
        if not phases:
            said = dict.fromkeys(said, said["known"])
        found: dict[str, Metric] = {}
        for part, (members, reason) in parts.items():
            hits = sum(bool(phase.before) for phase in members)
            found[f"{part}_before"] = reason or rate(hits, len(members), said[part])
        for part, (members, reason) in parts.items():
            hits = sum(bool(phase.after) for phase in members)
            after = rate(hits, len(members), said[part]) if was_relaxed else Absent(NOT_RELAXED)
            found[f"{part}_after"] = reason or after
        return found

    def _cdvae(self, with_coverage: bool, cache: Path | None) -> None:
        """The metrics of CDVAE, with its names."""
        rows = self.rows
        names = [name for name, row in rows.items() if row["valid_cdvae"] and row["in_system"]]
        verdicts = _smact_verdicts(self.formulas)
        found: dict[str, Metric] = {"struct_valid": self.metrics["validity"]["valid_cdvae"]}
        if isinstance(verdicts, Absent):
            found["comp_valid"] = found["valid"] = verdicts
        else:
            hits = sum(verdicts.values())
            both = sum(verdicts.get(name, False) and rows[name]["valid_cdvae"] for name in rows)
            found["comp_valid"] = Rate(numerator=hits, denominator=len(rows))
            found["valid"] = Rate(numerator=both, denominator=len(rows))
        comparison = self.known
        if isinstance(comparison, Reference):
            compounds = comparison.of_whole_system(self.system)
            comparison = compounds if len(compounds) else comparison
        if isinstance(comparison, Absent):
            self.metrics["cdvae"] = found | dict.fromkeys((*_PROPERTY_METRICS, *_COVERAGE_METRICS), comparison)
            return
        found |= property_distances(
            ([rows[name]["density"] for name in names], densities(comparison.crystals).tolist()),
            ([len(self.formulas[name].counts) for name in names], (comparison.compositions > 0).sum(1).tolist()),
        )
        if with_coverage:
            found |= coverage(
                [self.structures[name] for name in names],
                comparison.structures,
                cache=cache,
                n_jobs=self.workers,
                progress=lambda done, total: self._report("fingerprints", done, total),
            )
        else:
            found |= dict.fromkeys(_COVERAGE_METRICS, Absent(NO_COVERAGE))
        self.metrics["cdvae"] = found

    def _options(self, stage: str) -> dict[str, Any]:
        """Progress and log of one stage of matching."""
        return {
            "progress": lambda _stage, done, total, _state="": self._report(stage, done, total),
            "log": self.logs.setdefault(stage, MatchLog()),
        }

    def _report(self, stage: str, done: int, total: int) -> None:
        if self.watch is not None:
            self.watch(stage, done, total)

    def _no_known(self) -> Absent | None:
        return self.known if isinstance(self.known, Absent) else None

    def _no_training(self) -> Absent | None:
        return self.training if isinstance(self.training, Absent) else None


def _smact_verdicts(formulas: Mapping[str, Formula]) -> dict[str, bool] | Absent:
    """SMACT's verdict on each composition, or that SMACT is not there.

    No oxidation state is known for an element that SMACT has no data on, so no charges balance.
    """
    try:
        from smact.screening import smact_validity
    except ImportError:
        return Absent('CDVAE decides it with SMACT, which is not installed: pip install "crystalgraph[charge]"')

    def verdict(formula: Formula) -> bool:
        try:
            return bool(smact_validity(str(formula)))
        except KeyError:
            return False

    distinct = {formula: verdict(formula) for formula in dict.fromkeys(formulas.values())}
    return {name: distinct[formula] for name, formula in formulas.items()}
