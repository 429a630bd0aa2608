"""Distort a crystal so that a subgroup of its space group is left, in its own cell and in doubled ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import moyopy
import numpy as np
from pymatgen.core import Lattice, Structure

DISPLACEMENT, STRAIN = 0.2, 0.02
"""Å that the atom moves which moves most, and the largest change of a lattice vector, as a share."""

SMALLEST_SHARE = 0.125
"""Of the operations, what a subgroup must keep."""

N_PAIRS = 300
"""Most pairs of operations that generate subgroups of one cell."""

PER_KIND = 2
"""Subgroups of a cell with the same kinds of operations that are taken."""

_SAME = 1e-3  # fractional; atoms on each other

_DOUBLED = (
    *([[2, 0, 0], [a, 1, 0], [b, 0, 1]] for a, b in product((0, 1), repeat=2)),
    *([[1, 0, 0], [0, 2, 0], [0, c, 1]] for c in (0, 1)),
    [[1, 0, 0], [0, 1, 0], [0, 0, 2]],
)
"""All cells of twice the volume, rows in the lattice vectors, in Hermite normal form."""


@dataclass(frozen=True, kw_only=True)
class _Operations:
    """Of a crystal: rotations (n, 3, 3) on fractional columns, where each atom goes (n, n_atoms), and products."""

    rotations: np.ndarray
    images: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.rotations)


def distorted(structure: Structure, rng: np.random.Generator, max_atoms: int) -> list[Structure]:
    """Crystals near another one, each with a subgroup of its symmetry.

    Displacements and strains are random, averaged over the operations of the subgroup. Subgroups keep at least
    `SMALLEST_SHARE` of the operations; in doubled cells the former lattice translation counts as one of them.

    Args:
        structure: the other one, ordered.
        rng: of subgroups and distortions.
        max_atoms: most atoms in the cells.

    Returns:
        Large subgroups first, those of the crystal's own cell before doubled ones. Some may be equivalent, or have all
        of the symmetry after all, where no distortion breaks it.
    """
    primitive = structure.get_primitive_structure()
    cells = [primitive]
    if 2 * len(primitive) <= max_atoms:
        cells += [primitive.make_supercell(cell, to_unit_cell=True, in_place=False) for cell in _DOUBLED]
    return [
        _distort(cell, operations, subgroup, rng)
        for cell in cells
        for operations in [_operations(cell)]
        for subgroup in _subgroups(operations, rng)
    ]


def _operations(cell: Structure) -> _Operations:
    found = moyopy.MoyoDataset(
        moyopy.Cell(
            basis=cell.lattice.matrix.tolist(),
            positions=cell.frac_coords.tolist(),
            numbers=list(cell.atomic_numbers),
        ),
        symprec=1e-2,
    ).operations
    rotations, images = np.array(found.rotations), []
    for rotation, translation in zip(rotations, np.array(found.translations), strict=True):
        moved = cell.frac_coords @ rotation.T + translation
        apart = moved[:, None] - cell.frac_coords
        images.append((apart - apart.round()).__abs__().max(2).argmin(1))
    number = {(r.tobytes(), i.tobytes()): k for k, (r, i) in enumerate(zip(rotations, images, strict=True))}
    table = [
        [number[(r @ s).tobytes(), i[j].tobytes()] for s, j in zip(rotations, images, strict=True)]
        for r, i in zip(rotations, images, strict=True)
    ]
    return _Operations(rotations=rotations, images=np.array(images), table=np.array(table))


def _subgroups(operations: _Operations, rng: np.random.Generator) -> Iterator[list[int]]:
    """Some of each kind, large ones first; in a doubled cell none with the former translation."""
    n = len(operations)
    is_translation = (operations.rotations == np.eye(3, dtype=int)).all((1, 2)) & (
        operations.images != np.arange(operations.images.shape[1])
    ).any(1)
    pairs = [(i, j) for i in range(n) for j in range(i)] or [(0, 0)]
    picked = rng.permutation(len(pairs))[:N_PAIRS]
    found = {_generated(operations.table, pairs[k]) for k in picked.tolist()}
    thirds = rng.integers(n, size=len(found)).tolist()
    found |= {
        _generated(operations.table, (*group, third))
        for group, third in zip(sorted(found, key=sorted), thirds, strict=True)
    }
    kinds: dict[tuple[tuple[int, int], ...], int] = {}
    for group in sorted(found, key=lambda members: (-len(members), sorted(members))):
        members = sorted(group)
        if len(members) == n or len(members) < SMALLEST_SHARE * n or is_translation[members].any():
            continue
        rotations = operations.rotations[members]
        traces, signs = rotations.trace(axis1=1, axis2=2), np.linalg.det(rotations).round().astype(int)
        kind = tuple(sorted(zip(traces.tolist(), signs.tolist(), strict=True)))
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] <= PER_KIND:
            yield members


def _generated(table: np.ndarray, generators: tuple[int, ...]) -> frozenset[int]:
    """The group that some operations generate."""
    members = set(generators)
    while True:
        grown = members | set(table[np.ix_(sorted(members), sorted(members))].ravel().tolist())
        if grown == members:
            return frozenset(members)
        members = grown


def _distort(cell: Structure, operations: _Operations, subgroup: list[int], rng: np.random.Generator) -> Structure:
    lattice = cell.lattice.matrix
    moves = rng.normal(size=(len(cell), 3)) @ np.linalg.inv(lattice)
    strained = lattice @ (np.eye(3) + rng.normal(size=(3, 3)))
    wanted = strained @ strained.T - lattice @ lattice.T
    moved, metric = np.zeros_like(moves), np.zeros((3, 3))
    for k in subgroup:
        rotation = operations.rotations[k]
        moved[operations.images[k]] += moves @ rotation.T / len(subgroup)
        metric += rotation.T @ wanted @ rotation / len(subgroup)
    longest = np.linalg.norm(moved @ lattice, axis=1).max()
    moved *= DISPLACEMENT / longest if longest > _SAME else 0.0
    own = lattice @ lattice.T
    change = np.abs(metric / np.sqrt(np.outer(np.diag(own), np.diag(own)))).max()
    metric = own + metric * (2 * STRAIN / change if change > _SAME else 0.0)
    return Structure(Lattice(np.linalg.cholesky(metric)), cell.species, cell.frac_coords + moved)
