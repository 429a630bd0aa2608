"""Give relaxed crystals the symmetry that costs them no energy.

A relaxation ends near a minimum, not in it: a rattled crystal that falls back into a symmetric minimum is symmetric
within some hundredths of an ångström, more than what counts as symmetric in names and files. Whether it is meant to be
symmetric, its energy says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.crystals.standard_cell import standard_cell
from crystalgraph.engine.workers import Workers
from crystalgraph.progress import Progress
from crystalgraph.relax.many import single_points
from crystalgraph.relax.pressure import work

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCES = (0.1, 0.03)
"""Å, within which more symmetry is looked for, one after another."""

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
    potential: str,
    *,
    pressure: float = 0.0,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> list[Symmetrised | None]:
    """Move crystals onto more symmetry where that costs at most `COST`.

    Args:
        structures: relaxed by the potential.
        enthalpies: of them, eV/atom.
        potential: as `crystalgraph.relax.potentials.make_calculator` takes it.
        pressure: GPa.
        workers: as for `single_points`.
        progress: called as the work goes on.

    Returns:
        For each crystal the more symmetric one, or None where there is none or it lies higher.
    """
    found: list[Symmetrised | None] = [None] * len(structures)
    groups = space_groups(structures)
    for tolerance in TOLERANCES:
        cells = {k: standard_cell(s, tolerance) for k, s in enumerate(structures) if found[k] is None}
        tried = {k: cell.primitive for k, cell in cells.items() if cell is not None and cell.space_group != groups[k]}
        if not tried:
            continue
        energies = single_points(list(tried.values()), potential, workers=workers, progress=progress)
        for (k, structure), energy in zip(tried.items(), energies, strict=True):
            enthalpy = energy + work(pressure, structure.volume, len(structure))
            if enthalpy <= enthalpies[k] + COST:  # never where there is no energy, which is NaN
                found[k] = Symmetrised(structure=structure, energy=energy, enthalpy=enthalpy, tolerance=tolerance)
    return found
