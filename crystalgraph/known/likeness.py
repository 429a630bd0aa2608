"""Which known phase a crystal is, and how far its atoms are from that phase's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.reference_index import TIME_LIMIT, ReferenceIndex, matcher
from crystalgraph.crystals.table import CrystalTable, reduced_compositions
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit
from crystalgraph.progress import Progress, at_stage

if TYPE_CHECKING:
    from pymatgen.core import Structure

STAGE = "known phases looked for"
"""What progress is reported as."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The known phase that a crystal is, before and after relaxation; all fields are columns of ``candidates.csv``.

    Attributes:
        known_phase: id of the nearest of the known phases that it equals; empty where it equals none.
        known_rmsd: root mean square distance of the atoms of the two, Å, once their volumes are made equal; NaN where
            it equals none.
        relaxed_known_phase: the same after relaxation.
        relaxed_known_rmsd: the same after relaxation.
    """

    known_phase: str = ""
    known_rmsd: float = nan
    relaxed_known_phase: str = ""
    relaxed_known_rmsd: float = nan


AS_DRAWN, AS_RELAXED = ("known_phase", "known_rmsd"), ("relaxed_known_phase", "relaxed_known_rmsd")


def nearest_phases(
    structures: Sequence[Structure],
    known: CrystalTable,
    *,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
) -> list[tuple[str, float]]:
    """The nearest of the known phases that each structure equals.

    Args:
        structures: ordered structures.
        known: known phases.
        time_limit: CPU seconds for one pair; what takes longer counts as different.
        progress: called as the work goes on.

    Returns:
        Id of the phase, and the root mean square distance in Å as in `Likeness`; "" and NaN where none is equal.
    """
    report = at_stage(progress, STAGE)
    if not structures or not len(known):
        return [("", nan)] * len(structures)
    near = known.of_compositions(np.unique(reduced_compositions(from_structures(structures)), axis=0))
    phases = near.structures
    index = ReferenceIndex(phases, time_limit=time_limit)
    found = []
    for done, structure in enumerate(structures, start=1):
        distances = {k: _distance(structure, phases[k], time_limit) for k in index.find_all(structure)}
        best = min(distances, key=lambda k: distances[k], default=None)
        found.append(("", nan) if best is None else (near.ids[best], distances[best]))
        report(done, len(structures))
    return found


def _distance(structure: Structure, phase: Structure, time_limit: float) -> float:
    """Å; infinite where it cannot be told in time."""
    try:
        with cpu_limit(time_limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = matcher().get_rms_dist(structure, phase) or matcher().get_rms_dist(phase, structure)
    except (TimeUp, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return float("inf")
    if found is None:
        return float("inf")
    length = ((structure.volume / len(structure) + phase.volume / len(phase)) / 2) ** (1 / 3)
    return float(found[0]) * length
