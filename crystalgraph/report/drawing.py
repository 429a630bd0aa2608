"""What it takes to draw a crystal: its conventional cell, bonds, and coordination polyhedra.

In a compound, the elements within 0.5 of the largest electronegativity are its anions, and bonds run between them and
the others; where that leaves no others, between all atoms. Bonded are atoms at most 1.2 times their covalent radii
apart. A polyhedron is the hull of the anions bonded to one other atom.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.crystals.space_groups import symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure

ANION_RANGE = 0.5
"""Of Pauling's electronegativity; elements this close to the largest one are anions."""

BOND_STRETCH = 1.2
"""Longest bond over the sum of covalent radii."""

MAX_DRAWN_ATOMS = 120
"""A conventional cell with more atoms is not taken; the cell as given is drawn then."""

MAX_ATOMS = 200
"""Larger cells are neither drawn nor get a powder pattern."""

_COPLANAR = 1e-2
_VERTICES = range(4, 15)

Atom = tuple[int, tuple[int, int, int]]
"""Position in the structure, and the cell it is in."""


@dataclass(frozen=True, kw_only=True)
class _Bonds:
    """Bonds of a periodic structure, each both ways.

    Attributes:
        of: atom in the home cell -> the atoms it is bonded to.
        centers: atoms that have neighbours of another kind around them; none where all atoms are alike.
    """

    of: dict[int, list[Atom]]
    centers: frozenset[int]


def conventional(structure: Structure) -> tuple[Structure, NDArray[np.int64]]:
    """The conventional cell of a structure, with every atom where it was.

    Args:
        structure: ordered structure.

    Returns:
        The cell, and the matrix M that leads to it, (3, 3): rows of the new lattice are M times those of the old. It
        is the cell as given, and M the identity, where no symmetry is found, the given cell is a larger one, or the
        conventional one would have more than ``MAX_DRAWN_ATOMS`` atoms.
    """
    same = np.eye(3, dtype=np.int64)
    dataset = symmetry_dataset(structure)
    if dataset is None:
        return structure, same
    exact = np.linalg.inv(dataset.transformation_matrix).T
    matrix = np.rint(exact).astype(np.int64)
    size = round(np.linalg.det(matrix))
    if np.abs(exact - matrix).max() > 1e-3 or not 1 <= size * len(structure) <= max(MAX_DRAWN_ATOMS, len(structure)):
        return structure, same
    return structure * matrix, matrix


def scene(structure: Structure) -> dict[str, Any]:
    """A cell with its bonds, each of them once for every atom it belongs to, for JSON; ``scene.js`` repeats it.

    Args:
        structure: the cell to draw.

    Returns:
        ``lattice``: rows, Å. ``elements``: symbol, colour and covalent radius (Å) of each. ``sites``: index into
        ``elements`` and fractional coordinates of each atom; flat. ``neighbors``: for each atom those it is bonded
        to, as position in ``sites`` and the cell it is in; flat. ``polyhedra``: position of each atom that has its
        neighbours around it, and the faces of their hull, as lists of positions in its ``neighbors`` in order around
        the face; none where there is no hull to draw.
    """
    from ase.data import chemical_symbols, covalent_radii

    bonds = _bonds(structure)
    numbers = list(structure.atomic_numbers)
    elements = list(dict.fromkeys(numbers))
    sites: list[float] = []
    for number, frac in zip(numbers, structure.frac_coords.round(6).tolist(), strict=True):
        sites += [elements.index(number), *frac]
    polyhedra: list[list[Any]] = []
    for center in sorted(bonds.centers):
        around = bonds.of[center]
        corners = [structure.frac_coords[site] + np.array(image) for site, image in around]
        is_drawn = len(around) in _VERTICES
        polyhedra.append([center, _faces(structure.lattice.get_cartesian_coords(corners)) if is_drawn else []])
    return {
        "lattice": structure.lattice.matrix.round(6).tolist(),
        "elements": [[chemical_symbols[z], _colour(z), round(float(covalent_radii[z]), 2)] for z in elements],
        "sites": sites,
        "neighbors": [
            [part for other, image in bonds.of[site] for part in (other, *image)] for site in range(len(structure))
        ],
        "polyhedra": polyhedra,
    }


def _bonds(structure: Structure) -> _Bonds:
    """The bonds by the rule of this module."""
    from ase.data import covalent_radii

    radii = covalent_radii[np.array(structure.atomic_numbers)]
    anion = _anions(structure)
    centre, neighbor, image, distance = structure.get_neighbor_list(2 * BOND_STRETCH * float(radii.max()))
    bonded = distance <= BOND_STRETCH * (radii[centre] + radii[neighbor])
    if not anion.all():
        bonded &= anion[centre] != anion[neighbor]
    neighbors: dict[int, list[Atom]] = {site: [] for site in range(len(structure))}
    order = np.lexsort((distance, centre))
    for k in order[bonded[order]].tolist():
        a, b, c = image[k].astype(int).tolist()
        neighbors[int(centre[k])].append((int(neighbor[k]), (a, b, c)))
    centers = frozenset() if anion.all() else frozenset(np.flatnonzero(~anion).tolist())
    return _Bonds(of=neighbors, centers=centers)


def _anions(structure: Structure) -> NDArray[np.bool_]:
    """Which atoms are anions, (n_atoms,); all where no element stands out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have no electronegativity
        values = np.nan_to_num([float(site.specie.X) for site in structure])
    anions: NDArray[np.bool_] = values >= values.max() - ANION_RANGE
    return anions


def _faces(points: NDArray[np.float64]) -> list[list[int]]:
    """Faces of the convex hull of some points, (n, 3), each in order around it; none if the points are flat."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(points)
    except QhullError:
        return []
    planes: list[NDArray[np.float64]] = []
    members: list[set[int]] = []
    for plane, simplex in zip(hull.equations, hull.simplices.tolist(), strict=True):
        same = next((k for k, known in enumerate(planes) if np.abs(known - plane).max() < _COPLANAR), None)
        if same is None:
            planes.append(plane)
            members.append(set(simplex))
        else:
            members[same].update(simplex)
    return [_around(points, sorted(face), plane[:3]) for face, plane in zip(members, planes, strict=True)]


def _around(points: NDArray[np.float64], face: list[int], normal: NDArray[np.float64]) -> list[int]:
    """The corners of a face in order."""
    arms = points[face] - points[face].mean(0)
    first = arms[0] / np.linalg.norm(arms[0])
    angles = np.arctan2(arms @ np.cross(normal, first), arms @ first)
    return [face[k] for k in np.argsort(angles, kind="stable")]


def _colour(atomic_number: int) -> str:
    """Jmol's colour of an element; elements heavier than meitnerium, which have none, get meitnerium's."""
    from ase.data.colors import jmol_colors

    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in jmol_colors[: atomic_number + 1][-1])
