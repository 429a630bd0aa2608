"""SevenNet's convolution as few large matrix products: the same numbers, but for rounding, in half of the time or less.

SevenNet multiplies the features of the neighbour of each bond with the spherical harmonics of the bond, path by path
(e3nn's ``uvu`` tensor product), and adds up what comes to an atom. Here the sum over the neighbours of an atom comes
first, as a product of two matrices; Clebsch-Gordan coefficients come after it, when there are as many rows as atoms and
no longer as many as bonds.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import sevenn._keys as keys
import torch
from e3nn.o3 import TensorProduct, wigner_3j
from sevenn.nn.convolution import IrrepsConvolution
from torch import Tensor, nn

_PLACES = "crystalgraph_places"  # of bonds, in the data of a crystal


def pack(model: nn.Module) -> None:
    """Put packed convolutions in the place of a SevenNet's own; for inference."""
    for name, module in list(model.named_children()):
        if isinstance(module, IrrepsConvolution):
            setattr(model, name, _PackedConvolution(module))


class _PackedConvolution(nn.Module):
    """The convolution of a layer, with its weights."""

    def __init__(self, convolution: IrrepsConvolution) -> None:
        super().__init__()
        product: Any = convolution.convolution
        self.denominator = convolution.denominator
        blocks = [_Block(product, block) for block in range(len(product.irreps_in1))]
        self.blocks = nn.ModuleList(blocks)
        self.widths = [mul * irrep.dim for mul, irrep in product.irreps_in1]
        network: Any = convolution.weight_nn
        *layers, last = network
        self.hidden = nn.Sequential(*layers)
        matrix = (last.weight / (last.h_in * last.var_in / last.var_out) ** 0.5).detach()
        shares = matrix.split([path.path_shape[0] for path in product.instructions], dim=1)
        paths = [path for block in blocks for path in block.paths]
        self.register_buffer("last", torch.cat([shares[path] for path in paths], dim=1))
        self.shares = [len(block.paths) * block.mul for block in blocks]
        slots = [product.instructions[path].i_out for path in paths]
        self.order = [slots.index(slot) for slot in range(len(slots))]

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """New features of the atoms (atoms, channels) in the data of a crystal, as SevenNet keeps them."""
        features: Tensor = data[keys.NODE_FEATURE]
        if _PLACES not in data:
            data[_PLACES] = _places(data[keys.EDGE_IDX][0], len(features))
        places: Tensor = data[_PLACES]
        harmonics = _at(data[keys.EDGE_ATTR], places).view(*places.shape, -1).transpose(1, 2)
        neighbours = _at(data[keys.EDGE_IDX][1], places)
        weights = (self.hidden(_at(data[keys.EDGE_EMBEDDING], places)) @ self.last).split(self.shares, dim=1)
        parts = features.split(self.widths, dim=1)
        found = [
            slot
            for block, part, share in zip(self.blocks, parts, weights, strict=True)
            for slot in block(part, share, neighbours, harmonics)
        ]
        data[keys.NODE_FEATURE] = torch.cat([found[k] for k in self.order], dim=1) / self.denominator
        return data


class _Block(nn.Module):
    """The paths that start from one irrep of the features, which has ``mul`` channels of ``dim`` components."""

    coefficients: Tensor  # (components of all paths, harmonics × paths × dim)

    def __init__(self, product: TensorProduct, block: int) -> None:
        super().__init__()
        (self.mul, irrep), filters = product.irreps_in1[block], product.irreps_in2
        self.dim = irrep.dim
        self.paths = [k for k, path in enumerate(product.instructions) if path.i_in1 == block]
        chosen = [product.instructions[k] for k in self.paths]
        self.rows = [product.irreps_out[path.i_out].ir.dim for path in chosen]
        coefficients = torch.zeros(sum(self.rows), filters.dim, len(chosen), self.dim)
        bounds = pairwise(accumulate(self.rows, initial=0))
        for place, (path, (start, end)) in enumerate(zip(chosen, bounds, strict=True)):
            degrees = irrep.l, filters[path.i_in2].ir.l, product.irreps_out[path.i_out].ir.l
            of_path = wigner_3j(*degrees, dtype=torch.float64) * path.path_weight
            coefficients[start:end, filters.slices()[path.i_in2], place] = of_path.permute(2, 1, 0).to(coefficients)
        self.register_buffer("coefficients", coefficients.flatten(1))

    def forward(self, features: Tensor, weights: Tensor, neighbours: Tensor, harmonics: Tensor) -> list[Tensor]:
        """What comes to the atoms along each path, (atoms, mul × its components).

        Args:
            features: (atoms, mul × dim).
            weights: of each bond at its place, (atoms × most, paths × mul).
            neighbours: (atoms × most), numbers of atoms.
            harmonics: (atoms, harmonics, most).
        """
        atoms, _, most = harmonics.shape
        by_component = features.view(atoms, self.mul, self.dim).transpose(1, 2).contiguous()
        there = by_component.index_select(0, neighbours).unsqueeze(1)
        weighted = (there * weights.view(-1, len(self.paths), 1, self.mul)).view(atoms, most, -1)
        gathered = (harmonics @ weighted).view(atoms, -1, self.mul)
        return [slot.transpose(1, 2).flatten(1) for slot in (self.coefficients @ gathered).split(self.rows, dim=1)]


def _places(centres: Tensor, atoms: int) -> Tensor:
    """The bonds of each atom (atoms, most, at least 1), filled up with the number of all bonds, which is none."""
    counts = torch.bincount(centres, minlength=atoms)
    order = torch.argsort(centres, stable=True)
    places = torch.full((atoms, max(1, int(counts.max()))), len(centres), device=centres.device)
    within = torch.arange(len(centres), device=centres.device) - (counts.cumsum(0) - counts)[centres[order]]
    places[centres[order], within] = order
    return places


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Values of bonds at their places, (atoms × most, ...); zero where there is none."""
    return torch.cat([values, values.new_zeros(1, *values.shape[1:])]).index_select(0, places.flatten())
