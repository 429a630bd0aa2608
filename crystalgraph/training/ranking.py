"""The last phase: the discriminator learns to choose among the draws of the finished generator.

Of two crystals made from the same template the one closer to the real crystal is to score higher, and the real one
higher than any. The generator stays as it is.

Reference:
    C. Burges et al., Learning to Rank using Gradient Descent, ICML 2005, equation 3 (logistic loss of pairs).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crystalgraph.config import RankingConfig
from crystalgraph.crystals import Crystals
from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator, Sites
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.batches import Batches, step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.corpus import TemplateSet
from crystalgraph.training.descent import descend
from crystalgraph.training.losses import distance_profile, reconstruction_loss, roles
from crystalgraph.training.threads import Threads
from crystalgraph.training.warm_start import real_state

#: Draws closer to the real crystal than this loss are as good as it.
EXACT = 0.03


def pair_loss(scores: Tensor, losses: Tensor) -> Tensor:
    """Logistic loss of all ordered pairs whose first crystal is the better one.

    A pair weighs as much as the logarithms of its losses differ, at most 1, so that near draws need no order.

    Args:
        scores: of the crystals of a template, (n_crystals, n_templates).
        losses: how far each is from the real crystal, same shape, positive.

    Returns:
        (n_templates,).
    """
    log_loss = losses.clamp_min(EXACT).log()
    weight = (log_loss[None] - log_loss[:, None]).clamp(0, 1)
    margin = scores[:, None] - scores[None]
    return (weight * softplus(-margin)).sum((0, 1)) / weight.sum((0, 1)).clamp_min(1e-6)


class Ranking:
    """Train a discriminator to rank draws; ``scorer`` is the result.

    Args:
        generator: finished; left as it is.
        discriminator: trained in place.
        data: real crystals.
        config: steps, rates.
        seed: of the run.
        threads: parts of a batch that are worked out at the same time, see ``Threads``.
    """

    name = "ranking"

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        data: TemplateSet,
        config: RankingConfig,
        seed: int,
        threads: int = 1,
    ) -> None:
        self.average, self.discriminator, self.scorer = generator, discriminator, copy.deepcopy(discriminator)
        self.data, self.config, self.seed, self.steps = data, config, seed, config.steps
        self.batches = Batches(data, config.batch_size, seed + 2)
        self.optimizer = torch.optim.AdamW(discriminator.parameters(), betas=(0.9, 0.98), weight_decay=1e-3)
        self._threads = Threads(threads)

    @torch.no_grad()
    def _draws(self, data: TemplateSet, rng: torch.Generator) -> tuple[Crystals, Tensor]:
        """The real crystals and then all draws, and how far each is from the real one, (1 + n_draws, n)."""
        generator, n_draws, n = self.average, self.config.n_draws, len(data)
        device = generator.radii.device
        sites = Sites.of(data.templates, dtype=torch.float32, device=device)
        real = real_state(data, sites)
        profile = distance_profile(sites, roles(sites), real, generator.radii)
        many = Sites.of(Templates.concatenate([data.templates] * n_draws), dtype=torch.float32, device=device)
        made = generator.passes(many, generator.noise(many, rng), generator.n_passes)[-1]
        terms = reconstruction_loss(
            made,
            replace(real, log_volume=real.log_volume.repeat(n_draws), shape=real.shape.repeat(n_draws, 1)),
            distance_profile(many, roles(many), made, generator.radii),
            profile.repeat(n_draws),
        )
        crystals = Crystals.concatenate([real.crystals, made.crystals])
        return crystals, torch.cat([torch.zeros(1, n, device=device), terms.total.view(n_draws, n)])

    def step(self, step: int) -> dict[str, float]:
        """Take one step and return what to log."""
        parameters = list(self.discriminator.parameters())

        def part(number: int, indices: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
            data = self.data[indices]
            crystals, losses = self._draws(data, step_rng(self.seed, 4, step, number))
            searchable = searchable_cells(
                crystals.lattice, crystals.frac_coords, crystals.num_atoms, self.discriminator.cutoff
            )
            graph = self.discriminator.graph(crystals, searchable=searchable)
            groups = data.templates.space_group_number.to(losses.device).repeat(len(losses))
            scores = self.discriminator(graph, groups).view(losses.shape)
            fine = searchable.view(losses.shape).all(0)
            loss = (pair_loss(scores, losses) * fine).mean()
            values = {"ranking": loss.item(), "spread": scores[1:].std(0).mean().item()}
            return values, torch.autograd.grad(loss, parameters)

        values, gradients = self._threads.gradients(part, self.batches(step))
        return values | descend(self.discriminator, self.scorer, gradients, [self.optimizer], self.config, step)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        return (
            module_tensors("generator", self.average)
            | module_tensors("discriminator", self.discriminator)
            | module_tensors("scorer", self.scorer)
            | optimizer_tensors("optimizer", self.optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        restore_module("generator", self.average, tensors)
        restore_module("discriminator", self.discriminator, tensors)
        restore_module("scorer", self.scorer, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
