"""What every crystal of a run says about itself: the ``properties`` of its structure, by the names of the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.table import is_missing
from crystalgraph.screening.candidates import PATTERN_SIMILARITY, Candidates

if TYPE_CHECKING:
    from pymatgen.core import Structure

AS_DRAWN, RELAXED = "as drawn", "relaxed"
"""Values of the property ``state``."""

OF_BOTH = (
    *("rank", "draw", "formula", "template", "from_prototype", "space_group_requested"),
    *("charge_neutral", "plausibility", "score"),
)
"""Columns that hold for a crystal before and after relaxation."""

OF_DRAWN = ("space_group", "known_phase", "known_rmsd", "e_above_hull_unrelaxed")
"""Columns of a crystal as drawn only."""

OF_RELAXED = {
    "relaxed_space_group": "space_group",
    "relaxed_known_phase": "known_phase",
    "relaxed_known_rmsd": "known_rmsd",
}
"""Columns of a relaxed crystal, and what they are called where the crystal itself is the relaxed one."""

OF_RELAXATION = ("energy", "enthalpy", "ranked_by", "agreed_metastable", "relax_status", "n_steps")
"""Columns of a relaxed crystal that keep their names, beside its energies above the hull."""


def described(candidates: Candidates, origin: Mapping[str, Any]) -> Candidates:
    """The same candidates with properties on every structure.

    Args:
        candidates: ranked, named, and relaxed where wanted.
        origin: what holds for all of them, such as the seed and the version.
    """
    rows = candidates.rows(candidates.selected)
    n_relaxed = len(candidates.relaxed)
    origin = {**origin, "pressure": candidates.pressure} if candidates.pressure else origin
    of_drawn = (*OF_BOTH, *OF_DRAWN)
    drawn = [
        _with(
            structure,
            row,
            dict.fromkeys(of_drawn if k < n_relaxed else (*of_drawn, PATTERN_SIMILARITY)),
            {**origin, "state": AS_DRAWN},
        )
        for k, (structure, row) in enumerate(zip(candidates.structures, rows, strict=True))
    ]
    energies = [name for name in candidates.columns if name.startswith("e_above_hull")]
    after = OF_RELAXED | dict.fromkeys((*OF_BOTH, *OF_RELAXATION, *energies, PATTERN_SIMILARITY))
    relaxed = [
        _with(structure, row, after, {**origin, "state": RELAXED})
        for structure, row in zip(candidates.relaxed, rows, strict=False)  # the relaxed ones are the first
    ]
    return replace(candidates, structures=drawn, relaxed=relaxed)


def _with(
    structure: Structure, row: Mapping[str, Any], names: Mapping[str, str | None], more: Mapping[str, Any]
) -> Structure:
    """A copy with what a row says under these names, its size, and more."""
    own = {name or column: row.get(column) for column, name in names.items()}
    size = {
        "num_atoms": len(structure),
        "volume_per_atom": structure.volume / len(structure),
        "density": float(structure.density),
    }
    known = {key: value for key, value in (own | size | dict(more)).items() if not is_missing(value)}
    return structure.copy(properties=known)
