"""The work of a step shared out to threads, each with one core: operations this small run no faster on several."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from dask.system import CPU_COUNT
from torch import Tensor

Part = Callable[[int, Tensor], tuple[dict[str, float], tuple[Tensor, ...]]]
"""(number of the part, indices of its crystals) -> what to log, and the gradient of each parameter."""


class Threads:
    """Threads that work out gradients together, never more than there are cores.

    Args:
        n: parts that a batch is cut into; the result depends on it where parts draw random numbers of their own, but
            not on the cores.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._pool = ThreadPoolExecutor(min(n, CPU_COUNT), initializer=torch.set_num_threads, initargs=(1,))

    def gradients(self, part: Part, indices: Tensor) -> tuple[dict[str, float], list[Tensor]]:
        """Means over a batch.

        Args:
            part: the work on some of the crystals, means over them.
            indices: all crystals of the batch; each part takes a share of them in order.

        Returns:
            What to log, and the gradient of each parameter, both weighted by the parts' sizes.
        """
        parts = indices.chunk(self._n)
        done = list(self._pool.map(part, range(len(parts)), parts))
        shares = [len(own) / len(indices) for own in parts]
        values = {
            name: sum(share * means[name] for share, (means, _) in zip(shares, done, strict=True))
            for name in done[0][0]
        }
        gradients = [
            torch.stack([share * g for share, g in zip(shares, of_parts, strict=True)]).sum(0)
            for of_parts in zip(*(g for _, g in done), strict=True)
        ]
        return values, gradients
