"""Lattices as exponentials of symmetric matrices, so that no code is a flat or forbidden cell.

A lattice is written L = exp(S) with S = k₁B₁ + … + k₆B₆ symmetric; the crystal system fixes some of the k.
Every real k gives a cell with positive volume, det L = exp(3 k₆).

Reference:
    R. Jiao et al., Space Group Constrained Crystal Generation (DiffCSP++), ICLR 2024, section 4.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")

_LAST_GROUP = torch.tensor([2, 15, 74, 142, 167, 194, 230])

#: Which of k₁…k₅ are free in each crystal system (k₆, the volume, always is).
_FREE = torch.tensor(
    [
        [1, 1, 1, 1, 1],  # triclinic
        [0, 1, 0, 1, 1],  # monoclinic, unique axis b
        [0, 0, 0, 1, 1],  # orthorhombic
        [0, 0, 0, 0, 1],  # tetragonal
        [0, 0, 0, 0, 1],  # trigonal, hexagonal axes
        [0, 0, 0, 0, 1],  # hexagonal
        [0, 0, 0, 0, 0],  # cubic
    ],
    dtype=torch.float64,
)

#: k₁ that makes gamma 120°: tanh(2 k₁) = cos 120°.
_HEXAGONAL_K1 = -math.log(3) / 4


def _basis() -> Tensor:
    basis = torch.zeros(6, 3, 3, dtype=torch.float64)
    for index, (row, column) in enumerate([(0, 1), (0, 2), (1, 2)]):
        basis[index, row, column] = basis[index, column, row] = 1.0
    basis[3] = torch.diag(torch.tensor([1.0, -1.0, 0.0]))
    basis[4] = torch.diag(torch.tensor([1.0, 1.0, -2.0]))
    basis[5] = torch.eye(3)
    return basis


def crystal_system(space_group_number: Tensor) -> Tensor:
    """Index into ``CRYSTAL_SYSTEMS`` of each space group, (n,), int64."""
    return torch.bucketize(space_group_number, _LAST_GROUP.to(space_group_number.device))


def free_shape(system: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where the crystal system leaves k₁…k₅ free, else 0, (n, 5)."""
    return _FREE.to(device=system.device, dtype=dtype)[system]


def lattice_from_code(system: Tensor, log_volume: Tensor, shape: Tensor) -> Tensor:
    """Conventional lattice of a volume and a shape in a crystal system.

    Args:
        system: index into ``CRYSTAL_SYSTEMS``, (n,).
        log_volume: log of the cell volume in Å³, (n,).
        shape: k₁…k₅, (n, 5), any real number; values the system forbids are ignored.

    Returns:
        Lattice vectors as rows, (n, 3, 3), Å; a symmetric matrix.
    """
    shape = shape * free_shape(system, shape.dtype)
    hexagonal = ((system == 4) | (system == 5)).to(shape.dtype) * _HEXAGONAL_K1
    k = torch.cat([shape[:, :1] + hexagonal[:, None], shape[:, 1:], log_volume[:, None] / 3], 1)
    return torch.linalg.matrix_exp(torch.einsum("nk,kij->nij", k, _basis().to(k)))


def project_strain(system: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
    """Split a symmetric strain into the change of log volume and of k₁…k₅ that the crystal system allows.

    Args:
        system: index into ``CRYSTAL_SYSTEMS``, (n,).
        strain: symmetric matrices, (n, 3, 3), dimensionless.

    Returns:
        Change of the log volume, (n,), and of the shape, (n, 5).
    """
    basis = _basis().to(strain)
    k = torch.einsum("nij,kij->nk", strain, basis) / (basis**2).sum((1, 2))
    return 3 * k[:, 5], k[:, :5] * free_shape(system, strain.dtype)


def code_from_lattice(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """Log volume, (n,), and k₁…k₅, (n, 5), of lattices, (n, 3, 3): ``lattice_from_code`` undone, but for rotation."""
    values, vectors = torch.linalg.eigh(lattice @ lattice.transpose(1, 2))
    symmetric = torch.einsum("nik,nk,njk->nij", vectors, values.log() / 2, vectors)
    basis = _basis().to(lattice)
    k = torch.einsum("nij,kij->nk", symmetric, basis) / (basis**2).sum((1, 2))
    hexagonal = (k[:, 0] - _HEXAGONAL_K1).abs() < 1e-3
    k1 = torch.where(hexagonal, k[:, 0] - _HEXAGONAL_K1, k[:, 0])
    return 3 * k[:, 5], torch.cat([k1[:, None], k[:, 1:5]], 1)
