"""Which bases of a lattice are like another's? Asked before pymatgen's matcher is.

Of the pairs that have the same formula and as many atoms, nine in ten have no such basis. The matcher then spends a
millisecond on copying and scaling both crystals and on listing lattice vectors; here these are listed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LENGTH_MARGIN, _ANGLE_MARGIN, _COSINE_MARGIN = 1e-6, 1e-3, 1e-12
"""Relative, in degrees, and of cosines: rounding never decides that there is no basis."""

_MOST_VECTORS, _MOST_TRIPLES = 1e5, 1e6
"""Needle-like and flat cells have more; the matcher decides about them."""


class LatticeVectors:
    """The vectors of a lattice, scaled to one Å³ per atom, by their length.

    Attributes:
        matrix: the basis that it was given by, scaled, (3, 3), Å.
        lengths: of its vectors, (3,), Å.
        angles: between them, (3,), degrees.
        shortest: the lengths in ascending order.

    Args:
        matrix: lattice vectors as rows, (3, 3), Å; not flat.
        n_atoms: in the cell.
    """

    def __init__(self, matrix: Floats, n_atoms: int) -> None:
        self.matrix: Floats = matrix / (abs(np.linalg.det(matrix)) / n_atoms) ** (1 / 3)
        self._heights = 1 / np.linalg.norm(np.linalg.inv(self.matrix), axis=0)
        self.lengths: Floats = np.linalg.norm(self.matrix, axis=1)
        self.shortest: tuple[float, ...] = tuple(sorted(self.lengths.tolist()))
        directions = self.matrix / self.lengths[:, None]
        cosines = (directions[[1, 0, 0]] * directions[[2, 2, 1]]).sum(1)
        self.angles: Floats = np.rad2deg(np.arccos(cosines.clip(-1, 1)))
        self._cosines = dict[float, tuple[list[float], list[float]]]()
        self._radius = 0.0
        self._coefficients: NDArray[np.int64] = np.zeros((0, 3), dtype=np.int64)
        self._directions = np.zeros((0, 3))
        self._by_length = np.zeros(0)

    def bases_like(
        self, other: LatticeVectors, length_tolerance: float, angle_tolerance: float
    ) -> NDArray[np.int64] | None:
        """The bases of this lattice that may be like the basis that another was given by.

        Args:
            other: has as many atoms in its cell.
            length_tolerance: relative; lengths may be as much longer, or the other's as much longer than they.
            angle_tolerance: degrees.

        Returns:
            Coefficients of the vectors, (k, 3, 3): no basis that is like the other is missing. None if there are too
            many to look through.
        """
        factor = (1 + length_tolerance) * (1 + _LENGTH_MARGIN)
        if not self._list(factor * float(other.lengths.max())):
            return None
        first = np.searchsorted(self._by_length, other.lengths / factor)
        last = np.searchsorted(self._by_length, other.lengths * factor, side="right")
        if np.prod((last - first).astype(float)) > _MOST_TRIPLES:
            return None
        a, b, c = (slice(*bounds) for bounds in zip(first.tolist(), last.tolist(), strict=True))
        middle, radius = other.cosines_within(angle_tolerance + _ANGLE_MARGIN)

        def fits(one: slice, another: slice, angle: int) -> NDArray[np.bool_]:
            cosines = self._directions[one] @ self._directions[another].T
            return np.abs(cosines - middle[angle]) <= radius[angle]

        if not (of_first := fits(a, b, 2)).any() or not (of_last := fits(b, c, 0)).any():
            return np.zeros((0, 3, 3), dtype=np.int64)
        triples = np.nonzero(of_first[:, :, None] & of_last[None] & fits(a, c, 1)[:, None])
        rows = [self._coefficients[part][chosen] for part, chosen in zip((a, b, c), triples, strict=True)]
        bases = np.stack(rows, 1)
        return bases[np.abs(_determinants(bases)) == 1]

    def cosines_within(self, tolerance: float) -> tuple[list[float], list[float]]:
        """The cosines of angles as near to those between the basis vectors: middle and half width of each range.

        Args:
            tolerance: degrees.
        """
        if tolerance not in self._cosines:
            highest = np.cos(np.deg2rad((self.angles - tolerance).clip(0, 180)))
            lowest = np.cos(np.deg2rad((self.angles + tolerance).clip(0, 180)))
            middle, radius = (highest + lowest) / 2, (highest - lowest) / 2 + _COSINE_MARGIN
            self._cosines[tolerance] = middle.tolist(), radius.tolist()
        return self._cosines[tolerance]

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
        vectors = grid @ self.matrix
        lengths = np.linalg.norm(vectors, axis=1)
        near = np.flatnonzero((lengths > 0) & (lengths <= radius))
        order = near[np.argsort(lengths[near])]
        self._radius, self._by_length = radius, lengths[order]
        self._coefficients = grid[order]
        self._directions = vectors[order] / lengths[order, None]
        return True


def _determinants(matrices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of integers, (k, 3, 3): exact."""
    (a, b, c), (d, e, f), (g, h, i) = matrices.transpose(1, 2, 0)
    determinants: NDArray[np.int64] = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return determinants
