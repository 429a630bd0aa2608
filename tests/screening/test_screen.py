from collections import Counter
from dataclasses import replace

import pytest
import torch

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import FILTERS, NOT_SELECTED, SELECTED, Screen

pytestmark = pytest.mark.usefixtures("quick_plausibility")


@pytest.fixture
def screened(dealer):
    """Screen one batch of named prototypes."""

    def work(names, **asked):
        request = GenerationRequest.parse(**asked)
        source = dealer(*names)
        screen = Screen(request, composition_filter(request))
        screen.judge(source.draw(len(names)))
        if not request.raw:
            screen.choose(request.num)
            screen.close()
        return screen

    return work


def statuses(screen):
    return [sample.status for sample in screen.samples]


@pytest.mark.slow
def test_each_filter_catches_what_it_is_for(screened):
    names = ["rock salt", "crushed", "rutile", "rock salt", "fluorite", "CsCl", "rutile"]
    screen = screened(names, num=4)
    assert statuses(screen) == ["copy", "strict", SELECTED, SELECTED, SELECTED, SELECTED, NOT_SELECTED]
    reasons = [sample.reason for sample in screen.samples]
    assert [bool(reason) for reason in reasons] == [status != SELECTED for status in statuses(screen)]
    assert "covalent radii" in reasons[1]
    assert reasons[0] == "equal to sample 3"  # which is larger, so its score is higher
    assert reasons[6] == "4 others came first, the best of each formula"
    assert [sample.template for sample in screen.samples] == names
    assert (screen.n_selected, screen.n_passed) == (4, 6)
    assert screen.draws == [4, 3, 2, 5]  # the best of each formula first


def test_samples_carry_what_they_measure(screened):
    screen = screened(["rutile", "crushed"], num=4)
    rutile, crushed = screen.samples
    assert (rutile.formula, rutile.num_atoms, rutile.space_group_requested) == ("NbO2", 6, 136)
    assert (rutile.space_group, rutile.symmetry_match) == (136, "exact")
    (structure,) = screen.structures
    assert rutile.density == pytest.approx(float(structure.density), rel=1e-4)
    assert rutile.volume_per_atom == pytest.approx(structure.volume / 6)
    assert rutile.score == pytest.approx(136 + structure.volume / 1000)
    assert rutile.charge_neutral
    assert 0 <= rutile.plausibility <= 1
    assert crushed.strictly_valid is False
    assert crushed.score != crushed.score  # NaN: no graph is built of overlapping atoms


def test_a_foreign_composition_is_lost_with_its_reason(screened):
    screen = screened(["rutile", "rock salt"], formula="NbO")
    assert statuses(screen) == ["composition", SELECTED]
    assert "NbO2" in screen.samples[0].reason


@pytest.mark.parametrize(
    ("requested", "supergroups", "status", "match"),
    [
        (221, False, SELECTED, "exact"),
        (99, False, "symmetry", "supergroup"),
        (99, True, SELECTED, "supergroup"),
        (194, True, "symmetry", "other"),
    ],
)
def test_requested_group_or_where_allowed_a_supergroup(screened, requested, supergroups, status, match):
    (sample,) = screened(["CsCl"], space_group_number=requested, supergroups=supergroups).samples
    assert (sample.status, sample.symmetry_match) == (status, match)
    assert (sample.space_group_requested, sample.space_group) == (requested, 221)
    assert ("221" in sample.reason) == (status != SELECTED)


def test_open_group_never_loses_a_crystal(dealer):
    source = dealer("CsCl")
    request = GenerationRequest.parse()
    screen = Screen(request, composition_filter(request))
    drawn = source.draw(1)
    drawn.space_group_number[:] = 194  # a template that is not what came out
    screen.judge(drawn)
    screen.choose(1)
    (sample,) = screen.samples
    assert (sample.status, sample.symmetry_match) == (SELECTED, "other")
    assert (sample.space_group_requested, sample.space_group) == (194, 221)


@pytest.mark.slow
def test_copies_are_found_across_batches(dealer):
    request = GenerationRequest.parse()
    source = dealer()
    screen = Screen(request, composition_filter(request))
    for _ in range(3):
        screen.judge(source.draw(9))
        screen.choose(99)
    assert Counter(statuses(screen)) == {SELECTED: 9, "copy": 18}
    assert [sample.draw for sample in screen.samples] == list(range(27))
    assert group_equal(screen.structures).tolist() == list(range(9))
    assert strict_validity(from_structures(screen.structures)).valid.all()


@pytest.mark.slow
def test_how_draws_are_cut_into_batches_changes_nothing(dealer):
    def samples(sizes):
        request = GenerationRequest.parse(num=6)
        source = dealer("rock salt", "rutile", "crushed", "fluorite", "rock salt", "CsCl", "cuprite")
        screen = Screen(request, composition_filter(request))
        for size in sizes:
            screen.judge(source.draw(size))
        screen.choose(3)
        screen.close()
        return screen.samples

    assert [str(s) for s in samples([20])] == [str(s) for s in samples([1, 7, 12])]


def test_a_raw_run_drops_nothing_and_reports_everything(screened):
    names = ["rock salt", "crushed", "rock salt", "rutile"]
    screen = screened(names, num=4, raw=True, formula="NbO", space_group_number=194)
    assert statuses(screen) == [SELECTED] * 4
    assert [sample.strictly_valid for sample in screen.samples] == [True, False, True, True]
    assert [sample.symmetry_match for sample in screen.samples] == ["other"] * 4
    assert [bool(sample.reason) for sample in screen.samples] == [False, True, False, True]
    assert len(screen.structures) == 4


def test_broken_cells_are_lost_with_their_reason(dealer):
    source = dealer("rock salt", "CsCl", "rutile")
    request = GenerationRequest.parse()
    screen = Screen(request, composition_filter(request))
    drawn = source.draw(3)
    drawn.crystals.lattice[0] = torch.nan
    drawn.crystals.lattice[1, 2] = drawn.crystals.lattice[1, 1]
    screen.judge(drawn)
    screen.choose(3)
    assert statuses(screen) == ["strict", "strict", SELECTED]
    assert "not finite" in screen.samples[0].reason
    assert "volume" in screen.samples[1].reason


def test_the_best_of_each_formula_are_kept_and_what_is_open_stays_so_for_later(dealer):
    names = ["fluorite", "cuprite", "CsCl", "rock salt", "rutile"]
    request = GenerationRequest.parse()
    source = dealer(*names)
    screen = Screen(request, composition_filter(request))
    screen.judge(source.draw(len(names)))
    assert statuses(screen) == [""] * 5
    score = {sample.template: sample.score for sample in screen.samples}
    assert sorted(names, key=lambda name: -score[name]) == ["fluorite", "rock salt", "cuprite", "CsCl", "rutile"]

    def kept():
        return [names[draw] for draw in screen.draws]

    screen.choose(2)
    assert kept() == ["fluorite", "rock salt"]
    screen.choose(2)
    screen.choose(4)  # the only Nb2O before the second NbO, which has the higher score
    assert kept() == ["fluorite", "rock salt", "cuprite", "CsCl"]
    screen.close()
    assert Counter(statuses(screen)) == {SELECTED: 4, NOT_SELECTED: 1}
    assert statuses(screen)[names.index("rutile")] == NOT_SELECTED


def test_a_formula_is_kept_in_proportion_to_what_passed(dealer):
    names = ["rock salt"] * 6 + ["fluorite"] * 3
    request = GenerationRequest.parse()
    source = dealer(*names)
    screen = Screen(request, composition_filter(request))
    screen.judge(source.draw(len(names)))
    screen._decide = lambda sample, _: screen._select(sample, None)  # copies may stay
    screen.choose(6)
    assert Counter(sample.formula for sample in screen.samples if sample.status == SELECTED) == {"NbO": 4, "NbO2": 2}


def test_selected_is_no_filter():
    assert SELECTED not in FILTERS


def test_what_was_worked_out_about_draws_is_not_worked_out_again(dealer, monkeypatch):
    """The screen takes validity and score as the draws carry them."""
    source, request = dealer("rock salt", "rutile"), GenerationRequest.parse(num=2)
    draws = source.draw(8)
    valid, scores = draws.validity.valid, draws.score
    monkeypatch.setattr("crystalgraph.sampling.draws.strict_validity", None)
    monkeypatch.setattr(source, "score", None)
    screen = Screen(request, composition_filter(request))
    screen.judge(draws)
    assert [sample.strictly_valid for sample in screen.samples] == valid.tolist()
    assert [sample.score for sample in screen.samples] == scores.tolist()


def test_a_template_that_known_crystals_speak_for_comes_first(dealer):
    screen = Screen(GenerationRequest.parse(num=3), composition_filter(GenerationRequest.parse()))
    draws = dealer("rock salt", "CsCl", "sphalerite").draw(3)
    assert draws.score[1] < draws.score[0]
    likely = torch.tensor([0.0, 10.0, -300.0], dtype=torch.float64)
    screen.judge(replace(draws, template_score=likely))
    screen.choose(3)
    assert screen.draws == [1, 0, 2]
    assert [sample.template_score for sample in screen.samples] == likely.tolist()
    assert [sample.score for sample in screen.samples] == draws.score.tolist()
    assert replace(draws, template_score=likely).first(2).template_score.tolist() == [0.0, 10.0]
