"""The first phase: which template do these elements crystallise in?

A real crystal's template is told from templates of other crystals of as many elements, picked at random, with its own
elements put on them. What tells them best is, up to a constant, the logarithm of how many times likelier a template is
than one picked at random.

Reference:
    Z. Ma and M. Collins, Noise Contrastive Estimation and Negative Sampling for Conditional Models, EMNLP 2018 (the
    ranking objective, and what its minimum is).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from crystalgraph.models.prior import TemplatePrior
from crystalgraph.symmetry.species import number_of_species, ranked_elements, species_rank
from crystalgraph.symmetry.substitute import substitute
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.config import PriorConfig
from crystalgraph.training.descent import descend
from crystalgraph.training.threads import Threads


class PriorTraining:
    """Train a prior; ``average`` is the result.

    Args:
        prior: trained in place.
        real: templates of real crystals.
        pool: what they are told from; holds a template for every number of elements that real ones have.
        config: steps, rates.
        seed: of the run.
        threads: parts of a batch that are worked out at the same time, see ``Threads``.
    """

    name = "prior"

    def __init__(
        self, prior: TemplatePrior, real: Templates, pool: Templates, config: PriorConfig, seed: int, threads: int = 1
    ) -> None:
        self.prior, self.average = prior, copy.deepcopy(prior)
        self.config, self.seed, self.steps = config, seed, config.steps
        self.real, self._pool = real, pool
        self._elements, self._n_species = ranked_elements(real), number_of_species(real)
        self._rank = species_rank(pool)
        n_species = number_of_species(pool)
        self._of = [torch.nonzero(n_species == n).flatten() for n in range(int(self._n_species.max()) + 1)]
        # numbers of elements share as the square root of how many crystals have them
        self._weights = torch.bincount(self._n_species).double().rsqrt()[self._n_species]
        self.optimizer = torch.optim.AdamW(prior.parameters(), betas=(0.9, 0.98), weight_decay=1e-2)
        self._threads = Threads(threads)

    def others(self, index: Tensor, rng: torch.Generator) -> Templates:
        """For each real crystal ``n_others`` templates of the pool with its elements on them, one crystal's together.

        Args:
            index: of the real crystals, (n,).
            rng: picks the templates.
        """
        n_others = self.config.n_others
        rows = []
        for n in self._n_species[index].tolist():
            of_n = self._of[n]
            rows.append(of_n[torch.randint(len(of_n), (n_others,), generator=rng)])
        picked = torch.cat(rows)
        crystal = torch.repeat_interleave(index.repeat_interleave(n_others), self._pool.num_sites[picked])
        rank = self._rank[self._pool.sites_of(picked)]
        return substitute(self._pool[picked], self._elements[crystal, rank])

    def step(self, step: int) -> dict[str, float]:
        """Take one step and return what to log."""
        parameters = list(self.prior.parameters())

        def part(number: int, index: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
            rng = step_rng(self.seed, 6, step, number)
            together = Templates.concatenate([self.real[index], self.others(index, rng)])
            weights = self.prior(together, rng)
            n = len(index)
            choices = torch.cat([weights[:n, None], weights[n:].view(n, -1)], 1)
            loss = -choices.log_softmax(1)[:, 0].mean()
            values = {"prior": loss.item(), "chosen": (choices.argmax(1) == 0).double().mean().item()}
            return values, torch.autograd.grad(loss, parameters)

        rng = step_rng(self.seed, 5, step)
        index = torch.multinomial(self._weights, self.config.batch_size, replacement=True, generator=rng)
        values, gradients = self._threads.gradients(part, index)
        return values | descend(self.prior, self.average, gradients, [self.optimizer], self.config, step)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        return (
            module_tensors("trained", self.prior)
            | module_tensors("average", self.average)
            | optimizer_tensors("optimizer", self.optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        restore_module("trained", self.prior, tensors)
        restore_module("average", self.average, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
