"""The ranking phase: the loss is that of its pairs, the scorer learns to choose, the generator stays."""

import itertools

import torch
from torch.nn.functional import softplus

from crystalgraph.config import RankingConfig
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.ranking import EXACT, Ranking, pair_loss


def test_loss_is_that_of_the_pairs_one_by_one() -> None:
    rng = torch.Generator().manual_seed(0)
    scores, losses = torch.randn(4, 5, generator=rng), torch.rand(4, 5, generator=rng)
    losses[0] = 0
    for k in range(5):
        total = weights = 0.0
        for i, j in itertools.permutations(range(4), 2):
            apart = (losses[j, k].clamp_min(EXACT) / losses[i, k].clamp_min(EXACT)).log().clamp(0, 1)
            total += float(apart * softplus(scores[j, k] - scores[i, k]))
            weights += float(apart)
        assert abs(pair_loss(scores, losses)[k].item() - total / weights) < 1e-5


def test_right_order_is_better_than_wrong_and_equal_draws_need_none() -> None:
    losses = torch.tensor([[0.1], [0.5], [1.0]])
    right, wrong = (pair_loss(sign * torch.tensor([[2.0], [0.0], [-2.0]]), losses).item() for sign in (1, -1))
    assert right < 0.2 < 1.5 < wrong
    assert pair_loss(torch.randn(3, 1), torch.full((3, 1), 0.2)).item() == 0


def test_the_scorer_learns_and_the_generator_stays(small_corpus: Corpus) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(width=16, n_stages=1), Discriminator(width=16)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    config = RankingConfig(steps=100, batch_size=12, n_draws=3, learning_rate=1e-2)
    phase = Ranking(generator, discriminator, small_corpus.training[torch.arange(0, 24)], config, seed=0, threads=2)
    losses = [phase.step(step)["ranking"] for step in range(100)]
    assert sum(losses[-20:]) < 0.85 * sum(losses[:20])
    for name, value in phase.average.state_dict().items():
        assert torch.equal(value, before[name])
    assert any(
        not torch.equal(a, b)
        for a, b in zip(phase.scorer.parameters(), Discriminator(width=16).parameters(), strict=True)
    )
