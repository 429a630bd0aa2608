"""Lattices as exponentials of symmetric matrices, so that no code is a flat or forbidden cell.

A lattice is written L = exp(S) with S = k₁B₁ + … + k₆B₆ symmetric; the crystal system fixes some of the k.
Every real k gives a cell with positive volume, det L = exp(3 k₆).

Reference:
    R. Jiao et al., Space Group Constrained Crystal Generation (DiffCSP++), ICLR 2024, section 4.1.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")

#: Halvings before the series.
_SQUARINGS = 5

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


@lru_cache
def _basis(device: torch.device, dtype: torch.dtype) -> Tensor:
    """B₁…B₆, (6, 3, 3)."""
    basis = torch.zeros(6, 3, 3, dtype=torch.float64)
    for index, (row, column) in enumerate([(0, 1), (0, 2), (1, 2)]):
        basis[index, row, column] = basis[index, column, row] = 1.0
    basis[3] = torch.diag(torch.tensor([1.0, -1.0, 0.0]))
    basis[4] = torch.diag(torch.tensor([1.0, 1.0, -2.0]))
    basis[5] = torch.eye(3)
    return basis.to(device=device, dtype=dtype)


@lru_cache
def _free(device: torch.device, dtype: torch.dtype) -> Tensor:
    return _FREE.to(device=device, dtype=dtype)


def exponential(matrix: Tensor) -> Tensor:
    """Exponentials of matrices, (n, 3, 3), to a relative error of 1e-12 up to a norm of 4; lattice codes stay below.

    Scaled, put in the Taylor series to the eighth power, and squared. ``torch.linalg.matrix_exp`` chooses its degree by
    the norm of each matrix, for which a GPU has to be waited for ten times a call, and again for the gradient.
    """
    one = matrix / 2**_SQUARINGS
    two = one @ one
    three, four = two @ one, two @ two
    unit = torch.eye(3, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    low, high = torch.tensordot(_taylor(matrix.device, matrix.dtype), torch.stack([unit, one, two, three]), 1)
    result = low + four @ (high + four / math.factorial(8))
    for _ in range(_SQUARINGS):
        result = result @ result
    return result


@lru_cache
def _taylor(device: torch.device, dtype: torch.dtype) -> Tensor:
    """1/k! for k from 0 to 3 and from 4 to 7, (2, 4)."""
    factors = torch.tensor([1 / math.factorial(k) for k in range(8)], dtype=torch.float64)
    return factors.view(2, 4).to(device=device, dtype=dtype)


def crystal_system(space_group_number: Tensor) -> Tensor:
    """Index into ``CRYSTAL_SYSTEMS`` of each space group, (n,), int64."""
    return torch.bucketize(space_group_number, _LAST_GROUP.to(space_group_number.device))


def free_shape(system: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where the crystal system leaves k₁…k₅ free, else 0, (n, 5)."""
    return _free(system.device, dtype)[system]


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
    k = torch.cat([shape[:, :1] + hexagonal[:, None], shape[:, 1:]], 1)
    of_unit_volume = exponential(torch.einsum("nk,kij->nij", k, _basis(k.device, k.dtype)[:5]))
    return of_unit_volume * (log_volume / 3).exp()[:, None, None]


def project_strain(system: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
    """Split a symmetric strain into the change of log volume and of k₁…k₅ that the crystal system allows.

    Args:
        system: index into ``CRYSTAL_SYSTEMS``, (n,).
        strain: symmetric matrices, (n, 3, 3), dimensionless.

    Returns:
        Change of the log volume, (n,), and of the shape, (n, 5).
    """
    basis = _basis(strain.device, strain.dtype)
    k = torch.einsum("nij,kij->nk", strain, basis) / (basis**2).sum((1, 2))
    return 3 * k[:, 5], k[:, :5] * free_shape(system, strain.dtype)


def code_from_lattice(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """Log volume, (n,), and k₁…k₅, (n, 5), of lattices, (n, 3, 3): ``lattice_from_code`` undone, but for rotation."""
    values, vectors = torch.linalg.eigh(lattice @ lattice.transpose(1, 2))
    symmetric = torch.einsum("nik,nk,njk->nij", vectors, values.log() / 2, vectors)
    basis = _basis(lattice.device, lattice.dtype)
    k = torch.einsum("nij,kij->nk", symmetric, basis) / (basis**2).sum((1, 2))
    hexagonal = (k[:, 0] - _HEXAGONAL_K1).abs() < 1e-3
    k1 = torch.where(hexagonal, k[:, 0] - _HEXAGONAL_K1, k[:, 0])
    return 3 * k[:, 5], torch.cat([k1[:, None], k[:, 1:5]], 1)
