"""The ruler: what every verdict and every metric means, and the metrics made of the rows.

Words, kept apart (every metric has its line here):

* **cdvae_valid**: all distances above 0.5 Å, volume at least 0.1 Å³. **strictly_valid**: also every distance at least
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
* CDVAE's set: **struct_valid** is cdvae_valid, **comp_valid** SMACT's verdict, **valid** both; see
  `crystalgraph.evaluation.coverage` for the others, which compare crystals that are cdvae_valid and in the system.

A metric whose reference is missing is absent and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np

from crystalgraph.crystals.table import COMPUTED, EXPERIMENTAL
from crystalgraph.evaluation.rates import Absent, BudgetRate, Metric, Number, Rate, rate

NO_REFERENCE = "no known phases were given; name them with --reference"
NO_TRAINING = "what the generator learned from is not known; name it with --training"
NOT_RELAXED = "nothing was relaxed; ask for it with --relax"
NOTHING_COMPARED = "no input is strictly valid and in the system"

Rows = Sequence[Mapping[str, Any]]
"""Rows with the columns of `crystalgraph.evaluation.rows.Row`."""


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


def validity_rates(rows: Rows) -> dict[str, Metric]:
    """Rates of the inputs that were read, and of those that are sound."""
    n, n_read = len(rows), sum(row["in_system"] is not None for row in rows)
    return {
        "read": Rate(numerator=n_read, denominator=n),
        "in_system": rate(sum(row["in_system"] is True for row in rows), n_read, "no input could be read"),
        **{
            name: Rate(numerator=sum(row[name] is True for row in rows), denominator=n)
            for name in ("cdvae_valid", "strictly_valid", "charge_neutral")
        },
    }


def comparison_rates(
    prefix: str,
    compared: Rows,
    nothing: str,
    no_known: Absent | None,
    no_training: Absent | None,
    *,
    n_inputs: int | None = None,
) -> dict[str, Metric]:
    """Unique, novel and new, of the compared.

    Args:
        prefix: of the columns: "" for crystals as given, "relaxed_" for relaxed ones.
        compared: rows of the crystals that were compared.
        nothing: why there is no rate where there are none.
        no_known: why nothing is novel, if no known phases are there.
        no_training: why nothing is new, if what was learned from is not known.
        n_inputs: also the rates of valid, unique and novel or new of so many inputs.
    """
    absent = {"unique": None, "novel": no_known, "new": no_known or no_training}
    rates: dict[str, Metric] = {}
    for what, reason in absent.items():
        hits = sum(row[f"{prefix}{what}"] is True for row in compared)
        rates[what] = reason or rate(hits, len(compared), nothing)
    if n_inputs is not None:
        for what in ("novel", "new"):
            hits = sum(row[f"{prefix}unique"] is True and row[f"{prefix}{what}"] is True for row in compared)
            rates[f"valid_unique_{what}"] = absent[what] or Rate(numerator=hits, denominator=n_inputs)
    return rates


def symmetry_numbers(prefix: str, compared: Rows, nothing: str) -> dict[str, Metric]:
    """How widely the space groups are spread; arguments as for `comparison_rates`."""
    groups = [row[f"{prefix}space_group"] for row in compared]
    numbers = np.array([group for group in groups if group is not None])
    if not groups:
        return dict.fromkeys(("space_groups", "space_group_above_2", "space_group_entropy"), Absent(nothing))
    counts = np.unique(numbers, return_counts=True)[1] if len(numbers) else np.zeros(0)
    shares = counts / max(counts.sum(), 1)
    entropy: Metric = Absent("no space group was found")
    if len(numbers):
        entropy = Number(value=-sum(p * log(p) for p in shares) + 0.0, unit="nats", n=len(numbers))
    return {
        "space_groups": Number(value=len(counts), n=len(numbers)),
        "space_group_above_2": Rate(numerator=int((numbers > 2).sum()), denominator=len(groups)),
        "space_group_entropy": entropy,
    }


def relaxation_rates(
    *,
    tried: Rows,
    usable: Rows,
    n_eligible: int,
    n_inputs: int,
    no_known: Absent | None,
    no_training: Absent | None,
) -> dict[str, dict[str, Metric]]:
    """The groups of metrics of what was relaxed.

    Args:
        tried: rows of the crystals given to the relaxer.
        usable: rows of those whose relaxation is usable.
        n_eligible: inputs that could have been relaxed.
        n_inputs: all inputs.
        no_known: see `comparison_rates`.
        no_training: see `comparison_rates`.
    """
    nothing, none_usable = "no input is eligible for relaxation", "no relaxation is usable"

    def of_tried(column: str) -> Rate | Absent:
        return rate(sum(row[column] is True for row in tried), len(tried), nothing)

    distances = [row["rmsd"] for row in tried if row["rmsd"] is not None]
    energies = [row["e_above_hull"] for row in tried if isfinite(row["e_above_hull"])]

    def number(values: list[float], statistic: Any, unit: str, otherwise: str) -> Metric:
        return Number(value=float(statistic(values)), unit=unit, n=len(values)) if values else Absent(otherwise)

    relaxation: dict[str, Metric] = {
        "usable": rate(len(usable), len(tried), nothing),
        "converged": rate(sum(row["relax_status"] == "converged" for row in tried), len(tried), nothing),
        "rmsd": number(distances, np.mean, "Å", "no relaxed crystal matches the given one"),
        "rmsd_matched": rate(len(distances), len(usable), none_usable),
        "e_above_hull_median": number(energies, np.median, "eV/atom", none_usable),
        "e_above_hull_mean": number(energies, np.mean, "eV/atom", none_usable),
        "stable": of_tried("stable"),
        "metastable": of_tried("metastable"),
    }
    eligible = Rate(numerator=n_eligible, denominator=n_inputs)
    discovery: dict[str, Metric] = {"eligible": eligible}
    for name in ("sun", "msun"):
        hits = no_known or of_tried(name)
        discovery[f"{name}_of_relaxed"] = hits
        discovery[f"{name}_of_budget"] = (
            BudgetRate(of_sample=hits, eligible=eligible) if isinstance(hits, Rate) else hits
        )
    return {
        "relaxation": relaxation,
        "after relaxation": {
            **comparison_rates("relaxed_", usable, none_usable, no_known, no_training),
            **symmetry_numbers("relaxed_", usable, none_usable),
        },
        "discovery": discovery,
    }


def no_relaxation() -> dict[str, dict[str, Metric]]:
    """The same groups where nothing was relaxed."""
    groups = {
        "relaxation": ("rmsd", "rmsd_matched", "e_above_hull_median", "stable", "metastable"),
        "after relaxation": ("unique", "novel", "new"),
        "discovery": ("sun_of_relaxed", "sun_of_budget", "msun_of_relaxed", "msun_of_budget"),
    }
    return {group: dict.fromkeys(names, Absent(NOT_RELAXED)) for group, names in groups.items()}


def rediscovery_rates(
    phases: Sequence[KnownPhaseFound], *, n_elements: int, was_relaxed: bool, no_training: Absent | None
) -> dict[str, Metric]:
    """Which known compounds of the whole system some input equals.

    Args:
        phases: the compounds.
        n_elements: of the system.
        was_relaxed: whether anything was relaxed.
        no_training: why it is not known which templates were learned from.
    """
    parts: dict[str, tuple[list[KnownPhaseFound], Absent | None]] = {
        "known": (list(phases), None),
        "experimental": ([p for p in phases if p.origin == EXPERIMENTAL], None),
        "computed": ([p for p in phases if p.origin == COMPUTED], None),
        "template_seen": ([p for p in phases if p.template_seen is True], no_training),
        "template_unseen": ([p for p in phases if p.template_seen is False], no_training),
    }
    nothing = {
        "known": f"no known phase has all {n_elements} elements of the system",
        "experimental": "no known phase of the system is stated to be experimental",
        "computed": "no known phase of the system is stated to be computed",
        "template_seen": "no known phase has a template that was learned from",
        "template_unseen": "every known phase has a template that was learned from",
    }
    if not phases:
        nothing = dict.fromkeys(nothing, nothing["known"])
    rates: dict[str, Metric] = {}
    for part, (members, reason) in parts.items():
        hits = sum(bool(phase.before) for phase in members)
        rates[f"{part}_before"] = reason or rate(hits, len(members), nothing[part])
    for part, (members, reason) in parts.items():
        hits = sum(bool(phase.after) for phase in members)
        after = rate(hits, len(members), nothing[part]) if was_relaxed else Absent(NOT_RELAXED)
        rates[f"{part}_after"] = reason or after
    return rates
