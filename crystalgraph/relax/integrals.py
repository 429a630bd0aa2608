"""DIEP's integrals of density times potential: the same numbers, but for rounding, in half of the time or less.

DIEP lays each bond and each pair of bonds of an atom on a grid of 11 × 11 points, and multiplies at every point the
Gaussian densities of the two or three atoms with their softened potentials. It does so in tensors that hold two
coordinates of every atom and point, and keeps them all for the derivatives. Here the Gaussians are products of one
along each axis, and values and derivatives are worked out block by block. Both orders of a pair are looked at, as DIEP
does: of three atoms on a line their derivatives are different, and only the sum has the symmetry of the crystal.

Reference:
    S. A. Tawfik et al., Digit. Discov. (2024).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diep.layers._diep import DIEPIntegrator
from diep.layers._diep_core import _canonicalize_triplets_batch as planar
from diep.layers._three_body import ThreeBodyInteractions
from diep.models._diep import DIEP
from torch import Tensor, nn

_BLOCK = 512
"""Bonds or pairs that are worked out together, few enough for the cache of a core."""


def pack(model: DIEP) -> None:
    """Put these integrals, and sums over pairs of bonds, in the place of a DIEP's own; for inference."""
    model.diep_integrator = _Integrals(model.diep_integrator)
    model.three_body_interactions = nn.ModuleList(map(_PairSum, model.three_body_interactions))


class _Integrals(nn.Module):
    """Features of bonds and of pairs of bonds, with the grid of an integrator."""

    axis: Tensor  # Å, of the points along each side of the grid

    def __init__(self, own: DIEPIntegrator) -> None:
        super().__init__()
        n = round(2 * own.grid_half_length / own.base_spacing) + 1
        self.register_buffer("axis", torch.linspace(-own.grid_half_length, own.grid_half_length, n))
        spacing = float(self.axis[1] - self.axis[0])
        self.constants = own.softening_epsilon**2, own.sigma, spacing**2 / (math.pi * own.sigma)

    def forward(self, graph: Any, atomic_numbers: Tensor, compute_triplets: bool = True) -> tuple[Tensor, Tensor]:
        """Features of bonds (bonds, points) and of ordered pairs of them (pairs, points)."""
        assert compute_triplets
        start, end = graph.edge_index
        half, zero = graph.bond_dist / 2, torch.zeros_like(graph.bond_dist)
        along = torch.stack([torch.stack([-half, zero], -1), torch.stack([half, zero], -1)], 1)
        bonds = self._integrate(along, atomic_numbers[torch.stack([start, end], 1)])

        first, second = graph.triple_index
        one, another = graph.bond_vec[first], graph.bond_vec[second]
        numbers = atomic_numbers[torch.stack([end[first], start[first], end[second]], 1)]
        return bonds, self._integrate(*planar(torch.stack([one, torch.zeros_like(one), another], 1), numbers))

    def _integrate(self, places: Tensor, atomic_numbers: Tensor) -> Tensor:
        return _Integral.apply(places, atomic_numbers.sqrt(), self.axis, *self.constants)  # type: ignore[no-any-return, no-untyped-call]


class _PairSum(nn.Module):
    """What each bond hears of the others of its atom, with the weights of a layer."""

    def __init__(self, own: ThreeBodyInteractions) -> None:
        super().__init__()
        self.of_atoms, self.of_bonds = own.update_network_atom, own.update_network_bond

    def forward(self, graph: Any, features: Tensor, cutoff: Tensor, of_atoms: Tensor, of_bonds: Tensor) -> Tensor:
        """New features of the bonds.

        Args:
            graph: of a crystal.
            features: of pairs of bonds, (pairs, points).
            cutoff: how much each bond counts, (bonds,).
            of_atoms: their features.
            of_bonds: their features.
        """
        first, second = graph.triple_index
        ends = cutoff[:, None] * self.of_atoms(of_atoms)[graph.edge_index[1]]
        heard = torch.zeros_like(ends).index_add(0, first, features * ends[second])
        return of_bonds + self.of_bonds(cutoff[:, None] * heard)


class _Integral(torch.autograd.Function):
    """Density times potential of two or three atoms in a plane, at the points of a grid."""

    @staticmethod
    def forward(
        ctx: Any, places: Tensor, charges: Tensor, axis: Tensor, softening: float, sigma: float, factor: float
    ) -> Tensor:
        """Values at the points, (n, points × points), y before x.

        Args:
            ctx: as torch has it.
            places: of the atoms, (n, atoms, 2), Å.
            charges: effective ones, (n, atoms).
            axis: points along x and y, (points,), Å.
            softening: added to squared distances, Å².
            sigma: of the density ``exp(-d²/sigma)``, Å².
            factor: of all values.
        """
        ctx.save_for_backward(places, charges, axis)
        ctx.constants = softening, sigma, factor
        values = places.new_empty(len(places), len(axis) ** 2)
        for block in _blocks(len(places)):
            density, potential = _Block(places[block], charges[block], axis, softening, sigma).fields()
            values[block] = density.mul_(potential).flatten(0, 1).T
        return values.mul_(factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Those of the places."""
        places, charges, axis = ctx.saved_tensors
        softening, sigma, factor = ctx.constants
        changes = torch.empty_like(places)
        for rows in _blocks(len(places)):
            block = _Block(places[rows], charges[rows], axis, softening, sigma)
            density, potential = block.fields()
            gradient = gradients[0][rows].T.contiguous().view(potential.shape)
            of_density, of_potential = potential.mul_(gradient), density.mul_(gradient)
            cubes = (block.inverse * block.inverse).mul_(block.inverse).mul_(of_potential)
            for axis_number, (other, this, way) in enumerate(
                ((block.gauss[1][:, :, None], block.gauss[0], 1), (block.gauss[0][:, None], block.gauss[1], 2))
            ):
                change = (other * of_density).sum(way).mul_(this).mul_(-2 / sigma)
                change.addcmul_(cubes.sum(way), block.charges[:, None], value=-1)
                changes[rows, :, axis_number] = change.mul_(block.away[axis_number]).sum(1).mul_(factor).T
        return changes, None, None, None, None, None


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]


class _Block:
    """Some groups of atoms and the grid; groups are the last axis of everything, so that one instruction takes many.

    Attributes:
        charges: (atoms, n).
        away: from each point along x and y, (2, atoms, points, n).
        gauss: densities along each axis, (2, atoms, points, n).
        inverse: one over the softened distance, (atoms, points of y, points of x, n).
    """

    def __init__(self, places: Tensor, charges: Tensor, axis: Tensor, softening: float, sigma: float) -> None:
        self.charges = charges.T.contiguous()
        self.away = places.permute(2, 1, 0).contiguous()[:, :, None] - axis[:, None]
        squares = self.away * self.away
        self.gauss = (squares / -sigma).exp_()
        self.inverse = (squares[1][:, :, None] + squares[0][:, None]).add_(softening).rsqrt_()

    def fields(self) -> tuple[Tensor, Tensor]:
        """Density and potential of all atoms together, (points of y, points of x, n) each."""
        potential = self.inverse[0] * self.charges[0]
        density = self.gauss[1, 0][:, None] * self.gauss[0, 0]
        for atom in range(1, len(self.charges)):
            potential.addcmul_(self.inverse[atom], self.charges[atom])
            density.addcmul_(self.gauss[1, atom][:, None], self.gauss[0, atom])
        return density, potential
