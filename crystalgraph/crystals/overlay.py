"""Can one crystal be laid over another? Asked of all bases and shifts at once, before pymatgen's matcher tries each.

The matcher gives one crystal a basis like the other's, averages the two cells, lays an atom of the rarest element on
one of the other crystal, assigns the atoms to each other, shifts the whole by its mean displacement, and accepts if no
atom is then farther from its partner than a distance t. So before that shift every atom has a partner within 2 t, and
the squares of these distances add up to at most 2 t² an atom: a displacement is at most t from the mean, which itself
is at most t long as the first atom had none. Of the pairs whose lattices are alike, most do not come so near.

Reference:
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013) (pymatgen).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalgraph.crystals.lattice_mapping import LatticeVectors

Floats = NDArray[np.float64]

_MARGIN = 1e-6
"""Relative: rounding never decides that there is no way."""

_MOST_DISTANCES = 2e6
"""The matcher decides about crystals that have more in all bases and shifts."""

_MOST_REACH = 1.5
"""Fraction of a cell; where atoms may be farther away than that, the images below are too few."""

_HALF = 0.5 - _MARGIN
"""Fraction of a cell: two atoms that may be so far from each other may be nearer by a lattice vector."""


@dataclass(frozen=True)
class Cell:
    """A Niggli cell and what is in it.

    Attributes:
        vectors: of its lattice; the cell is their first basis.
        frac_coords: (n, 3).
        atomic_numbers: (n,).
    """

    vectors: LatticeVectors
    frac_coords: Floats
    atomic_numbers: NDArray[np.int64]


def may_lie_over(one: Cell, another: Cell, bases: NDArray[np.int64], site_tolerance: float) -> bool:
    """Whether a crystal may lie over another, in one of some bases of its lattice.

    Args:
        one: the crystal that is given these bases.
        another: of the same elements, as many atoms of each.
        bases: coefficients of their vectors, (k, 3, 3), each a basis of the lattice.
        site_tolerance: greatest distance of two atoms from each other, in units of (volume per atom)^(1/3).

    Returns:
        Never False where the matcher says that it does.
    """
    if not len(bases):
        return False
    n_atoms, pinned, candidates = len(one.frac_coords), *_pinned(one, another)
    if len(bases) * len(candidates) * n_atoms**2 > _MOST_DISTANCES:
        return True
    metric = _mean_metric(bases @ one.vectors.matrix, another.vectors)
    if not ((squared_volume := np.linalg.det(metric)) > 0).all():  # a flat mean of flat cells
        return True
    inverse, volume = np.linalg.inv(metric), np.sqrt(squared_volume)
    farthest = (1 + _MARGIN) * 2 * site_tolerance * (volume / n_atoms) ** (1 / 3)  # 2 t
    reach = farthest[:, None] * np.sqrt(inverse[:, [0, 1, 2], [0, 1, 2]])  # along each axis, fractional
    if reach.max() > _MOST_REACH:
        return True

    atoms, partners = np.nonzero(another.atomic_numbers[:, None] == one.atomic_numbers)
    first = np.searchsorted(atoms, np.arange(n_atoms))  # pair of each atom
    moved = (one.frac_coords @ np.linalg.inv(bases.astype(float))).transpose(2, 0, 1)  # (3, bases, atoms)
    fixed = another.frac_coords.T
    shifts = moved[:, :, candidates] - fixed[:, None, [pinned]]
    away = (moved[:, :, partners] - fixed[:, None, atoms])[:, :, None] - shifts[..., None]  # (3, bases, shifts, pairs)
    away -= away.round()
    x, y, z = np.abs(away) <= reach.T[:, :, None, None]
    ways = np.nonzero(np.logical_or.reduceat(x & y & z, first, axis=2).all(2))

    images = np.array(list(itertools.product(*((-1, 0, 1) if far else (0,) for far in reach.max(0) > _HALF)))).T
    differences = away[:, ways[0], ways[1]][..., None] + images[:, None, None]
    squares = (np.einsum("dwpi,wde->ewpi", differences, metric[ways[0]]) * differences).sum(0).min(-1)
    nearest, limit = np.minimum.reduceat(squares, first, axis=1), farthest[ways[0]] ** 2
    return bool(((nearest <= limit[:, None]).all(1) & (nearest.sum(1) <= n_atoms * limit / 2)).any())


def _pinned(one: Cell, another: Cell) -> tuple[int, NDArray[np.int64]]:
    """An atom of the other crystal of which there are fewest, and those that it may be laid on."""
    numbers, counts = np.unique(another.atomic_numbers, return_counts=True)
    rarest = numbers[counts.argmin()]
    return int((another.atomic_numbers == rarest).argmax()), np.flatnonzero(one.atomic_numbers == rarest)


def _mean_metric(matrices: Floats, other: LatticeVectors) -> Floats:
    """Products of the vectors of cells whose lengths and angles are halfway to another's, (k, 3, 3), Å²."""
    lengths = np.linalg.norm(matrices, axis=2)
    cosines = (matrices[:, [1, 0, 0]] * matrices[:, [2, 2, 1]]).sum(2) / (lengths[:, [1, 0, 0]] * lengths[:, [2, 2, 1]])
    angles = np.deg2rad((np.rad2deg(np.arccos(cosines.clip(-1, 1))) + other.angles) / 2)
    mean = (lengths + other.lengths) / 2
    metric = mean[:, :, None] * mean[:, None]
    for row, column, angle in ((1, 2, 0), (0, 2, 1), (0, 1, 2)):
        metric[:, row, column] *= np.cos(angles[:, angle])
        metric[:, column, row] = metric[:, row, column]
    return metric
