"""Ranks, names and rows of what was selected, before and after the funnel."""

from dataclasses import fields, replace
from math import nan

import pytest

from crystalgraph.io.columns import COLUMNS
from crystalgraph.known.likeness import Likeness
from crystalgraph.screening.candidates import ranked_by_energy
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.outcome import COPIES, RELAXATION, RELAXED, FunnelResult, Outcome
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import SELECTED, Sample, Screen
from crystalgraph.screening.search import run

pytestmark = pytest.mark.usefixtures("quick_plausibility")


@pytest.fixture
def candidates(dealer):
    """Four oxides, rock salt with the highest score of its formula."""
    source = dealer("rock salt", "rutile", "CsCl", "crushed", "fluorite", scales=(1.0,))
    return run(source, Screen(GenerationRequest.parse(num=4), composition_filter(GenerationRequest.parse())))


def relaxed(candidates, outcomes, copies=None):
    """What a funnel gives that leaves every crystal as it is: prototype -> what became of it."""
    templates = [sample.template for sample in candidates.selected]
    places = {name: place for place, name in enumerate(templates)}
    passed = [name for name in templates if outcomes[name].funnel_status == RELAXED]
    order = sorted(passed, key=lambda name: outcomes[name].e_above_hull)
    return FunnelResult(
        outcomes=[outcomes[name] for name in templates],
        structures=[
            s if outcomes[n].relax_status else None for n, s in zip(templates, candidates.structures, strict=True)
        ],
        copy_of=[places.get((copies or {}).get(name)) for name in templates],
        seconds=[0.0] * len(templates),
        judges=("sevennet-0",),
        order=[places[name] for name in order],
        stages=[],
        hulls={},
    )


@pytest.mark.slow
def test_a_run_is_ranked_anew_by_energy(candidates):
    ok = {"funnel_status": RELAXED, "relax_status": "converged"}
    lost = {"funnel_status": RELAXATION}
    result = relaxed(
        candidates,
        {
            "rock salt": Outcome(**ok, e_above_hull_unrelaxed=0.9, e_above_hull=0.2, relaxed_space_group=225),
            "rutile": Outcome(**ok, e_above_hull_unrelaxed=0.1, e_above_hull=0.05, relaxed_space_group=136),
            "CsCl": Outcome(**lost, e_above_hull_unrelaxed=nan),
            "fluorite": Outcome(**lost, e_above_hull_unrelaxed=0.2),
        },
    )
    again = ranked_by_energy(candidates, result)
    assert [sample.template for sample in again.selected] == ["rutile", "rock salt", "fluorite", "CsCl"]
    assert [sample.rank for sample in again.selected] == [1, 2, 3, 4]
    assert again.names[:2] == again.drawn_names[:2] == ["0001_NbO2_sg136", "0002_NbO_sg225"]
    assert [s.composition.reduced_formula for s in again.structures] == ["NbO2", "NbO", "NbO2", "NbO"]
    assert len(again.relaxed) == 2
    assert set(again.outcomes) == {sample.draw for sample in again.selected}
    assert again.counts == candidates.counts
    untouched = [sample for sample in again.samples if sample.status != SELECTED]
    assert untouched == [sample for sample in candidates.samples if sample.status != SELECTED]


@pytest.mark.slow
def test_as_many_are_kept_as_were_requested(candidates):
    ok = {"relax_status": "converged", "funnel_status": RELAXED}
    energies = {"rock salt": 0.3, "rutile": 0.1, "fluorite": 0.2, "CsCl": 0.4}
    outcomes = {name: Outcome(**ok, e_above_hull=energy) for name, energy in energies.items()}
    fewer = replace(candidates, request=replace(candidates.request, num=2))
    again = ranked_by_energy(fewer, relaxed(candidates, outcomes))
    assert [sample.template for sample in again.selected] == ["rutile", "fluorite"]
    assert len(again.structures) == len(again.names) == len(again.relaxed) == 2
    others = [sample for sample in again.samples if sample.template in ("rock salt", "CsCl")]
    assert {sample.status for sample in others if sample.status != "copy"} == {"not selected"}
    assert all(again.outcomes[s.draw].e_above_hull == energies[s.template] for s in others if s.draw in again.outcomes)


@pytest.mark.slow
def test_a_crystal_that_became_equal_to_another_is_not_selected_and_says_so(candidates):
    ok = {"relax_status": "converged", "e_above_hull": 0.1}
    outcomes = {name: Outcome(**ok, funnel_status=RELAXED) for name in ("rock salt", "rutile", "fluorite")}
    outcomes["CsCl"] = Outcome(**ok, funnel_status=COPIES)
    again = ranked_by_energy(candidates, relaxed(candidates, outcomes, {"CsCl": "rock salt"}))
    assert sorted(sample.template for sample in again.selected) == ["fluorite", "rock salt", "rutile"]
    assert len(again.structures) == len(again.relaxed) == len(again.names) == 3
    first = next(sample.draw for sample in again.selected if sample.template == "rock salt")
    copy = next(s for s in again.samples if s.template == "CsCl" and s.draw in again.outcomes)
    assert (copy.status, copy.rank, copy.file) == ("not selected", None, None)
    assert copy.reason == again.outcomes[copy.draw].funnel_reason == f"became equal to sample {first}"
    assert again.shortfall == f"1 became equal to others, 3 of {candidates.request.num} are left"


@pytest.mark.slow
def test_a_copy_of_a_copy_names_what_is_left_of_them(candidates):
    ok = {"relax_status": "converged", "e_above_hull": 0.1}
    outcomes = {name: Outcome(**ok, funnel_status=RELAXED) for name in ("rock salt", "rutile")}
    outcomes |= {name: Outcome(**ok, funnel_status=COPIES) for name in ("CsCl", "fluorite")}
    result = relaxed(candidates, outcomes, {"CsCl": "fluorite", "fluorite": "rock salt"})
    again = ranked_by_energy(candidates, result)
    first = next(sample.draw for sample in again.selected if sample.template == "rock salt")
    reasons = {s.template: s.reason for s in again.samples if s.status == "not selected" and s.draw in again.outcomes}
    assert reasons == dict.fromkeys(("CsCl", "fluorite"), f"became equal to sample {first}")


@pytest.mark.slow
def test_every_column_written_is_one_of_the_contract(candidates):
    plain = [column.name for column in fields(Sample)]
    assert candidates.columns == plain
    again = ranked_by_energy(
        candidates, relaxed(candidates, {sample.template: Outcome() for sample in candidates.selected})
    )
    outcome = [column.name for column in fields(Outcome) if column.name not in ("e_above_hull_by", "enthalpy")]
    alone = [name for name in outcome if name not in ("e_above_hull_spread", "agreed_metastable")]
    assert again.columns == plain + alone
    judged = replace(again, judges=("sevennet-0", "my.module:make"), likenesses={})
    own = ["e_above_hull_sevennet_0", "e_above_hull_my_module_make"]
    assert judged.columns == plain + [column.name for column in fields(Likeness)] + outcome + own
    assert set(judged.columns) - set(own) <= set(COLUMNS)
    assert "enthalpy" in replace(again, pressure=10.0).columns
    pressed = replace(judged, pressure=10.0, similarities={})
    assert set(pressed.columns) - set(judged.columns) == {"enthalpy", "pattern_similarity"}
    for some in (candidates, again, judged, pressed):
        assert all(list(row) == some.columns for row in some.rows(some.samples))
