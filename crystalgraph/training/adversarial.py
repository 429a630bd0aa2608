"""The adversarial phase: a graph discriminator compares generated with real crystals of the same template.

The generator keeps its reconstruction term, which looks at the best of a few draws; without it volumes drift. The
discriminator, and a term against atoms too close, look at a draw as it comes: they are what makes every draw good.
The loss is relativistic: each generated crystal is set against the real crystal of its own template, so composition and
symmetry tell the two apart in no way.

Reference:
    Y. Huang et al., The GAN is dead; long live the GAN!, NeurIPS 2024, equations 2 and 6 (relativistic loss, R1 + R2).
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.periodic_graph import PeriodicGraph
from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.sites import Sites, State
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.batches import Batches, step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.config import AdversarialConfig
from crystalgraph.training.descent import MAX_GRADIENT, update_average
from crystalgraph.training.losses import distance_profile, roles
from crystalgraph.training.warm_start import Filled, random_recycling, template_loss


def rattle(crystals: Crystals, size: float, rng: torch.Generator) -> Crystals:
    """Move every atom by Gaussian noise of a standard deviation in Å along each axis."""
    noise = size * torch.randn(crystals.frac_coords.shape, generator=rng).to(crystals.frac_coords)
    frac = torch.linalg.solve(crystals.lattice.transpose(1, 2)[crystals.batch], noise)
    return crystals.replace(frac_coords=crystals.frac_coords + frac)


def gradient_penalty(scores: Tensor, distances: Tensor, n_crystals: int) -> Tensor:
    """Mean over the crystals of the squared gradient of their scores in the edge lengths."""
    (gradient,) = torch.autograd.grad(scores.sum(), distances, create_graph=True)
    return gradient.square().sum() / n_crystals


class Adversarial:
    """Train a generator against a discriminator; ``average`` and ``scorer`` are the results.

    Args:
        generator: warm-started; trained in place.
        discriminator: trained in place.
        data: real crystals.
        config: steps, rates, weights.
        seed: of the run.
    """

    name = "adversarial"

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        data: ParametrisedTemplates,
        config: AdversarialConfig,
        seed: int,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.data, self.config, self.seed, self.steps = data, config, seed, config.steps
        self.average, self.scorer = copy.deepcopy(generator), copy.deepcopy(discriminator)
        self.batches = Batches(data, config.batch_size, seed + 1)
        self._pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self.generator_optimizer = torch.optim.Adam(
            generator.parameters(), lr=config.generator_learning_rate, betas=(0.0, 0.99)
        )
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=config.learning_rate, betas=(0.0, 0.99)
        )

    def _graph(self, crystals: Crystals) -> PeriodicGraph:
        cells = crystals.lattice.detach(), crystals.frac_coords.detach(), crystals.num_atoms
        return self.discriminator.graph(crystals, searchable=searchable_cells(*cells, self.discriminator.cutoff))

    def _excess_repulsion(self, sites: Sites, generated: State, real: State) -> Tensor:
        """By how much more atoms are too close than in the real crystals, a mean over the crystals."""
        role, radii = roles(sites), self.generator.radii
        with torch.no_grad():
            allowed = distance_profile(sites, role, real, radii).repulsion
        return (distance_profile(sites, role, generated, radii).repulsion - allowed).relu().mean()

    def _train_discriminator(
        self, real: PeriodicGraph, generated: PeriodicGraph, groups: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step; returns the loss and the margin between real and generated scores."""
        n = len(groups)
        lengths = [g.edge_distances().detach().requires_grad_() for g in (real, generated)]
        real_score, generated_score = (
            self.discriminator(g, groups, distances=d) for g, d in zip((real, generated), lengths, strict=True)
        )
        margin = real_score - generated_score
        penalty = gradient_penalty(real_score, lengths[0], n) + gradient_penalty(generated_score, lengths[1], n)
        loss = softplus(-margin).mean() + 0.5 * self.config.penalty * penalty
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.discriminator.parameters(), MAX_GRADIENT)
        if torch.isfinite(norm):
            self.discriminator_optimizer.step()
            update_average(self.scorer, self.discriminator, self.config.ema)
        return loss.detach(), margin.detach().mean()

    def step(self, step: int) -> dict[str, float]:
        """Take one step of both networks and return what to log."""
        config, rng = self.config, step_rng(self.seed, 2, step)
        left = 1 - step / self.steps
        for optimizer, rate in (
            (self.generator_optimizer, config.generator_learning_rate),
            (self.discriminator_optimizer, config.learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * left
        data = self.data[self.batches(step)]
        warm = self._pool.submit(self._warm_gradients, data, step)  # on another core meanwhile
        sites = Sites.of(data.templates, dtype=torch.float32, device=self.generator.radii.device)
        real = State.of(sites, data)
        first, last = config.noise
        rattled = rattle(real.crystals, last + (first - last) * left, rng)
        noise = self.generator.noise(sites, rng, hide=True)
        generated = self.generator.recycle(sites, noise, random_recycling(self.generator, rng))[-1]
        excess = self._excess_repulsion(sites, generated, real)
        real_graph, generated_graph = self._graph(rattled), self._graph(generated.crystals)
        groups = sites.space_group_number
        discriminator_loss, margin = self._train_discriminator(real_graph, generated_graph, groups)
        filled, warm_gradients = warm.result()
        values = filled.means() | {
            "excess": excess.item(),
            "discriminator": discriminator_loss.item(),
            "margin": margin.item(),
        }
        if step < config.head_start:
            return values
        with torch.no_grad():
            real_score = self.discriminator(real_graph, groups)
        fooled = softplus(real_score - self.discriminator(generated_graph, groups)).mean()
        parameters = list(self.generator.parameters())
        wanted = config.weight * fooled + config.repulsion * excess
        gradients = torch.autograd.grad(wanted, parameters, allow_unused=True, materialize_grads=True)
        for parameter, own, of_warm_start in zip(parameters, gradients, warm_gradients, strict=True):
            parameter.grad = own + of_warm_start
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT)
        if torch.isfinite(norm):
            self.generator_optimizer.step()
            update_average(self.average, self.generator, config.ema)
        return values | {"fooled": fooled.item()}

    def _warm_gradients(self, data: ParametrisedTemplates, step: int) -> tuple[Filled, tuple[Tensor, ...]]:
        """The warm start's term and its gradients."""
        filled = template_loss(self.generator, data, self.config.n_draws, step_rng(self.seed, 3, step))
        return filled, filled.gradients(list(self.generator.parameters()))

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        return (
            module_tensors("generator", self.generator)
            | module_tensors("average", self.average)
            | module_tensors("discriminator", self.discriminator)
            | module_tensors("scorer", self.scorer)
            | optimizer_tensors("generator_optimizer", self.generator_optimizer)
            | optimizer_tensors("discriminator_optimizer", self.discriminator_optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        restore_module("generator", self.generator, tensors)
        restore_module("average", self.average, tensors)
        restore_module("discriminator", self.discriminator, tensors)
        restore_module("scorer", self.scorer, tensors)
        restore_optimizer("generator_optimizer", self.generator_optimizer, tensors)
        restore_optimizer("discriminator_optimizer", self.discriminator_optimizer, tensors)
