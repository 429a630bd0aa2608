"""What no crystal looks like: cells, distances and energies that a relaxation must not pass off as a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from crystalgraph.geometry.neighbors import neighbor_list, searchable_cells
from crystalgraph.relax.potentials import energy_range

if TYPE_CHECKING:
    from ase import Atoms

MIN_DISTANCE = 0.5
"""Å; atoms closer than this are no crystal."""

VOLUME_PER_ATOM = (2.0, 500.0)
"""Å³; known crystals have 4 to 120."""

MAX_VOLUME_CHANGE = 3.0
"""Factor, in either direction, beyond which a relaxation has exploded or collapsed."""

MAX_BELOW_HULL = 1.0
"""eV/atom; what lies deeper below all known phases has found a hole in the potential."""

_SEARCH_RADIUS = 6.0  # Å; CHGNet's longest edge


def cell_doubt(atoms: Atoms, start_volume: float | None, *, may_shrink: bool = False) -> str | None:
    """Say why no crystal looks like this.

    Args:
        atoms: periodic in all directions.
        start_volume: of the cell before its relaxation, Å³; None before the first step.
        may_shrink: whether it is pressed: then a much smaller volume than at the start is no collapse.

    Returns:
        One line, or None if there is no doubt.
    """
    lattice, frac_coords = np.array(atoms.cell), atoms.get_scaled_positions(wrap=False)
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all()):
        return "cell or coordinates are not finite"
    volume = abs(float(np.linalg.det(lattice)))
    low, high = VOLUME_PER_ATOM
    if not low <= volume / len(atoms) <= high:
        return f"volume of {volume / len(atoms):.3g} Å³ per atom, outside {low:g} to {high:g}"
    least = 0.0 if may_shrink else 1 / MAX_VOLUME_CHANGE
    if start_volume is not None and not least <= volume / start_volume <= MAX_VOLUME_CHANGE:
        return f"volume {volume / start_volume:.2f} times that of the start"
    tensors = torch.tensor(lattice)[None], torch.tensor(frac_coords), torch.tensor([len(atoms)])
    if not bool(searchable_cells(*tensors, _SEARCH_RADIUS).all()):
        return "the cell is too flat to search for neighbours"
    if len(neighbor_list(*tensors, MIN_DISTANCE)[0]):
        return f"atoms closer than {MIN_DISTANCE} Å"
    return None


def energy_doubt(energy: float, potential: str) -> str | None:
    """Say why no crystal has this energy.

    Args:
        energy: eV/atom.
        potential: name of the one that gave it.

    Returns:
        One line, or None if there is no doubt.
    """
    low, high = energy_range(potential)
    if not low <= energy <= high:
        return f"energy of {energy:.2f} eV/atom, outside {low:g} to {high:g}"
    return None


def depth_doubt(enthalpy: float, floor: float | None) -> str | None:
    """Say why no crystal lies so deep.

    Args:
        enthalpy: eV/atom; without pressure, the energy.
        floor: of the hull at the composition, under the same pressure, eV/atom; None without a hull.

    Returns:
        One line, or None if there is no doubt.
    """
    if floor is not None and enthalpy < floor - MAX_BELOW_HULL:
        return f"{floor - enthalpy:.2f} eV/atom below the hull of the known phases"
    return None
