import json
from collections import Counter
from math import inf, isnan, nan

import numpy as np
import pytest
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import group_equal
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening import funnel as module
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.funnel import (
    CHOICE,
    COPIES,
    FINALISTS,
    RELAXATION,
    RELAXED,
    SINGLE_POINT,
    STAGES,
    FunnelSettings,
    choose,
    run_funnel,
)
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import KEPT, Screen
from crystalgraph.screening.search import run, with_relaxed


@pytest.fixture
def prototype(dealer):
    """The primitive cell of a named prototype: prototype("rutile", 1.02) has 1.02 times its lengths."""

    def made(name, scale=1.0):
        return to_structures(dealer(name, scales=(scale,)).draw(1).crystals)[0]

    return made


FLAT = Hull(
    ChemicalSystem.parse("Nb-O"),
    [Phase(name="Nb", formula="Nb", energy=0.0), Phase(name="O", formula="O", energy=0.0)],
)
"""The hull lies at zero everywhere, so that an energy is its distance to the hull."""


class Potential:
    """Energies by volume per atom: (as drawn, after relaxation, status, what it becomes)."""

    def __init__(self):
        self.table = {}
        self.relaxed = []

    def knows(self, structure, single_point, energy=nan, status="converged", becomes=None, refined=None):
        self.table[round(structure.volume, 6)] = (single_point, energy, status, becomes or structure, refined)
        return structure

    def single_points(self, structures, calculator, **_):
        assert calculator == "chgnet"
        return [self.table[round(s.volume, 6)][0] for s in structures]

    def relax_many(self, structures, settings: RelaxSettings, **_):
        self.relaxed.append((settings.saddle_check, settings.fmax, len(structures)))
        found = []
        for structure in structures:
            single_point, energy, status, becomes, refined = self.table[round(structure.volume, 6)]
            usable = status in ("converged", "step limit")
            if settings.saddle_check and refined is not None:
                energy, status = refined
            found.append(
                Relaxation(
                    status=status,
                    reason="" if usable else "told to",
                    structure=becomes,
                    initial_energy=single_point,
                    energy=energy,
                    n_steps=7,
                    seconds=0.5,
                )
            )
        return found


@pytest.fixture
def potential(monkeypatch):
    made = Potential()
    monkeypatch.setattr(module, "single_points", made.single_points)
    monkeypatch.setattr(module, "relax_many", made.relax_many)
    return made


def settings(**options):
    return FunnelSettings(**options)


class TestChoose:
    def test_best_third_of_each_composition(self):
        e_hull = [0.3, 0.1, 0.2, 5.0, 6.0, 4.0]
        assert sorted(choose(e_hull, ["NbO"] * 3 + ["NbO2"] * 3)) == [1, 5]

    def test_a_lone_composition_is_chosen_whatever_its_energy(self):
        assert choose([9.0, 0.1, 0.2, 0.3], ["Nb2O", "NbO", "NbO", "NbO"]) == [1, 0]

    def test_a_tenth_of_the_rest_is_drawn(self):
        rng = np.random.default_rng(3)
        e_hull = rng.random(90).tolist()
        chosen = choose(e_hull, ["NbO"] * 90, seed=1)
        assert len(chosen) == len(set(chosen)) == 30 + 6
        best = sorted(range(90), key=lambda k: e_hull[k])[:30]
        assert chosen[:30] == best
        assert not set(chosen[30:]) & set(best)
        others = {tuple(choose(e_hull, ["NbO"] * 90, seed=seed)[30:]) for seed in range(5)}
        assert len(others) == 5

    def test_what_has_no_energy_is_never_chosen(self):
        assert choose([nan, inf, 1.0], ["NbO"] * 3) == [2]
        assert choose([nan], ["NbO"]) == []
        assert choose([], []) == []

    @pytest.mark.parametrize("limit", [1, 2, 5, 12, 36, 1000])
    def test_a_limit_keeps_both_kinds_and_serves_every_composition_first(self, limit):
        rng = np.random.default_rng(0)
        e_hull = rng.random(90).tolist()
        formulas = ["NbO", "NbO2", "Nb2O5"] * 30
        free, limited = choose(e_hull, formulas, seed=2), choose(e_hull, formulas, seed=2, limit=limit)
        assert len(limited) == min(limit, len(free))
        n_random = round(6 * len(limited) / 36)
        best = limited[: len(limited) - n_random]
        counts = Counter(formulas[k] for k in best)
        assert max(counts.values(), default=0) - min(counts.get(f, 0) for f in set(formulas)) <= 1
        assert set(best) <= set(free[:30])

    def test_order_of_the_crystals_changes_nothing(self):
        rng = np.random.default_rng(5)
        e_hull, formulas = rng.random(40), np.array(["NbO", "NbO2"] * 20)
        order = rng.permutation(40)
        best = set(choose(e_hull.tolist(), formulas.tolist(), limit=14)[:12])
        again = choose(e_hull[order].tolist(), formulas[order].tolist(), limit=14)[:12]
        assert {int(order[k]) for k in again} == best


@pytest.mark.slow
def test_every_crystal_keeps_its_fate(potential, prototype):
    given = [
        potential.knows(prototype("rock salt"), 0.2, 0.05),
        potential.knows(prototype("CsCl"), nan),
        potential.knows(prototype("rutile"), 0.4, 0.02, refined=(0.01, "converged")),
        potential.knows(prototype("fluorite"), 9.0, 0.3, "aborted"),
        potential.knows(prototype("rutile", 1.3), 0.5, 0.02, becomes=prototype("rutile", 1.01)),
        potential.knows(prototype("cuprite"), 0.3, 0.4),
        potential.knows(prototype("antifluorite"), 0.1, -0.03, "step limit"),
        potential.knows(prototype("ReO3"), 0.1, status="failed"),
    ]
    potential.knows(prototype("rutile", 1.01), nan, 0.02)
    result = run_funnel(given, FLAT, settings())

    fates = [outcome.relax_fate for outcome in result.outcomes]
    # CsCl has no energy; of three NbO2 one is chosen by its energy; rock salt is the only NbO with one.
    assert fates[1] == SINGLE_POINT
    assert fates[0] == RELAXED
    assert Counter(fates)[CHOICE] >= 1
    assert fates[7] == RELAXATION
    assert all(bool(o.relax_reason) for o in result.outcomes if o.relax_fate in (SINGLE_POINT, CHOICE, RELAXATION))
    assert sum(stage.lost for stage in result.stages) == len(given) - len(result.order)
    assert [stage.name for stage in result.stages] == list(STAGES)
    entered = [stage.entered for stage in result.stages]
    assert entered == [len(given), *(s.entered - s.lost for s in result.stages[:-1])]
    energies = [result.outcomes[k].e_above_hull for k in result.order]
    assert energies == sorted(energies)
    assert energies[0] == -0.03
    assert all(result.structures[k] is not None for k in result.order)
    assert isnan(result.outcomes[1].e_above_hull)
    assert isnan(result.outcomes[1].e_hull_single_point)


def many(potential, prototype, energies, status="converged"):
    """So many crystals of one composition, none equal to another in their volume; all are chosen as lone thirds."""
    names = ["rock salt", "CsCl", "sphalerite", "wurtzite", "rutile", "cuprite", "antifluorite", "ReO3"]
    return [
        potential.knows(prototype(name), energy, energy, status) for name, energy in zip(names, energies, strict=False)
    ]


def all_chosen(monkeypatch):
    monkeypatch.setattr(module, "choose", lambda e_hull, *_, **__: list(range(len(e_hull))))


def test_only_what_may_be_metastable_is_refined(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    result = run_funnel(many(potential, prototype, [0.05, 0.15, 0.16, 0.9]), FLAT, settings())
    assert potential.relaxed == [(False, module.FMAX, 4), (True, module.FINAL_FMAX, 2)]
    assert [o.n_steps for o in result.outcomes] == [14, 14, 7, 7]
    assert result.seconds == [1.0, 1.0, 0.5, 0.5]
    assert len(result.order) == 4


def test_a_finalist_that_cannot_be_refined_stays_as_it_was(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    given = [
        potential.knows(prototype("rutile"), 0.1, 0.05, refined=(nan, "failed")),
        potential.knows(prototype("CsCl"), 0.1, 0.06, refined=(0.04, "converged")),
    ]
    result = run_funnel(given, FLAT, settings())
    assert [o.e_above_hull for o in result.outcomes] == [0.05, 0.04]
    assert result.order == [1, 0]
    assert "not refined" in result.outcomes[0].relax_reason
    assert result.outcomes[0].relax_status == "converged"
    assert [stage.lost for stage in result.stages if stage.name == FINALISTS] == [0]


def test_copies_after_relaxation_leave_the_lowest(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    target = prototype("rutile", 1.02)
    potential.knows(target, nan, 0.03)
    given = [
        potential.knows(prototype("rutile", 1.2), 0.1, 0.05, becomes=prototype("rutile", 1.01)),
        potential.knows(prototype("CsCl"), 0.1, 0.01),
        potential.knows(prototype("rutile", 1.3), 0.1, 0.03, becomes=target),
    ]
    potential.knows(prototype("rutile", 1.01), nan, 0.05)
    result = run_funnel(given, FLAT, settings())
    assert result.order == [1, 2]
    assert result.outcomes[0].relax_fate == COPIES
    assert result.copy_of == [2, None, None]
    assert result.outcomes[2].space_group_relaxed == 136
    kept = [result.structures[k] for k in result.order]
    assert group_equal(kept).tolist() == [0, 1]


def test_energies_are_measured_from_the_hull(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    hull = Hull(
        FLAT.system,
        [
            Phase(name="Nb", formula="Nb", energy=-1.0),
            Phase(name="O", formula="O", energy=-2.0),
            Phase(name="NbO2", formula="NbO2", energy=-3.0),
        ],
    )
    (rutile,) = [potential.knows(prototype("rutile"), -2.5, -2.9)]
    (outcome,) = run_funnel([rutile], hull, settings()).outcomes
    assert outcome.e_hull_single_point == pytest.approx(0.5)
    assert outcome.e_above_hull == pytest.approx(0.1)


@pytest.mark.usefixtures("potential")
def test_nothing_in_nothing_out():
    result = run_funnel([], FLAT, settings())
    assert result.order == result.outcomes == []
    assert [stage.entered for stage in result.stages] == [0] * len(STAGES)


def test_progress_names_the_stage(potential, prototype, monkeypatch):
    def single_points(structures, *_, progress, **__):
        progress("single points", len(structures), len(structures))
        return [1.0] * len(structures)

    monkeypatch.setattr(module, "single_points", single_points)
    seen = []
    run_funnel(many(potential, prototype, [0.1, 0.2]), FLAT, settings(), progress=lambda *told: seen.append(told))
    assert (SINGLE_POINT, 2, 2, "") in seen


def test_settings_can_be_recorded():
    record = settings(limit=5, seed=3).as_record()
    assert json.loads(json.dumps(record)) == record
    assert (record["limit"], record["seed"]) == (5, 3)
    assert record["abort"] == [[10, 0.5], [20, 0.25], [50, 0.15]]
    assert settings().relaxation.abort == module.ABORT
    assert not settings().relaxation.saddle_check
    assert settings().final.fmax == 0.05
    assert settings().final.saddle_check


@pytest.mark.slow
def test_a_run_is_ranked_anew(potential, prototype, dealer, monkeypatch):
    all_chosen(monkeypatch)
    request = GenerationRequest.parse(num=4)
    source = dealer("rock salt", "rutile", "CsCl", "crushed", "fluorite", scales=(1.0,))
    result = run(source, Screen(request, composition_filter(request), source.score))
    by_name = {
        "rock salt": (0.9, 0.2, "converged"),
        "rutile": (0.1, 0.05, "converged"),
        "CsCl": (0.3, nan, "failed"),
        "fluorite": (0.2, 0.9, "aborted"),
    }
    for name, (single_point, energy, status) in by_name.items():
        potential.knows(prototype(name), single_point, energy, status)
    again = with_relaxed(result, run_funnel(result.structures, FLAT, settings()))
    kept = sorted((s for s in again.samples if s.fate == KEPT), key=lambda s: s.rank)
    assert [s.template for s in kept] == ["rutile", "rock salt", "fluorite", "CsCl"]
    assert [s.file for s in kept] == again.names
    assert again.names[0] == "0001_NbO2_sg136"
    assert [s.composition.reduced_formula for s in again.structures] == ["NbO2", "NbO", "NbO2", "NbO"]
    assert len(again.relaxed) == 2
    assert {again.outcomes[s.draw].relax_fate for s in kept[:2]} == {RELAXED}
    assert set(again.outcomes) == {s.draw for s in kept}
    assert again.counts == result.counts
    untouched = [s for s in again.samples if s.fate != KEPT]
    assert untouched == [s for s in result.samples if s.fate != KEPT]


@pytest.mark.slow
def test_a_copy_names_the_sample_it_became(potential, prototype, dealer, monkeypatch):
    all_chosen(monkeypatch)
    request = GenerationRequest.parse(num=2)
    source = dealer("rock salt", "CsCl", scales=(1.0,))
    result = run(source, Screen(request, composition_filter(request), source.score))
    potential.knows(prototype("rock salt"), 0.1, 0.02)
    potential.knows(prototype("CsCl"), 0.1, 0.03, becomes=prototype("rock salt"))
    again = with_relaxed(result, run_funnel(result.structures, FLAT, settings()))
    (copy,) = [o for o in again.outcomes.values() if o.relax_fate == COPIES]
    draw = next(s.draw for s in again.samples if s.template == "rock salt" and s.fate == KEPT)
    assert copy.relax_reason == f"became equal to sample {draw}"
    assert len(again.relaxed) == 1


@pytest.mark.slow
def test_a_toy_potential_goes_all_the_way(toy_calculator, prototype, tmp_path):
    """A real calculator in real worker processes; the result is the same with one and with two, and from the cache."""
    given = [prototype(name) for name in ("rock salt", "CsCl", "rutile")]
    results = []
    for workers, folder in ((1, tmp_path / "one"), (2, tmp_path / "two"), (1, tmp_path / "one")):
        found = run_funnel(given, FLAT, settings(calculator=toy_calculator), workers=workers, folder=folder)
        results.append((found.outcomes, found.order, [s and s.as_dict() for s in found.structures]))
        assert {o.relax_fate for o in found.outcomes} <= {*STAGES, RELAXED}
    assert str(results[0]) == str(results[1]) == str(results[2])
    assert isinstance(given[0], Structure)
