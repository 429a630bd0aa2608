from dataclasses import replace

import pytest

from crystalgraph.crystals.matching import group_equal
from crystalgraph.screening import search as module
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import GATES, KEPT, Screen
from crystalgraph.screening.search import generate, run

ROUND, PATIENCE = 32, 3


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(module, "ROUND", ROUND)
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    monkeypatch.setattr(module, "MIN_YIELD", 1 / 16)


def work(source, progress=None, **asked):
    request = GenerationRequest.parse(**asked)
    return run(source, Screen(request, composition_filter(request), source.score), progress)


def test_keeps_what_was_asked_for_and_ranks_it(dealer):
    result = work(dealer(), num=5)
    assert len(result.structures) == len(result.names) == 5
    assert result.shortfall == ""
    kept = sorted((s for s in result.samples if s.rank), key=lambda s: s.rank)
    assert [s.rank for s in kept] == [1, 2, 3, 4, 5]
    assert [s.file for s in kept] == result.names
    for sample, structure in zip(kept, result.structures, strict=True):
        assert sample.formula == structure.reduced_formula
        assert sample.volume_per_atom == pytest.approx(structure.volume / len(structure))
    assert result.names[0].startswith("0001_")
    assert result.names[-1] == f"0005_{kept[-1].formula}_sg{kept[-1].space_group_found}"


def test_the_best_of_each_formula_come_first(dealer):
    result = work(dealer(), num=8)
    passed = [s for s in result.samples if s.fate not in ("strict", "composition")]

    def turn(sample):
        scores = [other.score for other in passed if other.formula == sample.formula]
        return sum(score > sample.score for score in scores) / len(scores), -sample.score

    kept = sorted((s for s in result.samples if s.rank), key=lambda s: s.rank)
    assert [turn(s) for s in kept] == sorted(turn(s) for s in kept)
    assert [s.score for s in kept] != sorted((s.score for s in kept), reverse=True)


def test_counts_add_up(dealer):
    result = work(dealer("rock salt", "crushed", "rutile", "CsCl"), num=2)
    counts = result.counts
    assert list(counts) == ["drawn", *GATES, KEPT]
    assert counts["drawn"] == ROUND == sum(count for name, count in counts.items() if name != "drawn")
    assert (counts["strict"], counts[KEPT]) == (ROUND // 4, 2)


def test_asking_for_more_keeps_what_fewer_gave(dealer):
    few, many = (work(dealer(), num=num) for num in (3, 7))
    kept = [{s.draw for s in result.samples if s.fate == KEPT} for result in (few, many)]
    assert kept[0] < kept[1]


@pytest.mark.slow
def test_a_small_space_ends_the_search_and_says_so(dealer):
    result = work(dealer("rock salt", "rutile"), num=5)
    assert len(result.structures) == 2
    assert result.counts["drawn"] == PATIENCE * ROUND
    assert "2 of 5" in result.shortfall
    assert f"last {PATIENCE * ROUND} samples" in result.shortfall
    assert group_equal(result.structures).tolist() == [0, 1]


@pytest.mark.slow
def test_the_few_that_pass_are_kept_in_the_end(dealer):
    result = work(dealer("rutile", *["crushed"] * (ROUND - 1), "CsCl", *["crushed"] * (2 * ROUND)), num=5)
    assert [structure.reduced_formula for structure in result.structures] == ["NbO", "NbO2"]
    assert result.counts["outranked"] == 0
    assert "2 of 5" in result.shortfall


def test_the_best_of_each_formula_are_kept(dealer):
    result = work(dealer(), num=8)
    kept = {sample.template for sample in result.samples if sample.fate == KEPT}
    assert result.counts["outranked"] > 0
    assert "wurtzite" not in kept  # of the formula with most prototypes the smallest group; rutile has a smaller one
    assert len(kept) == 8


def test_nothing_valid_ends_the_search_too(dealer):
    result = work(dealer("crushed"), num=5)
    assert result.structures == []
    assert result.counts["strict"] == result.counts["drawn"] == PATIENCE * ROUND
    assert "0 of 5" in result.shortfall


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, ROUND, ROUND + 10])
def test_raw_gives_exactly_so_many_in_draw_order(dealer, num):
    source = dealer("rock salt", "crushed", "rutile")
    result = work(source, num=num, raw=True)
    assert len(result.structures) == len(result.samples) == num
    assert [s.template for s in result.samples] == source.drawn[:num]
    assert [s.formula for s in result.samples] == [structure.reduced_formula for structure in result.structures]
    assert all(s.rank is None for s in result.samples)
    assert result.names == sorted(result.names)
    assert len(set(result.names)) == num


@pytest.mark.slow
def test_progress_is_told_after_every_round(dealer):
    seen = []
    result = work(dealer("rock salt", "crushed"), seen.append, num=2)
    assert [state.drawn for state in seen] == [ROUND * (k + 1) for k in range(PATIENCE)]
    assert (seen[-1].wanted, seen[-1].kept) == (2, 1)
    assert seen[-1].lost == {gate: result.counts[gate] for gate in GATES}
    assert set(result.seconds) >= {"draw", "strict", "composition", "symmetry", "copies", "score"}


def test_generate_hands_the_request_to_the_sampler(dealer, monkeypatch):
    asked = {}

    def sampler(model, elements, rng, **options):
        asked.update(options, elements=elements, seed=rng.initial_seed())
        return model

    monkeypatch.setattr("crystalgraph.sampling.sampler.Sampler", sampler)
    request = GenerationRequest.parse(
        formula="NbO2",
        space_group_number=136,
        max_atoms=12,
        num=1,
        seed=7,
        temperature=2.0,
        explore=0.5,
        fast=True,
        refine=5,
    )
    result = generate(dealer("rutile"), request)
    assert result.counts[KEPT] == 1
    assert asked == {
        "elements": [41, 8],
        "formula": {41: 1, 8: 2},
        "space_group_number": 136,
        "max_atoms": 12,
        "seed": 7,
        "temperature": 2.0,
        "explore": 0.5,
        "n_draws": None,
        "fast": True,
        "n_refine": 5,
    }
    generate(dealer("rutile"), replace(request, fast=False))
    assert (asked["n_draws"], asked["fast"]) == (None, False)
    generate(dealer("rutile"), replace(request, raw=True))
    assert asked["n_draws"] == 1
