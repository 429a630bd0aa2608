"""Can a lattice have a basis like another's? A millionth of a match, asked before pymatgen's matcher is.

Of the pairs that have the same formula and as many atoms, nine in ten have no such basis. The matcher then spends a
millisecond on copying and scaling both crystals and on listing lattice vectors; here these are listed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LENGTH_MARGIN, _ANGLE_MARGIN = 1e-6, 1e-3
"""Relative, and in degrees: rounding never decides that there is no basis."""

_MOST_VECTORS, _MOST_TRIPLES = 1e5, 1e6
"""Needle-like and flat cells have more; the matcher decides about them."""


class LatticeVectors:
    """The vectors of a lattice, scaled to one Å³ per atom, by their length.

    Args:
        matrix: lattice vectors as rows, (3, 3), Å; not flat.
        n_atoms: in the cell.
    """

    def __init__(self, matrix: Floats, n_atoms: int) -> None:
        self._matrix = matrix / (abs(np.linalg.det(matrix)) / n_atoms) ** (1 / 3)
        self._heights = 1 / np.linalg.norm(np.linalg.inv(self._matrix), axis=0)
        self.lengths: Floats = np.linalg.norm(self._matrix, axis=1)
        directions = self._matrix / self.lengths[:, None]
        cosines = (directions[[1, 0, 0]] * directions[[2, 2, 1]]).sum(1)
        self.angles: Floats = np.rad2deg(np.arccos(cosines.clip(-1, 1)))
        self._radius = 0.0
        self._coefficients = self._directions = np.zeros((0, 3))
        self._by_length = np.zeros(0)

    def may_have_basis_like(self, other: LatticeVectors, length_tolerance: float, angle_tolerance: float) -> bool:
        """Whether a basis of this lattice may be like the basis that another was given by.

        Args:
            other: has as many atoms in its cell.
            length_tolerance: relative; lengths may be as much longer, or the other's as much longer than they.
            angle_tolerance: degrees.

        Returns:
            Never False where there is one.
        """
        factor = (1 + length_tolerance) * (1 + _LENGTH_MARGIN)
        if not self._list(factor * float(other.lengths.max())):
            return True
        first = np.searchsorted(self._by_length, other.lengths / factor)
        last = np.searchsorted(self._by_length, other.lengths * factor, side="right")
        if np.prod((last - first).astype(float)) > _MOST_TRIPLES:
            return True
        a, b, c = (slice(*bounds) for bounds in zip(first.tolist(), last.tolist(), strict=True))
        margin = angle_tolerance + _ANGLE_MARGIN
        highest = np.cos(np.deg2rad((other.angles - margin).clip(0, 180)))
        lowest = np.cos(np.deg2rad((other.angles + margin).clip(0, 180)))

        def fits(one: slice, another: slice, angle: int) -> NDArray[np.bool_]:
            cosines = self._directions[one] @ self._directions[another].T
            return (cosines >= lowest[angle] - 1e-12) & (cosines <= highest[angle] + 1e-12)

        triples = np.nonzero(fits(a, b, 2)[:, :, None] & fits(b, c, 0)[None] & fits(a, c, 1)[:, None])
        rows = (self._coefficients[part][chosen] for part, chosen in zip((a, b, c), triples, strict=True))
        one, two, three = rows
        volumes = (np.cross(one, two) * three).sum(1).round()
        return bool((np.abs(volumes) == 1).any())

    def _list(self, radius: float) -> bool:
        """List all vectors up to a length, unless that was done; whether they are few enough."""
        if radius <= self._radius:
            return True
        most = np.floor(radius / self._heights)
        if np.prod(2 * most + 1) > _MOST_VECTORS:
            return False
        grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most.astype(int)), indexing="ij"), -1).reshape(
            -1, 3
        )
        vectors = grid @ self._matrix
        lengths = np.linalg.norm(vectors, axis=1)
        near = np.flatnonzero((lengths > 0) & (lengths <= radius))
        order = near[np.argsort(lengths[near])]
        self._radius, self._by_length = radius, lengths[order]
        self._coefficients = grid[order]
        self._directions = vectors[order] / lengths[order, None]
        return True
