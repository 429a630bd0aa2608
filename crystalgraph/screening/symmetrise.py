"""Give relaxed crystals the symmetry that costs them no energy.

A relaxation ends near a minimum, not in it: a rattled crystal that falls back into a symmetric minimum is symmetric
within some tenths of an ångström, more than what counts as symmetric in names and files. Whether it is meant to be
symmetric, its energy says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.crystals.standard_cell import standard_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.relaxation import Relaxation

TOLERANCES = (0.2, 0.1, 0.03)
"""Å, within which more symmetry is looked for, one after another; cells that end 1 % strained need the first."""

COST = 0.001
"""eV/atom that the more symmetric crystal may lie higher: the noise of a relaxation."""


@dataclass(frozen=True, kw_only=True)
class Symmetrised:
    """A crystal moved onto more symmetry than it had.

    Attributes:
        structure: its primitive cell, the symmetry exact.
        energy: eV/atom of it.
        enthalpy: eV/atom of it, under the pressure.
        tolerance: Å within which the crystal had the symmetry already.
    """

    structure: Structure
    energy: float
    enthalpy: float
    tolerance: float


def symmetrised(
    structures: Sequence[Structure],
    enthalpies: Sequence[float],
    relax: Callable[[list[Structure]], list[Relaxation]],
) -> list[Symmetrised | None]:
    """Move crystals onto more symmetry, relax them with it, and keep what lies at most `COST` higher.

    Args:
        structures: relaxed.
        enthalpies: of them, eV/atom.
        relax: relaxes crystals by the same potential with their symmetry held.

    Returns:
        For each crystal the more symmetric one, or None where there is none or it lies higher.
    """
    found: list[Symmetrised | None] = [None] * len(structures)
    groups = space_groups(structures)
    for tolerance in TOLERANCES:
        cells = {k: standard_cell(s, tolerance) for k, s in enumerate(structures) if found[k] is None}
        tried = {k: cell for k, cell in cells.items() if cell is not None and cell.space_group != groups[k]}
        if not tried:
            continue
        relaxations = relax([cell.primitive for cell in tried.values()])
        for (k, cell), relaxation in zip(tried.items(), relaxations, strict=True):
            ended = None if relaxation.structure is None else standard_cell(relaxation.structure)
            if ended is None or not relaxation.usable or ended.space_group != cell.space_group:
                continue
            if relaxation.enthalpy <= enthalpies[k] + COST:  # never where there is no energy, which is NaN
                found[k] = Symmetrised(
                    structure=ended.primitive,
                    energy=relaxation.energy,
                    enthalpy=relaxation.enthalpy,
                    tolerance=tolerance,
                )
    return found
