"""The first phase finds how often templates occur, from crystals alone."""

import copy
import math

import pytest
import torch

from crystalgraph.models.prior import TemplatePrior
from crystalgraph.symmetry.species import number_of_species
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table
from crystalgraph.training.config import PriorConfig
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.pool import template_pool
from crystalgraph.training.prior import PriorTraining


def of_group(number: int, letters: str, species: list[int]) -> Templates:
    table = wyckoff_table()
    row = {table.letter[row]: row for row in table.positions(number)}
    return Templates(
        space_group_number=torch.tensor([number]),
        num_sites=torch.tensor([len(letters)]),
        position=torch.tensor([row[letter] for letter in letters]),
        atomic_numbers=torch.tensor(species),
    )


@pytest.mark.slow
def test_the_ratio_of_two_templates_is_that_of_their_crystals() -> None:
    rock_salt, caesium_chloride = of_group(225, "ab", [11, 17]), of_group(221, "ab", [11, 17])
    real = Templates.concatenate([rock_salt] * 3 + [caesium_chloride])
    pool = Templates.concatenate([rock_salt, caesium_chloride])
    torch.manual_seed(0)
    config = PriorConfig(steps=300, batch_size=64, n_others=7, width=8, learning_rate=1e-2, hidden=0)
    phase = PriorTraining(TemplatePrior(width=8, hidden=0), real, pool, config, seed=0)
    for step in range(config.steps):
        phase.step(step)
    first, second = phase.average.log_weights(pool).tolist()
    assert first - second == pytest.approx(math.log(3), abs=0.2)


@pytest.mark.slow
def test_others_have_the_elements_of_their_crystal(small_corpus: Corpus) -> None:
    real = small_corpus.training.templates
    pool = template_pool(small_corpus.training)
    phase = PriorTraining(TemplatePrior(width=8), real, pool, PriorConfig(n_others=5), seed=0)
    index = torch.arange(0, len(real), max(1, len(real) // 40))
    others = phase.others(index, torch.Generator().manual_seed(0))
    assert len(others) == 5 * len(index)
    for k, i in enumerate(index.tolist()):
        asked = set(real[i].atomic_numbers.tolist())
        for other in range(5 * k, 5 * k + 5):
            assert set(others[other].atomic_numbers.tolist()) == asked
    assert set(others.prototypes()) <= set(pool.prototypes())


@pytest.mark.slow
def test_it_learns_and_goes_on_where_it_was_stopped(small_corpus: Corpus) -> None:
    real, pool = small_corpus.training.templates, template_pool(small_corpus.training)
    assert set(number_of_species(real).tolist()) <= set(number_of_species(pool).tolist())
    config = PriorConfig(steps=160, batch_size=16, n_others=7, width=16, learning_rate=5e-3)

    def made() -> PriorTraining:
        torch.manual_seed(0)
        return PriorTraining(TemplatePrior(width=16), real, pool, config, seed=0, threads=2)

    phase, losses = made(), []
    for step in range(160):
        if step == 120:
            kept = {name: tensor.clone() for name, tensor in copy.deepcopy(phase.tensors()).items()}
        losses.append(phase.step(step)["prior"])
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    again = made()
    again.restore(kept)
    assert [again.step(step)["prior"] for step in range(120, 160)] == losses[120:]
