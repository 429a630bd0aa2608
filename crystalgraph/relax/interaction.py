"""SevenNet's interaction layers as few large matrix products: the same numbers, but for rounding, in much less time.

SevenNet multiplies the features of the neighbour of each bond with the spherical harmonics of the bond, path by path
(e3nn's ``uvu`` tensor product), and adds up what comes to an atom. Here the sum over the neighbours of an atom comes
first, as a product of two matrices; Clebsch-Gordan coefficients come after it, when there are as many rows as atoms and
no longer as many as bonds. Between layers the features of degree l are (atoms, 2l + 1, channels), so that mixing
channels, which SevenNet does three times a layer, is one product for each degree, without a turn of the features.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import sevenn._keys as keys
import torch
from e3nn.o3 import Linear, TensorProduct, wigner_3j
from torch import Tensor, nn


def pack(model: nn.Module) -> None:
    """Put one module in the place of all interaction layers of a SevenNet; for inference.

    Args:
        model: a sequence of modules, those of layer k named "k_...", with features of even parity alone.
    """
    layers = dict[str, dict[str, nn.Module]]()
    for name, module in list(model.named_children()):
        if found := re.fullmatch(r"(\d+)_(\w+)", name):
            layers.setdefault(found[1], {})[found[2]] = module
    packed = _Interactions([_Interaction(layer) for layer in layers.values()])
    children = dict[str, nn.Module]()
    for name, module in model.named_children():
        if name.split("_")[0] not in layers:
            children[name] = module
        else:
            children["interactions"] = packed
    model._modules.clear()
    model._modules.update(children)


@dataclass(frozen=True)
class _Bonds:
    """What layers look at of the bonds, each bond at its place among those of its atom.

    Attributes:
        embedding: of the lengths, (atoms × most, numbers).
        harmonics: (atoms, harmonics, most).
        neighbours: (atoms × most), numbers of atoms.
    """

    embedding: Tensor
    harmonics: Tensor
    neighbours: Tensor


class _Interactions(nn.Module):
    """All layers, from the features of the elements to the last ones, both (atoms, channels) in the data."""

    def __init__(self, layers: Sequence[_Interaction]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Puts the features of the last layer in the data of a crystal, or of several, as SevenNet keeps them."""
        features: list[Tensor] = [data[keys.NODE_FEATURE].unsqueeze(1)]
        centres, neighbours = data[keys.EDGE_IDX]
        places = _places(centres, len(features[0]))
        bonds = _Bonds(
            _at(data[keys.EDGE_EMBEDDING], places),
            _at(data[keys.EDGE_ATTR], places).view(*places.shape, -1).transpose(1, 2),
            _at(neighbours, places),
        )
        for layer in self.layers:
            features = layer(features, bonds)
        data[keys.NODE_FEATURE] = features[0].squeeze(1)
        return data


class _Interaction(nn.Module):
    """A layer: channels are mixed, neighbours summed, channels mixed again; what the atom had is added; then the gate.

    Args:
        parts: the layer's modules by their names without its number.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        super().__init__()
        convolution, gate = parts["convolution"], parts["equivariant_gate"].gate
        before = _matrices(parts["self_interaction_1"].linear)
        kept = _matrices(parts["self_connection_intro"].linear)
        after = _matrices(parts["self_interaction_2"].linear)
        self.before = _fixed(torch.cat([before[k], kept.get(k, before[k][:, :0])], dim=1) for k in before)
        self.widths = [matrix.shape[1] for matrix in before.values()]
        self.convolution = _Convolution(convolution.convolution, convolution.weight_nn)
        self.after = _fixed(matrix / convolution.denominator for matrix in after.values())
        (self.of_scalars,), self.of_gates = gate.act_scalars.acts, gate.act_gates.acts
        self.split = [gate.act_scalars.irreps_out.dim, *(mul for mul, _ in gate.irreps_gated)]

    def forward(self, features: list[Tensor], bonds: _Bonds) -> list[Tensor]:
        """New features; both they and the former ones degree by degree, (atoms, 2l + 1, channels)."""
        mixed = [part @ matrix for part, matrix in zip(features, self.before, strict=True)]
        moved = self.convolution([part[..., :width] for part, width in zip(mixed, self.widths, strict=True)], bonds)
        found = [part @ matrix for part, matrix in zip(moved, self.after, strict=True)]
        for degree, (part, width) in enumerate(zip(mixed, self.widths, strict=True)):
            if part.shape[-1] > width:
                found[degree] = found[degree] + part[..., width:]
        scalars, *others = found
        kept, *gates = scalars.split(self.split, dim=-1)
        open_by = [activation(own) for activation, own in zip(self.of_gates, gates, strict=True)]
        return [self.of_scalars(kept), *(part * share for part, share in zip(others, open_by, strict=True))]


class _Convolution(nn.Module):
    """What comes to the atoms from their neighbours.

    Args:
        product: of features and harmonics; its weights come from outside.
        network: gives these weights from a bond's length.
    """

    def __init__(self, product: TensorProduct, network: Any) -> None:
        super().__init__()
        blocks = [_Block(product, block) for block in range(len(product.irreps_in1))]
        self.blocks = nn.ModuleList(blocks)
        *hidden, last = network
        self.hidden = _fixed(layer.weight / (layer.h_in * layer.var_in / layer.var_out) ** 0.5 for layer in hidden)
        self.activations = [layer.act for layer in hidden]
        matrix = last.weight / (last.h_in * last.var_in / last.var_out) ** 0.5
        shares = matrix.split([path.path_shape[0] for path in product.instructions], dim=1)
        paths = [path for block in blocks for path in block.paths]
        self.last = nn.Parameter(torch.cat([shares[path] for path in paths], dim=1), requires_grad=False)
        self.shares = [len(block.paths) * block.mul for block in blocks]
        slots = [product.instructions[path].i_out for path in paths]
        degrees = [irrep.l for _, irrep in product.irreps_out]
        self.order = [
            [slots.index(slot) for slot in range(len(slots)) if degrees[slot] == degree]
            for degree in sorted(set(degrees))
        ]

    def forward(self, features: list[Tensor], bonds: _Bonds) -> list[Tensor]:
        """Degree by degree, (atoms, 2l + 1, channels of all paths that lead to it)."""
        values = bonds.embedding
        for matrix, activation in zip(self.hidden, self.activations, strict=True):
            values = activation(values @ matrix)
        weights = (values @ self.last).split(self.shares, dim=1)
        found = [
            slot
            for block, part, share in zip(self.blocks, features, weights, strict=True)
            for slot in block(part, share, bonds)
        ]
        return [torch.cat([found[k] for k in chosen], dim=-1) for chosen in self.order]


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

    def forward(self, features: Tensor, weights: Tensor, bonds: _Bonds) -> tuple[Tensor, ...]:
        """What comes to the atoms along each path, (atoms, its components, mul).

        Args:
            features: (atoms, dim, mul).
            weights: of each bond at its place, (atoms × most, paths × mul).
            bonds: of the crystal.
        """
        atoms, _, most = bonds.harmonics.shape
        there = features.index_select(0, bonds.neighbours).unsqueeze(1)
        weighted = (there * weights.view(-1, len(self.paths), 1, self.mul)).view(atoms, most, -1)
        gathered = (bonds.harmonics @ weighted).view(atoms, -1, self.mul)
        return (self.coefficients @ gathered).split(self.rows, dim=1)


def _matrices(linear: Linear) -> dict[int, Tensor]:
    """The weights of each degree, (channels before, channels after)."""
    return {
        linear.irreps_in[path.i_in].ir.l: linear.weight_view_for_instruction(k).detach() * path.path_weight
        for k, path in enumerate(linear.instructions)
    }


def _fixed(matrices: Any) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(matrix.detach(), requires_grad=False) for matrix in matrices)


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
