import pytest

from crystalgraph.crystals.matching import group_equal
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import FILTERS, NOT_SELECTED, SELECTED, Screen
from crystalgraph.screening.search import SearchSettings, run

pytestmark = pytest.mark.usefixtures("quick_plausibility")

ROUND, PATIENCE = 32, 3


SHORT = SearchSettings(round_size=ROUND, patience=PATIENCE, min_yield=1 / 16)


def work(source, progress=None, **asked):
    request = GenerationRequest.parse(**asked)
    return run(source, Screen(request, composition_filter(request)), progress, SHORT)


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
    assert result.names[-1] == f"0005_{kept[-1].formula}_sg{kept[-1].space_group}"


def test_the_best_of_each_formula_come_first(dealer):
    result = work(dealer(), num=8)
    passed = [s for s in result.samples if s.status not in ("strict", "composition")]

    def turn(sample):
        scores = [other.score for other in passed if other.formula == sample.formula]
        return sum(score > sample.score for score in scores) / len(scores), -sample.score

    kept = sorted((s for s in result.samples if s.rank), key=lambda s: s.rank)
    assert [turn(s) for s in kept] == sorted(turn(s) for s in kept)
    assert [s.score for s in kept] != sorted((s.score for s in kept), reverse=True)


def test_counts_add_up(dealer):
    result = work(dealer("rock salt", "crushed", "rutile", "CsCl"), num=2)
    counts = result.counts
    assert list(counts) == ["drawn", *FILTERS, SELECTED]
    assert counts["drawn"] == ROUND == sum(count for name, count in counts.items() if name != "drawn")
    assert (counts["strict"], counts[SELECTED]) == (ROUND // 4, 2)


def test_asking_for_more_keeps_what_fewer_gave(dealer):
    few, many = (work(dealer(), num=num) for num in (3, 7))
    kept = [{s.draw for s in result.samples if s.status == SELECTED} for result in (few, many)]
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
    assert result.counts[NOT_SELECTED] == 0
    assert "2 of 5" in result.shortfall


def test_the_best_of_each_formula_are_kept(dealer):
    result = work(dealer(), num=8)
    kept = {sample.template for sample in result.samples if sample.status == SELECTED}
    assert result.counts[NOT_SELECTED] > 0
    assert "wurtzite" not in kept  # of the formula with most prototypes the smallest group; rutile has a smaller one
    assert len(kept) == 8


def test_nothing_valid_ends_the_search_too(dealer):
    result = work(dealer("crushed"), num=5)
    assert result.structures == []
    assert result.counts["strict"] == result.counts["drawn"] == PATIENCE * ROUND
    assert "0 of 5" in result.shortfall


def test_what_keeps_nearly_all_crystals_out_is_what_to_loosen(dealer):
    result = work(dealer("rock salt", "rutile"), num=5, constraints={"density": "19:20"})
    assert result.counts["constraint"] == result.counts["drawn"] == PATIENCE * ROUND
    assert f"{PATIENCE * ROUND} of {PATIENCE * ROUND} did not keep to what was asked" in result.shortfall
    assert "density 19:20" in result.shortfall


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
    request = GenerationRequest.parse(num=2)
    source = dealer("rock salt", "crushed")
    screen = Screen(request, composition_filter(request))
    result = run(source, screen, lambda *told: seen.append(told), SHORT)
    assert {stage for stage, *_ in seen} == {SELECTED}
    assert [state.split(" drawn")[0] for *_, state in seen] == [str(ROUND * k) for k in range(PATIENCE + 1)]
    assert seen[-1][1:3] == (1, 2)
    assert seen[-1][3].endswith(f"lost {result.counts['strict']} strict, {result.counts['copy']} copy")
    assert set(screen.seconds) >= {"draw", "strict", "composition", "symmetry", "copies", "score"}


def test_known_crystals_compete_with_those_of_the_first_round_where_a_formula_is_requested(dealer):
    asked, open_ = work(dealer(), formula="NbO", num=2), work(dealer(), num=2)
    assert [sample.source for sample in asked.samples[:2]] == ["prototype", "generator"]
    assert len(asked.samples) == 1 + ROUND
    assert {sample.source for sample in open_.samples} == {"generator"}
