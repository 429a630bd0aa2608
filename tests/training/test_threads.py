"""Shares of a batch add up to what the whole batch gives, and come in order."""

import pytest
import torch
from torch import Tensor

from crystalgraph.training.threads import Threads


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 7])
def test_shares_make_the_mean_of_the_whole(n_threads: int, n: int) -> None:
    x = torch.arange(1.0, n + 1)
    weight = torch.tensor(2.0, requires_grad=True)

    def part(number: int, indices: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        seen[number] = indices.tolist()
        assert torch.get_num_threads() == 1
        loss = (weight * x[indices] ** 2).mean()
        return {"loss": loss.item()}, torch.autograd.grad(loss, [weight])

    seen: dict[int, list[int]] = {}
    values, (gradient,) = Threads(n_threads).gradients(part, torch.arange(n))
    assert values["loss"] == pytest.approx(2 * (x**2).mean().item())
    assert gradient.item() == pytest.approx((x**2).mean().item())
    assert [i for number in sorted(seen) for i in seen[number]] == list(range(n))
