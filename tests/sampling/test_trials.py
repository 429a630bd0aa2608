"""Kept scores: a hit is the same as a miss, whatever the seed of the run; whatever they depend on makes another key."""

import logging
from dataclasses import replace

import pytest
import torch

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.models.bundle import Model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.sampling import trials
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.sampling.trials import kept_scores
from crystalgraph.symmetry.extract import extract
from tests.dealer import PROTOTYPES, prototype

OPTIONS = {"n_passes": 1, "surrogate_steps": 0, "use_prototypes": False}


@pytest.fixture(scope="module")
def model() -> Model:
    """An untrained model of nine prototypes."""
    torch.manual_seed(0)
    found = extract(from_structures([prototype(name) for name in PROTOTYPES]))
    return Model(
        name="untrained",
        generator=Generator(width=8, n_stages=1).eval(),
        discriminator=Discriminator(width=8).eval(),
        prior=TemplatePrior(width=8).eval(),
        pool=found.templates,
        library=PrototypeLibrary(found.parametrised),
        record={},
        checksum="",
    )


@pytest.fixture
def tried(model, tmp_path):
    """Scores by random numbers, kept in a folder."""

    def scores(folder=tmp_path, **changed):
        asked = {"model": model, "templates": model.pool, "options": OPTIONS} | changed

        def fill(rng):
            score = torch.rand(len(asked["templates"]), generator=rng, dtype=torch.float64)
            return score.index_fill(0, torch.tensor([1]), torch.nan)

        return kept_scores(folder, fill, **asked)

    return scores


def n_kept(folder):
    return len(list(folder.iterdir()))


def test_a_hit_gives_the_bits_of_a_miss(tried, tmp_path):
    without = tried(None)
    for _ in range(2):
        assert torch.equal(tried().view(torch.int64), without.view(torch.int64))  # NaN is equal to itself so
    assert n_kept(tmp_path) == 1


def test_other_templates_and_options_are_a_miss(tried, tmp_path, model):
    tried()
    tried(templates=model.pool[:5])
    tried(templates=model.pool[list(reversed(range(len(model.pool))))])
    tried(options=OPTIONS | {"surrogate_steps": 3})
    assert n_kept(tmp_path) == 4


def test_another_model_is_a_miss_whatever_its_checksum_says(tried, tmp_path, model):
    tried()
    tried(model=replace(model, name="renamed"))
    assert n_kept(tmp_path) == 1
    torch.manual_seed(1)
    tried(model=replace(model, generator=Generator(width=8, n_stages=1).eval()))
    tried(model=replace(model, discriminator=Discriminator(width=8).eval()))
    tried(model=replace(model, library=PrototypeLibrary(model.library.parametrised[torch.arange(4)])))
    fewer = Generator(width=8, n_stages=1, n_neighbors=6).eval()
    fewer.load_state_dict(model.generator.state_dict())
    tried(model=replace(model, generator=fewer))
    assert n_kept(tmp_path) == 5


def test_other_code_is_a_miss(tried, tmp_path, monkeypatch):
    tried()
    monkeypatch.setattr(trials, "code_checksum", lambda *_: "changed")
    tried()
    assert n_kept(tmp_path) == 2


def test_a_damaged_file_is_said_and_made_anew(tried, tmp_path, caplog):
    scores = tried()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"scores": [0', b'"scores": [1'))
    with caplog.at_level(logging.WARNING, "crystalgraph.io"):
        again = tried()
    assert f"{file} is not believed" in caplog.text
    assert torch.equal(again.nan_to_num(), scores.nan_to_num())


@pytest.mark.parametrize("formula", [None, pytest.param({41: 1, 8: 2}, marks=pytest.mark.slow)])
def test_a_sampler_draws_the_same_from_what_was_kept(model, tmp_path, formula):
    def drawn(folder):
        rng = torch.Generator().manual_seed(0)
        sampler = Sampler(model, [41, 8], rng, formula=formula, n_draws=1, trials=folder)
        return sampler.choices.weights, sampler.draw(8).crystals.frac_coords

    without, miss, hit = drawn(None), drawn(tmp_path), drawn(tmp_path)
    for one, other in ((without, miss), (miss, hit)):
        assert all(map(torch.equal, one, other))
    assert n_kept(tmp_path) > 0


def test_what_one_seed_tried_serves_another(model, tmp_path):
    drawn = []
    for seed in (0, 1):
        sampler = Sampler(model, [41, 8], torch.Generator().manual_seed(seed), n_draws=1, trials=tmp_path)
        drawn.append((sampler.choices.weights, sampler.draw(8).crystals.frac_coords))
    (weights, first), (others, second) = drawn
    assert n_kept(tmp_path) == 1
    assert torch.equal(weights, others)
    assert first.shape != second.shape or not torch.equal(first, second)
