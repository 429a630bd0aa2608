"""Crystals to and from pymatgen structures and ASE atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Element, Structure

#: A cell smaller than this (Å³) has no room for an atom; it is taken as flat.
_MIN_VOLUME = 1e-3


def from_structures(structures: Sequence[Structure]) -> Crystals:
    """Convert pymatgen structures; the order of sites is kept, oxidation states and isotopes are dropped.

    Args:
        structures: ordered structures, at least one.

    Returns:
        The crystals, float64.

    Raises:
        InputError: if the list is empty, or for a structure that is not a crystal of whole atoms, saying why.
    """
    for position, structure in enumerate(structures):
        if fault := structure_fault(structure):
            raise InputError(f"structure {position} cannot be used: {fault}; leave it out")
    return crystals_of(structures)


def crystals_of(structures: Sequence[Structure]) -> Crystals:
    """Convert structures that were found sound already, see `structure_fault`; otherwise as `from_structures`."""
    return _crystals(
        [structure.lattice.matrix for structure in structures],
        [structure.frac_coords for structure in structures],
        [[site.specie.Z for site in structure] for structure in structures],
    )


def to_structures(crystals: Crystals) -> list[Structure]:
    """Convert to pymatgen structures; the order of sites and the coordinates are kept as they are."""
    from pymatgen.core import Lattice, Structure

    return [
        Structure(Lattice(lattice), [elements()[z] for z in atomic_numbers.tolist()], frac_coords)
        for lattice, frac_coords, atomic_numbers in _arrays(crystals)
    ]


def from_atoms(atoms: Sequence[Atoms]) -> Crystals:
    """Convert ASE atoms; they must be periodic in all three directions.

    Args:
        atoms: at least one.

    Returns:
        The crystals, float64; coordinates are not wrapped into the cell.

    Raises:
        InputError: if the list is empty, or for atoms that are not a crystal, saying why.
    """
    for position, one in enumerate(atoms):
        if fault := atoms_fault(one):
            raise InputError(f"atoms {position} cannot be used: {fault}; leave them out")
    return _crystals(
        [one.cell.array for one in atoms],
        [one.get_scaled_positions(wrap=False) for one in atoms],
        [one.numbers for one in atoms],
    )


def to_atoms(crystals: Crystals) -> list[Atoms]:
    """Convert to ASE atoms, periodic in all three directions."""
    from ase import Atoms

    return [
        Atoms(numbers=atomic_numbers, scaled_positions=frac_coords, cell=lattice, pbc=True)
        for lattice, frac_coords, atomic_numbers in _arrays(crystals)
    ]


@lru_cache(maxsize=1)
def elements() -> dict[int, Element]:
    """The elements by atomic number, 1 to 118."""
    from pymatgen.core import Element

    return {z: Element.from_Z(z) for z in range(1, 119)}


def _crystals(lattices: Sequence[Any], frac_coords: Sequence[Any], atomic_numbers: Sequence[Any]) -> Crystals:
    if not lattices:
        raise InputError("no structures were given; at least one is needed")
    return Crystals(
        lattice=torch.from_numpy(np.stack(lattices).astype(np.float64)),
        frac_coords=torch.from_numpy(np.concatenate(frac_coords).astype(np.float64)),
        atomic_numbers=torch.from_numpy(np.concatenate(atomic_numbers).astype(np.int64)),
        num_atoms=torch.tensor([len(numbers) for numbers in atomic_numbers]),
    )


def _arrays(crystals: Crystals) -> Iterator[tuple[Any, Any, Any]]:
    """Lattice, fractional coordinates and atomic numbers of each crystal, float64 on the CPU."""
    lattice = crystals.lattice.detach().cpu().double().numpy()
    ends = crystals.ptr[1:].cpu().numpy()  # the last part is empty, whatever the number of crystals
    frac_coords = np.split(crystals.frac_coords.detach().cpu().double().numpy(), ends)[:-1]
    atomic_numbers = np.split(crystals.atomic_numbers.cpu().numpy(), ends)[:-1]
    return zip(lattice, frac_coords, atomic_numbers, strict=True)


def structure_fault(structure: Structure) -> str | None:
    """Why this is not a crystal of whole atoms, or None."""
    if len(structure) == 0:
        return "it has no atoms"
    if not structure.is_ordered:
        return "it is disordered (partial or mixed occupancy)"
    if unknown := sorted({site.species_string for site in structure if not hasattr(site.specie, "Z")}):
        return f"{', '.join(unknown)} is not an element"
    if dummies := sorted({site.species_string for site in structure if not 1 <= site.specie.Z <= 118}):
        return f"{', '.join(dummies)} is not an element"
    return _cell_fault(structure.lattice.matrix, structure.frac_coords)


def atoms_fault(atoms: Atoms) -> str | None:
    """Why these ASE atoms are not a crystal, or None."""
    if len(atoms) == 0:
        return "there are no atoms"
    if not atoms.pbc.all():
        return "they are not periodic in all three directions"
    if not ((atoms.numbers >= 1) & (atoms.numbers <= 118)).all():
        return "an atomic number is not in 1 to 118"
    return _cell_fault(atoms.cell.array, atoms.positions)


def _cell_fault(lattice: Any, coords: Any) -> str | None:
    if not np.isfinite(lattice).all():
        return "its cell is not finite (NaN or infinity)"
    if not np.isfinite(coords).all():
        return "its coordinates are not finite (NaN or infinity)"
    if (volume := abs(np.linalg.det(lattice))) < _MIN_VOLUME:
        return f"its cell has no volume ({volume:.1g} Å³)"
    return None
