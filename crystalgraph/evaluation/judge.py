"""The judge: compares crystals with each other, known phases and what was learned from, and fills in verdicts.

The words and the metrics made of the verdicts are defined in `crystalgraph.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.matching import group_equal, match_all, match_any, rms_displacements
from crystalgraph.crystals.reference_index import MatchLog
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.cdvae import cdvae_metrics
from crystalgraph.evaluation.metrics import (
    NO_REFERENCE,
    NO_TRAINING,
    NOTHING_COMPARED,
    KnownPhaseFound,
    comparison_rates,
    no_relaxation,
    rediscovery_rates,
    relaxation_rates,
    symmetry_numbers,
    validity_rates,
)
from crystalgraph.evaluation.rates import Absent, Metric, records
from crystalgraph.evaluation.rows import Row, Verdicts
from crystalgraph.known.novelty import substituted, templates_seen
from crystalgraph.progress import Progress, at_stage, relabelled
from crystalgraph.relax.hull import METASTABLE

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.relaxation import Relaxation


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
    verdicts: Verdicts,
    *,
    known: CrystalTable | Absent | None = None,
    training: CrystalTable | Absent | None = None,
    relaxations: Mapping[str, Relaxation] | None = None,
    hull: Hull | None = None,
    with_coverage: bool = False,
    cache: Path | None = None,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> Judgement:
    """Judge crystals.

    Args:
        verdicts: the inputs and what can be said of each by itself, see `crystalgraph.evaluation.rows.first_verdicts`.
        known: known phases, or why there are none; only those made of elements of the system are used.
        training: what the generator learned from, or why that is not known.
        relaxations: of some of the eligible inputs, a random part of them if rates are to hold for all; None if
            nothing was relaxed.
        hull: of the system; needed with ``relaxations``.
        with_coverage: also compute fingerprints, 0.06 s an atom.
        cache: folder for fingerprints; None keeps none.
        workers: processes; the judgement does not depend on them.
        progress: called as the work goes on.

    Returns:
        The judgement.

    Raises:
        ValueError: if there are no inputs, relaxations without a hull, or one of an input that is not eligible.
    """
    if not verdicts.rows:
        raise ValueError("there is nothing to judge")
    known = Absent(NO_REFERENCE) if known is None else known
    training = Absent(NO_TRAINING) if training is None else training
    return _Judge(verdicts, known, training, workers, progress).judge(relaxations, hull, with_coverage, cache)


class _Judge:
    """One judgement in the making: the rows as dictionaries, filled stage by stage."""

    def __init__(
        self,
        verdicts: Verdicts,
        known: CrystalTable | Absent,
        training: CrystalTable | Absent,
        workers: int | Workers,
        progress: Progress | None,
    ) -> None:
        self.verdicts, self.system = verdicts, verdicts.system
        self.workers, self.progress = workers, progress
        self.structures = verdicts.structures
        self.rows = {name: dict(row) for name, row in verdicts.rows.items()}
        self.compared = verdicts.comparable
        self.known = known if isinstance(known, Absent) else known.within(self.system)
        if isinstance(self.known, CrystalTable) and not len(self.known):
            name = self.known.source.name
            self.known = Absent(f"{name} has no known phase of {self.system}; name another with --reference")
        # Only known phases of a composition that occurs can be found; a large reference has many others.
        self.near: CrystalTable | None = None
        if isinstance(self.known, CrystalTable) and self.compared:
            self.near = self.known.of_compositions(self._compositions(self.compared))
        self.near_groups = [] if self.near is None else space_groups(self.near.structures)
        self.training = training
        self.logs: dict[str, MatchLog] = {}
        self.metrics: dict[str, dict[str, Metric]] = {}

    def judge(
        self, relaxations: Mapping[str, Relaxation] | None, hull: Hull | None, with_coverage: bool, cache: Path | None
    ) -> Judgement:
        """All stages in order."""
        rows = list(self.rows.values())
        self.metrics["validity"] = validity_rates(rows)
        self._compare("", self.compared, [self.structures[name] for name in self.compared])
        compared = [self.rows[name] for name in self.compared]
        self.metrics["as given"] = comparison_rates(
            "", compared, NOTHING_COMPARED, self._no_known(), self._no_training(), n_inputs=len(rows)
        )
        self.metrics["symmetry"] = symmetry_numbers("", compared, NOTHING_COMPARED)
        if relaxations is None:
            self.metrics |= no_relaxation()
        else:
            self._relaxed(relaxations, hull)
        phases = self._rediscovery(was_relaxed=relaxations is not None)
        self.metrics["cdvae"] = self._cdvae(with_coverage, cache)
        return Judgement(
            rows=[Row(**row) for row in rows],
            metrics=self.metrics,
            rediscovery=phases,
            undecided={stage: vars(log) for stage, log in self.logs.items()},
        )

    def _compositions(self, names: list[str]) -> Any:
        """Reduced compositions of some inputs, (n, 119)."""
        place = {name: position for position, name in enumerate(self.verdicts.table.ids)}
        return self.verdicts.table.compositions[[place[name] for name in names]]

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
        labels = group_equal(structures, workers=self.workers, **self._options(f"{stage}copies"))
        for k, name in enumerate(names):
            first = int(labels[k])
            self.rows[name][f"{prefix}unique"] = first == k
            self.rows[name][f"{prefix}copy_of"] = "" if first == k else names[first]
        if self.near is not None:
            options = self._options(f"{stage}known phases")
            equal = match_all(structures, self.near.structures, workers=self.workers, **options)
            for k, name in enumerate(names):
                same_group = [position for position in equal[k] if self.near_groups[position] == groups[k]]
                chosen = (same_group or equal[k])[:1]
                self.rows[name][f"{prefix}novel"] = not chosen
                self.rows[name][f"{prefix}known_phase"] = self.near.ids[chosen[0]] if chosen else ""
        if isinstance(self.training, CrystalTable) and names:
            learned = substituted(self.training, self._compositions(names))  # a relaxation changes no composition
            options = self._options(f"{stage}training crystals")
            positions = match_any(structures, learned.crystals, workers=self.workers, **options)
            for name, position in zip(names, positions.tolist(), strict=True):
                row = self.rows[name]
                row[f"{prefix}training_crystal"] = learned.ids[position] if position >= 0 else ""
                novel = row[f"{prefix}novel"]
                row[f"{prefix}new"] = None if novel is None else novel and position < 0

    def _relaxed(self, relaxations: Mapping[str, Relaxation], hull: Hull | None) -> None:
        """Everything after relaxation."""
        if hull is None and relaxations:
            raise ValueError("relaxations are judged against a hull")
        eligible = self.verdicts.eligible
        if strangers := [name for name in relaxations if name not in set(eligible)]:
            raise ValueError(f"{strangers[0]!r} was relaxed but is not eligible")
        usable: dict[str, Structure] = {}
        for name, relaxation in relaxations.items():
            row = self.rows[name]
            row.update(
                relax_status=relaxation.status,
                n_steps=relaxation.n_steps,
                energy_unrelaxed=relaxation.initial_energy,
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
            if isinstance(self.known, CrystalTable):
                fresh = row["relaxed_unique"] is True and row["relaxed_novel"] is True
                row["sun"], row["msun"] = fresh and row["stable"], fresh and row["metastable"]
        self.metrics |= relaxation_rates(
            tried=[self.rows[name] for name in relaxations],
            usable=[self.rows[name] for name in names],
            n_eligible=len(eligible),
            n_inputs=len(self.rows),
            no_known=self._no_known(),
            no_training=self._no_training(),
        )

    def _displacements(self, names: list[str], structures: list[Structure]) -> None:
        log = self.logs.setdefault("displacements", MatchLog())
        before = [self.structures[name] for name in names]
        for name, distance in zip(
            names, rms_displacements(before, structures, workers=self.workers, log=log), strict=True
        ):
            self.rows[name]["rmsd"] = distance

    def _rediscovery(self, *, was_relaxed: bool) -> list[KnownPhaseFound]:
        """The compounds of the whole system and what else was found, and the rates over the former."""
        if isinstance(self.known, Absent):
            names = ("known_before", "known_after", "experimental_before", "experimental_after")
            self.metrics["rediscovery"] = dict.fromkeys(names, self.known)
            return []
        matched = {row[column] for row in self.rows.values() for column in ("known_phase", "relaxed_known_phase")}
        complete = set(self.known.of_whole_system(self.system).ids)
        listed = self.known[np.array([name in complete or name in matched for name in self.known.ids], dtype=bool)]
        report = at_stage(self.progress, "templates of known phases")
        report(0, 1)
        templates: list[tuple[str, bool | None]] = [("", None)] * len(listed)
        if isinstance(self.training, CrystalTable) and len(listed):
            templates = templates_seen(listed, self.training, workers=self.workers)
        report(1, 1)
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
        self.metrics["rediscovery"] = rediscovery_rates(
            [phase for phase in phases if phase.whole_system],
            n_elements=len(self.system),
            was_relaxed=was_relaxed,
            no_training=self._no_training(),
        )
        return phases

    def _cdvae(self, with_coverage: bool, cache: Path | None) -> dict[str, Metric]:
        known = self.known
        if isinstance(known, CrystalTable):
            compounds = known.of_whole_system(self.system)
            known = compounds if len(compounds) else known
        return cdvae_metrics(
            self.verdicts,
            known,
            struct_valid=self.metrics["validity"]["cdvae_valid"],
            with_coverage=with_coverage,
            cache=cache,
            workers=self.workers,
            progress=relabelled(self.progress, "fingerprints"),
        )

    def _options(self, stage: str) -> dict[str, Any]:
        """Progress and log of one stage of matching."""
        return {"progress": relabelled(self.progress, stage), "log": self.logs.setdefault(stage, MatchLog())}

    def _no_known(self) -> Absent | None:
        return self.known if isinstance(self.known, Absent) else None

    def _no_training(self) -> Absent | None:
        return self.training if isinstance(self.training, Absent) else None
