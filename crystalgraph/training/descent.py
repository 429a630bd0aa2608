"""A step down the gradient, the same in every phase that has one loss: clipped, its length scheduled, averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

#: Largest norm of a gradient; longer ones are shortened.
MAX_GRADIENT = 2.0

#: Steps of rising learning rate.
WARM_UP = 100


class Rates(Protocol):
    """What a phase's config says of its steps."""

    @property
    def steps(self) -> int:
        """How many."""

    @property
    def learning_rate(self) -> float:
        """At its peak."""

    @property
    def ema(self) -> float:
        """Memory of the moving average of the weights."""


def cosine(step: int, steps: int) -> float:
    """Learning-rate factor: a linear rise over ``WARM_UP`` steps, then a cosine to zero."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move an exponential moving average of the weights one step."""
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), module.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


def descend(
    module: nn.Module,
    average: nn.Module,
    gradients: Sequence[Tensor],
    optimizers: Iterable[torch.optim.Optimizer],
    rates: Rates,
    step: int,
) -> dict[str, float]:
    """Take a step, unless the gradient is not finite.

    Args:
        module: changed in place.
        average: moving average of its weights, moved too.
        gradients: of each of its parameters.
        optimizers: together they have all its parameters.
        rates: of the phase.
        step: which one, from 0.

    Returns:
        For the log: whether the step was skipped.
    """
    parameters = list(module.parameters())
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    finite = bool(torch.isfinite(nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT)))
    if finite:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rates.learning_rate * cosine(step, rates.steps)
            optimizer.step()
        update_average(average, module, min(rates.ema, (step + 1) / (step + 10)))
    return {"skipped": float(not finite)}
