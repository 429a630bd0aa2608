"""The warm start: real crystals teach the generator to fill their templates, the best of a few draws counting most.

Reference:
    K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024; in ``torch.optim``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crystalgraph.crystals.batch import ranges
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.sites import Noise, Sites, State
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.batches import Batches, step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.config import WarmStartConfig
from crystalgraph.training.descent import descend
from crystalgraph.training.losses import LossTerms, Profile, distance_profile, reconstruction_loss, roles
from crystalgraph.training.threads import Threads

#: How often a draw that is not the best is learned from.
OTHER_SHARE = 0.05


def supervised(n_states: int) -> dict[int, float]:
    """Which states the loss sees, and their weights: a little of the first and middle, all of the last."""
    if n_states == 1:
        return {0: 1.0}
    return {0: 0.1, n_states // 2: 0.3, n_states - 1: 1.0}


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Real crystals and what the generator made of their templates.

    Attributes:
        loss: mean over the crystals, a scalar.
        terms: of the last state.
        generated: the last state.
        real: the real crystals.
        sites: the templates.
    """

    loss: Tensor
    terms: LossTerms
    generated: State
    real: State
    sites: Sites

    def means(self) -> dict[str, float]:
        """The loss and the mean of each term, to log."""
        terms = {name: value.mean().item() for name, value in vars(self.terms).items()}
        return {"loss": self.loss.item()} | terms

    def gradients(self, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
        """Of the loss; zero for what the last pass did not use."""
        return torch.autograd.grad(self.loss, parameters, allow_unused=True, materialize_grads=True)


def random_recycling(generator: Generator, rng: torch.Generator) -> int:
    """A number of passes, 1 to as many as the generator takes."""
    return int(torch.randint(generator.n_passes, (1,), generator=rng)) + 1


@torch.no_grad()
def choose_noise(
    generator: Generator,
    real: ParametrisedTemplates,
    profile: Profile,
    n_draws: int,
    rng: torch.Generator,
) -> Noise:
    """Draw several times and choose, for each crystal, the noise that came closest after one pass.

    With probability ``OTHER_SHARE`` another draw is chosen at random, so that no noise is left to itself.
    """
    n, device = len(real), generator.radii.device
    sites = Sites.of(Templates.concatenate([real.templates] * n_draws), dtype=torch.float32, device=device)
    noise = generator.noise(sites, rng, hide=True)
    generated = generator(sites, noise)[-1]
    losses = reconstruction_loss(
        generated.parametrised,
        ParametrisedTemplates.concatenate([real] * n_draws),
        distance_profile(sites, roles(sites), generated, generator.radii),
        profile.repeat(n_draws),
    ).total
    best = losses.view(n_draws, n).argmin(0).cpu()
    other = torch.randint(n_draws, (n,), generator=rng)
    draw = torch.where(torch.rand(n, generator=rng) < OTHER_SHARE, other, best)
    counts = real.templates.num_sites
    first_site = torch.cumsum(counts, 0) - counts + draw * counts.sum()
    rows = torch.repeat_interleave(first_site, counts) + ranges(counts)
    return noise.select((draw * n + torch.arange(n)).to(device), rows.to(device))


def template_loss(generator: Generator, data: ParametrisedTemplates, n_draws: int, rng: torch.Generator) -> Filled:
    """Fill the templates of some real crystals and compare, the best of several draws.

    The number of passes is drawn from 1 to as many as the generator takes, so that it learns to set out from nothing
    and from what it made itself.

    Args:
        generator: the network, in training.
        data: the real crystals.
        n_draws: draws per crystal; gradients pass through the chosen one only.
        rng: draws the noise.
    """
    sites = Sites.of(data.templates, dtype=torch.float32, device=generator.radii.device)
    real, role = State.of(sites, data), roles(sites)
    with torch.no_grad():
        profile = distance_profile(sites, role, real, generator.radii)
    noise = choose_noise(generator, real.parametrised, profile, n_draws, rng)
    states = generator.recycle(sites, noise, random_recycling(generator, rng))
    loss = torch.zeros((), device=sites.weight.device)
    for index, weight in supervised(len(states)).items():
        own = distance_profile(sites, role, states[index], generator.radii)
        terms = reconstruction_loss(states[index].parametrised, real.parametrised, own, profile)
        loss = loss + weight * terms.total.mean()
    return Filled(loss=loss, terms=terms, generated=states[-1], real=real, sites=sites)


def hidden_matrices(generator: Generator) -> list[Tensor]:
    """The weights of the MLPs' linear layers, but for those that give out a few numbers."""
    weights = [module.weight for module in generator.modules() if isinstance(module, nn.Linear)]
    return [weight for weight in weights if weight.shape[0] > 6]


class WarmStart:
    """Supervised training of a generator; ``average`` is the result.

    Args:
        generator: trained in place.
        scorer: the discriminator of the run, left as it is.
        data: real crystals.
        config: steps, rates.
        seed: of the run.
        threads: parts of a batch that are worked out at the same time, see ``Threads``.
        name: of the phase.
    """

    def __init__(
        self,
        generator: Generator,
        scorer: Discriminator,
        data: ParametrisedTemplates,
        config: WarmStartConfig,
        seed: int,
        threads: int = 1,
        name: str = "warm start",
    ) -> None:
        self.name = name
        self.generator, self.scorer, self.data, self.config, self.seed = generator, scorer, data, config, seed
        self.steps = config.steps
        self.average = copy.deepcopy(generator)
        self.batches = Batches(data, config.batch_size, seed)
        matrices = hidden_matrices(generator)
        inside = {id(matrix) for matrix in matrices}
        others = [parameter for parameter in generator.parameters() if id(parameter) not in inside]
        self.optimizers = {
            # With this adjustment a step is as long as AdamW's, so one learning rate serves both.
            "matrices": torch.optim.Muon(matrices, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"),
            "others": torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=1e-3),
        }
        self._threads = Threads(threads)

    def step(self, step: int) -> dict[str, float]:
        """Take one step and return what to log."""
        parameters = list(self.generator.parameters())

        def part(number: int, indices: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
            rng = step_rng(self.seed, 1, step, number)
            filled = template_loss(self.generator, self.data[indices], self.config.n_draws, rng)
            return filled.means(), filled.gradients(parameters)

        values, gradients = self._threads.gradients(part, self.batches(step))
        return values | descend(self.generator, self.average, gradients, self.optimizers.values(), self.config, step)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        tensors = module_tensors("generator", self.generator) | module_tensors("average", self.average)
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(name, optimizer)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        restore_module("generator", self.generator, tensors)
        restore_module("average", self.average, tensors)
        for name, optimizer in self.optimizers.items():
            restore_optimizer(name, optimizer, tensors)
