"""The first phase: which template do these elements crystallise in?

A real crystal's template is told from templates of other crystals, picked at random, with its own elements put on them:
most often from those of its own formula, else from any of as many elements. What tells them best is, up to a constant,
the logarithm of how many times likelier a template is than one picked at random. What crystals of the same elements
have is not told.

Reference:
    Z. Ma and M. Collins, Noise Contrastive Estimation and Negative Sampling for Conditional Models, EMNLP 2018 (the
    ranking objective, and what its minimum is).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from crystalgraph.config import PriorConfig
from crystalgraph.crystals import ranges
from crystalgraph.models.memory import Memory
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.symmetry.decorate import number_of_species, ranked_elements, species_rank
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.descent import descend
from crystalgraph.training.threads import Threads

#: How often a template is told from others of its own formula.
SAME_FORMULA = 0.7


def ranked_formulas(templates: Templates) -> list[tuple[int, ...]]:
    """The reduced formula of each template, the number of atoms of the least electronegative element first."""
    atoms = torch.zeros(len(templates), int(number_of_species(templates).max()), dtype=torch.long)
    atoms.index_put_((templates.batch, species_rank(templates)), templates.multiplicity, accumulate=True)
    return [tuple(n // math.gcd(*row) for n in row if n) for row in atoms.tolist()]


class PriorTraining:
    """Train a prior; ``average`` is the result.

    Args:
        prior: trained in place.
        real: templates of real crystals.
        pool: what they are told from; holds a template for every formula that real ones have.
        memory: of the real ones.
        config: steps, rates.
        seed: of the run.
        threads: parts of a batch that are worked out at the same time, see ``Threads``.
    """

    name = "prior"

    def __init__(
        self,
        prior: TemplatePrior,
        real: Templates,
        pool: Templates,
        memory: Memory,
        config: PriorConfig,
        seed: int,
        threads: int = 1,
    ) -> None:
        self.prior, self.average = prior, copy.deepcopy(prior)
        self.config, self.seed, self.steps = config, seed, config.steps
        self.real, self._pool, self._memory = real, pool, memory
        self._elements, self._n_species = ranked_elements(real), number_of_species(real)
        self._rank, self._start = species_rank(pool), torch.cumsum(pool.num_sites, 0) - pool.num_sites
        n_species = number_of_species(pool)
        self._of = [torch.nonzero(n_species == n).flatten() for n in range(int(self._n_species.max()) + 1)]
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, formula in enumerate(ranked_formulas(pool)):
            rows.setdefault(formula, []).append(row)
        of_formula = {formula: torch.tensor(found) for formula, found in rows.items()}
        self._like = [of_formula[formula] for formula in ranked_formulas(real)]
        self._arrangement, self._arrangement_of_pool = memory.find(real), memory.find(pool)
        # numbers of elements share as the square root of how many crystals have them
        self._weights = torch.bincount(self._n_species).double().rsqrt()[self._n_species]
        self.optimizer = torch.optim.AdamW(prior.parameters(), betas=(0.9, 0.98), weight_decay=1e-2)
        self._threads = Threads(threads)

    def others(self, index: Tensor, rng: torch.Generator) -> Tensor:
        """For each real crystal ``n_others`` templates of the pool.

        Args:
            index: of the real crystals, (n,).
            rng: picks the templates.

        Returns:
            Their positions in the pool, (n, n_others).
        """
        rows = []
        for k in index.tolist():
            same = torch.rand((), generator=rng) < SAME_FORMULA
            among = self._like[k] if same else self._of[int(self._n_species[k])]
            rows.append(among[torch.randint(len(among), (self.config.n_others,), generator=rng)])
        return torch.stack(rows)

    def put_elements(self, index: Tensor, picked: Tensor) -> Templates:
        """Templates of the pool with the elements of a real crystal each, (n,) and (n,)."""
        counts = self._pool.num_sites[picked]
        sites = torch.repeat_interleave(self._start[picked], counts) + ranges(counts)
        crystal = torch.repeat_interleave(index, counts)
        return self._pool[picked].replace_species(self._elements[crystal, self._rank[sites]])

    def step(self, step: int) -> dict[str, float]:
        """Take one step and return what to log."""
        parameters = list(self.prior.parameters())

        def part(number: int, index: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
            rng = step_rng(self.seed, 6, step, number)
            n, picked = len(index), self.others(index, rng).flatten()
            crystal = torch.cat([index, index.repeat_interleave(self.config.n_others)])
            together = Templates.concatenate([self.real[index], self.put_elements(crystal[n:], picked)])
            arrangement = torch.cat([self._arrangement[index], self._arrangement_of_pool[picked]])
            familiarity = self._memory.familiarity(arrangement, self._elements[crystal], own=False)
            weights = self.prior(together, familiarity, rng)
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
