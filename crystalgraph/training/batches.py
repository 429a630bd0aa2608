"""Which crystals each step sees: a function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from crystalgraph.symmetry.parameters import ParametrisedTemplates

#: Batches drawn together and sorted by size, so that a batch holds crystals of like size.
BUCKET = 50


def step_rng(seed: int, *where: int) -> torch.Generator:
    """A random generator for one place in a run."""
    mixed = seed
    for part in where:
        mixed = (mixed * 1_000_003 + part + 1) % (2**61 - 1)
    return torch.Generator().manual_seed(mixed)


def sampling_weights(data: ParametrisedTemplates) -> Tensor:
    """Weight of each crystal: templates share, and those with nothing free to learn count less, (n,)."""
    count = Counter(data.prototypes)
    weight = torch.tensor([count[p] ** -0.5 for p in data.prototypes], dtype=torch.float64)
    return torch.where(data.templates.num_free == 0, 0.3 * weight, weight)


class Batches:
    """Draw batches of like-sized crystals.

    Args:
        data: the crystals.
        batch_size: crystals a batch.
        seed: of the run.
    """

    def __init__(self, data: ParametrisedTemplates, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        self._weights = sampling_weights(data)
        self._size = data.templates.num_sites * data.templates.num_atoms
        self._bucket: tuple[int, Tensor] = (-1, torch.empty(0))

    def __call__(self, step: int) -> Tensor:
        """Indices of the crystals of a step, (batch_size,)."""
        bucket, position = divmod(step, BUCKET)
        if self._bucket[0] != bucket:
            rng = step_rng(self.seed, 0, bucket)
            drawn = torch.multinomial(self._weights, self.batch_size * BUCKET, replacement=True, generator=rng)
            ordered = drawn[torch.argsort(self._size[drawn], stable=True)].view(BUCKET, self.batch_size)
            self._bucket = (bucket, ordered[torch.randperm(BUCKET, generator=rng)])
        return self._bucket[1][position]
