"""The warm start learns, and learns from the best draw."""

import pytest
import torch

from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.sites import Sites, State
from crystalgraph.training.batches import BUCKET, Batches, step_rng
from crystalgraph.training.config import WarmStartConfig
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.losses import distance_profile, reconstruction_loss, roles
from crystalgraph.training.warm_start import WarmStart, choose_noise, supervised


def small_generator() -> Generator:
    torch.manual_seed(0)
    return Generator(width=24, n_stages=2)


def test_chosen_noise_is_the_best_of_the_draws(small_corpus: Corpus) -> None:
    generator, data = small_generator(), small_corpus.training[torch.arange(0, 40)]
    sites = Sites.of(data.templates, dtype=torch.float32)
    real, role = State.of(sites, data), roles(sites)
    profile = distance_profile(sites, role, real, generator.radii)

    def losses(n_draws: int) -> torch.Tensor:
        noise = choose_noise(generator, real.parametrised, profile, n_draws, torch.Generator().manual_seed(4))
        made = generator(sites, noise)[-1]
        own = distance_profile(sites, role, made, generator.radii)
        return reconstruction_loss(made.parametrised, real.parametrised, own, profile).total

    with torch.no_grad():
        single, many = losses(1), losses(12)
    assert many.mean() < 0.9 * single.mean()


@pytest.mark.slow
def test_training_lowers_the_loss(small_corpus: Corpus) -> None:
    config = WarmStartConfig(steps=160, batch_size=16, n_draws=2)
    phase = WarmStart(small_generator(), Discriminator(width=8), small_corpus.training, config, seed=0)
    losses = [phase.step(step)["loss"] for step in range(160)]
    assert sum(losses[-40:]) < 0.8 * sum(losses[:40])
    moved = zip(phase.average.parameters(), small_generator().parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)


def test_which_passes_count_and_how_much() -> None:
    assert supervised(1) == {0: 1.0}
    assert supervised(7) == {0: 0.1, 3: 0.3, 6: 1.0}


def test_batches_depend_on_seed_and_step_alone(small_corpus: Corpus) -> None:
    one, other = (Batches(small_corpus.training, 8, 3) for _ in range(2))
    steps = [0, BUCKET + 3, 1, 7 * BUCKET]
    assert [one(s).tolist() for s in steps] == [other(s).tolist() for s in reversed(steps)][::-1]
    assert Batches(small_corpus.training, 8, 4)(0).tolist() != one(0).tolist()
    first, again = (torch.rand(3, generator=step_rng(1, 2, 3)) for _ in range(2))
    assert torch.equal(first, again)
