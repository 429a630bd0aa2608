"""The adversarial phase: noise of the asked size, a penalty that is the gradient, networks that move in their turn."""

import pytest
import torch

from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.training.adversarial import Adversarial, gradient_penalty, rattle
from crystalgraph.training.config import AdversarialConfig
from crystalgraph.training.corpus import Corpus


def test_atoms_are_rattled_by_the_asked_amount() -> None:
    crystals = load_dataset("corpus").crystals[torch.arange(0, 37_855, 100)]
    moved = rattle(crystals, 0.05, torch.Generator().manual_seed(0))
    distance = moved.cart_coords - crystals.cart_coords
    assert abs(distance.std().item() / 0.05 - 1) < 0.02
    assert torch.equal(moved.lattice, crystals.lattice)


def test_penalty_of_a_known_function() -> None:
    lengths = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    scores = torch.stack([lengths[0] ** 2 + lengths[1], 3 * lengths[2]])
    assert gradient_penalty(scores, lengths, 2).item() == (4 + 1 + 9) / 2


def same(a: torch.nn.Module, b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.state_dict().items())


@pytest.mark.slow
def test_generator_waits_for_the_discriminator(small_corpus: Corpus) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(width=16, n_stages=1), Discriminator(width=16)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    critic = {name: value.clone() for name, value in discriminator.state_dict().items()}
    config = AdversarialConfig(steps=6, batch_size=6, n_draws=2, head_start=3)
    phase = Adversarial(generator, discriminator, small_corpus.training, config, seed=0)
    values = [phase.step(step) for step in range(3)]
    assert same(generator, before)
    assert not same(discriminator, critic)
    assert "fooled" not in values[-1]
    values = [phase.step(step) for step in range(3, 6)]
    assert not same(generator, before)
    assert not same(phase.average, before)
    assert "fooled" in values[-1]
    assert all(torch.isfinite(torch.tensor(list(v.values()))).all() for v in values)
