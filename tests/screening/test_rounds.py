from math import exp, inf

import pytest

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.potentials import DEFAULT
from crystalgraph.relax.relaxation import Relaxation
from crystalgraph.screening import ledger as module
from crystalgraph.screening.candidates import ranked_by_energy, source_yields
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.descent import Descent
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import RELAXED
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.rounds import (
    ENOUGH,
    NOTHING_LEFT,
    NOTHING_LOWER,
    TIME_IS_UP,
    RoundSettings,
    search_rounds,
)
from crystalgraph.screening.screen import SELECTED, Screen

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_plausibility")]

FLAT = Hull(
    ChemicalSystem.parse("Nb-O"),
    [Phase(name="Nb", formula="Nb", energy=0.0), Phase(name="O", formula="O", energy=0.0)],
)

ENERGIES = {"NbO": 0.05, "NbO2": 0.3, "NbO3": 0.6, "Nb2O": 0.7}
"""eV/atom above the hull as drawn; nothing is lower after relaxation."""


@pytest.fixture(autouse=True)
def _flat_potential(monkeypatch):
    def energy(structure):
        return ENERGIES[structure.reduced_formula]

    monkeypatch.setattr(module, "single_points", lambda structures, *_, **__: [energy(s) for s in structures])
    monkeypatch.setattr(
        module,
        "relax_many",
        lambda structures, *_, **__: [
            Relaxation(status="converged", structure=s, energy=energy(s), n_steps=1) for s in structures
        ],
    )


def searched(source, *, limit=6, round_size=3, minutes=None, settings=None, **asked):
    request = GenerationRequest.parse(**asked)
    descent = Descent({DEFAULT: FLAT}, FunnelSettings(limit=limit, round_size=round_size), None)
    settings = settings or RoundSettings(drawn=9, energies_per_relaxation=2)
    screen = Screen(request, composition_filter(request))
    found = search_rounds(source, screen, descent, minutes=minutes, settings=settings)
    return found, descent


def test_it_ends_when_as_many_are_relaxed_as_asked_for(dealer):
    found, descent = searched(dealer(), num=4)
    assert found.stopped == ENOUGH
    assert [r.relaxed for r in found.rounds] == [3, 3]
    assert descent.n_relaxed == 6
    assert sum(r.drawn for r in found.rounds) == len(found.candidates.samples)
    assert sum(r.energies for r in found.rounds) == len(found.candidates)


def test_the_best_are_kept_and_the_others_are_counted(dealer):
    found, descent = searched(dealer(), num=4)
    candidates = ranked_by_energy(found.candidates, descent.finish())
    assert len(candidates) == candidates.counts[SELECTED] == 4
    kept = [candidates.outcomes[sample.draw] for sample in candidates.selected]
    assert kept[0].funnel_status == RELAXED
    assert [o.e_above_hull for o in kept] == sorted(o.e_above_hull for o in kept)
    yields = source_yields(candidates)
    assert sum(own["drawn"] for own in yields.values()) == len(candidates.samples)
    assert sum(own["energies"] for own in yields.values()) == len(found.candidates)
    assert sum(own["relaxed"] for own in yields.values()) == descent.n_relaxed
    assert {"generator", "prototype"} <= set(yields)


def test_a_copy_that_lies_lower_takes_the_place_of_what_it_is_equal_to(dealer, monkeypatch):
    """Small cells lie low here, and large ones have the higher score, so that they are selected first."""
    monkeypatch.setattr(
        module, "single_points", lambda structures, *_, **__: [s.volume / len(s) / 100 for s in structures]
    )
    found, descent = searched(dealer(), limit=3, num=4)
    samples, selected = found.candidates.samples, found.candidates.selected
    left = [s for s in samples if s.reason.endswith("which lies lower")]
    assert left
    assert {s.status for s in left} == {"copy"}
    by_draw = {sample.draw: sample for sample in selected}
    for sample in left:
        lower = by_draw[int(sample.reason.split()[3].rstrip(","))]
        assert lower.template == sample.template
        assert lower.volume_per_atom < sample.volume_per_atom
        assert sample.source != "prototype" or lower.source == "prototype"
    assert any(sample.source == "prototype" for sample in left)
    entered = [outcome.e_above_hull_unrelaxed for outcome in descent.outcomes]
    assert entered == pytest.approx([sample.volume_per_atom / 100 for sample in selected])
    assert len(samples) == sum(found.candidates.counts.values()) - found.candidates.counts["drawn"]


def test_prototypes_come_first_and_children_after(dealer):
    source = dealer()
    found, _ = searched(source, num=4)
    sources = [sample.source for sample in found.candidates.samples]
    assert sources[0] == "prototype"
    assert sources.count("prototype") == 1
    assert source.parents == [3]  # after the first round, of the lowest


def test_low_formulas_are_drawn_more_often(dealer):
    source = dealer()
    _, descent = searched(source, num=4)
    first, last = source.factors[0], source.factors[-1]
    assert set(first) <= set(last) == set(descent.lowest)
    assert sorted(last, key=last.get, reverse=True) == sorted(descent.lowest, key=descent.lowest.get)
    bound, temperature = RoundSettings().largest_factor, RoundSettings().temperature
    middle = sum(descent.lowest.values()) / len(descent.lowest)
    for formula, energy in descent.lowest.items():
        wanted = min(max(exp((middle - energy) / temperature), 1 / bound), bound)
        assert last[formula] == pytest.approx(wanted)


def test_a_space_that_is_exhausted_ends_it(dealer):
    found, descent = searched(dealer("rock salt"), limit=50, num=4)
    assert found.stopped == NOTHING_LEFT
    assert descent.n_relaxed == 1
    assert "stopped with 1 of 4" in found.candidates.shortfall


def test_without_a_limit_it_ends_when_nothing_lower_comes(dealer):
    settings = RoundSettings(drawn=4, energies_per_relaxation=1, patience=1)
    found, _ = searched(dealer(), limit=None, round_size=1, settings=settings, num=4)
    assert found.stopped == NOTHING_LOWER
    assert found.rounds[-1].lower == 0


def test_it_ends_with_the_time(dealer, monkeypatch):
    clock = iter(range(0, 10**9, 61))  # a minute and a second whenever it is looked at
    monkeypatch.setattr("crystalgraph.screening.rounds.perf_counter", lambda: next(clock))
    found, _ = searched(dealer(), limit=None, minutes=1, num=4)
    assert found.stopped == TIME_IS_UP
    assert len(found.rounds) == 0


def test_the_worse_half_by_score_gets_no_energy(dealer):
    found, descent = searched(dealer(), limit=1, settings=RoundSettings(drawn=8, energies_per_relaxation=8), num=4)
    passed = [s for s in found.candidates.samples if s.status not in ("strict", "composition")]
    assert 0 < len(descent.outcomes) < len(passed)
    assert max(ENERGIES.values()) < inf
