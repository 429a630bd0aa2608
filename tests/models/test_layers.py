"""Sums over groups against PyTorch Geometric."""

import torch
from torch_geometric.utils import softmax as usual_softmax

from crystalgraph.models.layers import softmax


def test_softmax_within_groups_is_that_of_pyg():
    generator = torch.Generator().manual_seed(0)
    values = 50 * torch.randn(40, generator=generator, dtype=torch.float64)
    groups = torch.randint(7, (40,), generator=generator)
    within = softmax(values, groups, 7)
    assert torch.allclose(within, usual_softmax(values, groups))
    for group in groups.unique():
        assert torch.allclose(within[groups == group], torch.softmax(values[groups == group], 0))
