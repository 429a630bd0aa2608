"""What it takes to draw a crystal: its conventional cell, bonds, coordination polyhedra, and powder pattern.

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

WAVELENGTH, TWO_THETA = "CuKa", (10.0, 90.0)
"""Radiation of the powder pattern, and its range in degrees."""

MIN_INTENSITY = 0.5
"""Percent of the strongest; weaker lines are left out."""

HEAVIEST_SCATTERER = 98
"""Californium, the last element that pymatgen has scattering coefficients of."""

_ON_THE_FACE = 0.01  # of a cell length; atoms this close to a face are drawn on the opposite one too
_COPLANAR = 1e-2
_VERTICES = range(4, 15)

Atom = tuple[int, tuple[int, int, int]]
"""Position in the structure, and the cell it is in."""


@dataclass(frozen=True, kw_only=True)
class _Bonds:
    """Bonds of a periodic structure, each both ways.

    Attributes:
        of: atom in the home cell -> the atoms it is bonded to.
        centers: atoms that have a polyhedron; none where all atoms are alike.
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
    """All there is to draw in a cell, for JSON.

    Args:
        structure: the cell to draw.

    Returns:
        ``lattice``: rows, Å. ``elements``: symbol, colour and covalent radius (Å) of each. ``atoms``: index into
        ``elements``, x, y and z (Å) of each atom in the cell, on its faces, or bonded to a centre of these; flat.
        ``bonds``: pairs of positions in ``atoms``; flat. ``polyhedra``: position of the centre, and the faces as
        lists of positions in order around the face.
    """
    from ase.data import chemical_symbols, covalent_radii

    bonds = _bonds(structure)
    visible = _in_the_cell(structure)
    for site, image in list(visible):
        if site in bonds.centers:
            visible.update(dict.fromkeys(_moved(bonds.of[site], image)))
    place = {atom: k for k, atom in enumerate(visible)}
    frac_coords = structure.frac_coords
    cart = structure.lattice.get_cartesian_coords([frac_coords[site] + np.array(image) for site, image in visible])
    numbers = list(structure.atomic_numbers)
    elements = list(dict.fromkeys(numbers))
    atoms: list[float] = []
    pairs: list[int] = []
    polyhedra: list[list[Any]] = []
    for (site, image), k in place.items():
        atoms += [elements.index(numbers[site]), *np.round(cart[k], 3).tolist()]
        around = [place[other] for other in _moved(bonds.of[site], image) if other in place]
        for other in around:
            if k < other:
                pairs += [k, other]
        if site in bonds.centers and len(around) == len(bonds.of[site]) and len(around) in _VERTICES:
            faces = [[around[vertex] for vertex in face] for face in _faces(cart[around])]
            if faces:
                polyhedra.append([k, faces])
    return {
        "lattice": np.round(structure.lattice.matrix, 4).tolist(),
        "elements": [[chemical_symbols[z], _colour(z), round(float(covalent_radii[z]), 2)] for z in elements],
        "atoms": atoms,
        "bonds": pairs,
        "polyhedra": polyhedra,
    }


def powder_pattern(structure: Structure, matrix: NDArray[np.int64]) -> list[list[Any]] | None:
    """Simulated X-ray powder pattern, as pymatgen computes it: sticks without thermal motion or texture.

    Args:
        structure: ordered structure.
        matrix: that leads to the cell the indices refer to, see `conventional`.

    Returns:
        Lines of at least ``MIN_INTENSITY``: 2θ (degrees), intensity (percent of the strongest), and Miller indices of
        one of their reflections. None where it is not known how an element scatters.
    """
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    if max(structure.atomic_numbers) > HEAVIEST_SCATTERER:
        return None
    pattern = XRDCalculator(WAVELENGTH).get_pattern(structure, two_theta_range=TWO_THETA)
    lines: list[list[Any]] = []
    for angle, intensity, families in zip(pattern.x, pattern.y, pattern.hkls, strict=True):
        if intensity >= MIN_INTENSITY:
            index = families[0]["hkl"]
            miller = matrix @ np.array([index[0], index[1], index[-1]])  # hexagonal ones have four
            lines.append([round(float(angle), 3), round(float(intensity), 1), " ".join(map(str, miller))])
    return lines


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


def _in_the_cell(structure: Structure) -> dict[Atom, None]:
    """The atoms in the cell and on all its faces, in the order of the structure."""
    atoms: dict[Atom, None] = {}
    for site, frac in enumerate(structure.frac_coords):
        home = np.floor(frac + _ON_THE_FACE).astype(int)
        choices = [
            (-h, 1 - h) if abs(f - h) <= _ON_THE_FACE else (-h,)
            for f, h in zip(frac.tolist(), home.tolist(), strict=True)
        ]
        atoms.update(((site, (a, b, c)), None) for a in choices[0] for b in choices[1] for c in choices[2])
    return atoms


def _moved(atoms: list[Atom], image: tuple[int, int, int]) -> list[Atom]:
    """The same atoms, as seen from another cell."""
    return [(site, (a + image[0], b + image[1], c + image[2])) for site, (a, b, c) in atoms]


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
