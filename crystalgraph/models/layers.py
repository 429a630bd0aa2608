"""Small pieces shared by the networks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


def mlp(*widths: int, last_scale: float = 1.0) -> nn.Sequential:
    """Linear layers with SiLU between; ``last_scale`` shrinks the weights of the last one."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.SiLU()]
    last = layers[-2]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(last_scale)
        last.bias.mul_(last_scale)
    return nn.Sequential(*layers[:-1])


def mean(values: Tensor, batch: Tensor, weight: Tensor, n: int) -> Tensor:
    """Weighted mean over the members of each group, (n, width); arguments as for `pool`."""
    return values.new_zeros(n, values.shape[1]).index_add(0, batch, values * weight[:, None])


def pool(values: Tensor, batch: Tensor, weight: Tensor, n: int) -> Tensor:
    """Weighted mean and maximum over the members of each group.

    Args:
        values: (n_members, width).
        batch: group of each member, (n_members,).
        weight: weights that sum to one in each group, (n_members,).
        n: number of groups.

    Returns:
        (n, 2 · width).
    """
    index = batch[:, None].expand_as(values)
    top = values.new_zeros(n, values.shape[1]).scatter_reduce(0, index, values, "amax", include_self=False)
    return torch.cat([mean(values, batch, weight, n), top], 1)


def softmax(values: Tensor, batch: Tensor, n: int) -> Tensor:
    """Softmax within each group, (n_members,); `torch_geometric.utils.softmax`, which takes seconds to import.

    Args:
        values: (n_members,).
        batch: group of each member, (n_members,).
        n: number of groups.
    """
    highest = values.new_zeros(n).scatter_reduce(0, batch, values, "amax", include_self=False)
    powers = (values - highest[batch]).exp()
    return powers / torch.zeros_like(highest).index_add(0, batch, powers)[batch]


class GaussianBasis(nn.Module):
    """Gaussians on a line, evenly spaced and as wide as told.

    Args:
        start: centre of the first.
        stop: centre of the last.
        n: how many.
        width: standard deviation.
    """

    centers: Tensor

    def __init__(self, start: float, stop: float, n: int, width: float) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(start, stop, n), persistent=False)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """(…,) to (…, n)."""
        return torch.exp(-0.5 * ((x[..., None] - self.centers) / self.width) ** 2)
