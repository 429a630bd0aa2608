"""The polymorphs of one formula, energy against volume, as plain numbers that any plot can be made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from crystalgraph.relax.hull import METASTABLE
from crystalgraph.report.notation import group_text


@dataclass(frozen=True, kw_only=True)
class Polymorph:
    """A candidate, or a known phase.

    Attributes:
        name: of its files, or of the known phase.
        volume: Å³ per atom.
        energy: above the hull, eV/atom; NaN where not known.
        score: the model's; NaN for a known phase.
        group: number of its space group; None if not found.
        is_relaxed: whether volume and energy are those after relaxation.
        row: of the table; None for a known phase.
    """

    name: str
    volume: float
    energy: float
    score: float
    group: int | None
    is_relaxed: bool
    row: int | None = None


def polymorph_ladder(formula: str, polymorphs: Sequence[Polymorph]) -> dict[str, Any] | None:
    """What there is to draw: energies where any is known, else the score of the model.

    Args:
        formula: that all of them have.
        polymorphs: candidates and known phases.

    Returns:
        ``formula``; ``is_energy``: whether ``y`` is the energy above the hull (eV/atom) or the score; ``metastable``
        (eV/atom); ``points`` with ``name``, ``volume`` (Å³ per atom), ``y``, ``group``, ``is_relaxed`` and ``row``,
        which is null for known phases. None where there is nothing to draw.
    """
    is_energy = any(isfinite(one.energy) for one in polymorphs if one.row is not None)
    points = [
        {
            "name": one.name,
            "volume": round(one.volume, 3),
            "y": round(one.energy if is_energy else one.score, 5) + 0.0,
            "group": group_text(one.group),
            "is_relaxed": one.is_relaxed,
            "row": one.row,
        }
        for one in polymorphs
        if isfinite(one.energy if is_energy else one.score) and isfinite(one.volume)
    ]
    if not points:
        return None
    return {"formula": formula, "is_energy": is_energy, "metastable": METASTABLE, "points": points}
