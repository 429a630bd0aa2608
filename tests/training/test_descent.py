"""A step goes down the clipped gradient and moves the average; a broken gradient changes nothing."""

import copy

import pytest
import torch
from torch import nn

from crystalgraph.training.config import EnergiesConfig
from crystalgraph.training.descent import MAX_GRADIENT, WARM_UP, cosine, descend

RATES = EnergiesConfig(steps=1000, learning_rate=0.5, ema=0.9)


def test_a_step_is_clipped_scheduled_and_averaged() -> None:
    module = nn.Linear(3, 1, bias=False)
    average, before = copy.deepcopy(module), module.weight.detach().clone()
    gradient = torch.tensor([[300.0, 0.0, 400.0]])
    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    assert descend(module, average, [gradient.clone()], [sgd], RATES, step=50) == {"skipped": 0.0}
    expected = before - 0.5 * cosine(50, 1000) * MAX_GRADIENT * gradient / 500
    assert torch.allclose(module.weight, expected, atol=1e-6)
    kept = 51 / 60  # young averages forget faster than the config's 0.9
    assert torch.allclose(average.weight, kept * before + (1 - kept) * expected, atol=1e-6)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_gradient_changes_nothing(broken: float) -> None:
    module = nn.Linear(2, 1, bias=False)
    average, before = copy.deepcopy(module), module.weight.detach().clone()
    adam = torch.optim.AdamW(module.parameters())
    assert descend(module, average, [torch.tensor([[1.0, broken]])], [adam], RATES, step=200) == {"skipped": 1.0}
    assert torch.equal(module.weight, before)
    assert torch.equal(average.weight, before)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    factors = [cosine(step, 1000) for step in range(1000)]
    assert factors.index(max(factors)) == WARM_UP - 1
    assert factors[0] < 0.011
    assert factors[-1] < 1e-5
