"""The standard cells of a crystal, conventional and primitive, with its symmetry exact.

What is symmetric within the tolerance is moved onto its symmetry: spglib's idealised cell. Whatever has been idealised
once has its space group at every smaller tolerance too, so that a name, a file and whoever reads it agree.

Reference:
    A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv. Mater. Methods 4, 2384822 (2024) (spglib).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.crystals.conversion import elements
from crystalgraph.crystals.space_groups import SYMPREC, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from spglib import SpglibDataset

_MOST_ROUNDS = 8  # idealised crystals rarely have more symmetry than was found, and hardly ever twice


@dataclass(frozen=True, kw_only=True)
class StandardCell:
    """A crystal in its standard setting.

    Attributes:
        space_group: number, 1 to 230; spglib finds it in both cells.
        hall_number: of the setting, 1 to 530, as spglib counts them.
        conventional: the conventional cell.
        primitive: the primitive cell.
        wyckoff_letters: of each site of the conventional cell.
        orbits: for each site of the conventional cell, the first site that it is equivalent to.
    """

    space_group: int
    hall_number: int
    conventional: Structure
    primitive: Structure
    wyckoff_letters: list[str]
    orbits: list[int]


def standard_cell(structure: Structure, symprec: float = SYMPREC) -> StandardCell | None:
    """Move a crystal onto its symmetry.

    Args:
        structure: ordered structure, in any cell; it is not changed.
        symprec: tolerance, Å; atoms move about as much at most.

    Returns:
        The standard cells, right-handed and of the same hand as the crystal; None where spglib finds no symmetry, as
        for overlapping atoms or a flat cell.
    """
    dataset = symmetry_dataset(right_handed(structure), symprec)
    for _ in range(_MOST_ROUNDS):
        if dataset is None:
            return None
        conventional = _structure(dataset.std_lattice, dataset.std_types, dataset.std_positions)
        again = symmetry_dataset(conventional, symprec)
        if again is not None and again.number == dataset.number:
            return _standard(dataset, conventional, symprec)
        dataset = again
    return None


def primitive_cell(structure: Structure, symprec: float = SYMPREC) -> Structure:
    """The standard primitive cell with its symmetry exact, or the structure itself where no symmetry is found."""
    cell = standard_cell(structure, symprec)
    return structure if cell is None else cell.primitive


def right_handed(structure: Structure) -> Structure:
    """The same crystal with all cell vectors reversed if they are left-handed, else the structure itself."""
    from pymatgen.core import Structure

    if np.linalg.det(structure.lattice.matrix) > 0:
        return structure
    return Structure(
        -structure.lattice.matrix, structure.species, -structure.frac_coords, properties=structure.properties
    )


def _standard(dataset: SpglibDataset, conventional: Structure, symprec: float) -> StandardCell:
    import spglib

    cell = (dataset.std_lattice.tolist(), dataset.std_positions.tolist(), dataset.std_types.tolist())
    primitive = spglib.standardize_cell(cell, to_primitive=True, symprec=symprec)
    assert primitive is not None, "symmetry was found in this cell a moment ago"
    lattice, frac_coords, numbers = primitive
    # A site of the standard cell and one of the given cell are alike where they are one site of the primitive cell.
    given = dict(zip(dataset.mapping_to_primitive.tolist(), range(len(dataset.wyckoffs)), strict=True))
    sites = [given[site] for site in dataset.std_mapping_to_primitive.tolist()]
    orbits = [int(dataset.crystallographic_orbits[site]) for site in sites]
    return StandardCell(
        space_group=int(dataset.number),
        hall_number=int(dataset.hall_number),
        conventional=conventional,
        primitive=_structure(lattice, numbers, frac_coords),
        wyckoff_letters=[dataset.wyckoffs[site] for site in sites],
        orbits=[orbits.index(orbit) for orbit in orbits],
    )


def _structure(lattice: Any, numbers: Any, frac_coords: Any) -> Structure:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(lattice), [elements()[int(z)] for z in numbers], frac_coords)
