import json
from collections import Counter
from math import isnan, nan

import pytest
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import group_equal
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.potentials import DEFAULT
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening import descent, ledger
from crystalgraph.screening.descent import Descent
from crystalgraph.screening.funnel import run_funnel
from crystalgraph.screening.funnel_settings import ABORT, FunnelSettings
from crystalgraph.screening.outcome import (
    CHOICE,
    CONFIRMATION,
    COPIES,
    FINALISTS,
    FIRST_STEPS,
    RELAXATION,
    RELAXED,
    SINGLE_POINT,
    STAGES,
)


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

HULLS = {DEFAULT: FLAT}


class Potential:
    """Energies by volume per atom: (as drawn, after relaxation, status, what it becomes)."""

    def __init__(self):
        self.table = {}
        self.relaxed = []
        self.opinions = {}  # potential -> volume -> (energy, status, what it becomes)

    def knows(self, structure, single_point, energy=nan, status="converged", becomes=None, refined=None):
        self.table[round(structure.volume, 6)] = (single_point, energy, status, becomes or structure, refined)
        return structure

    def single_points(self, structures, potential, **_):
        if potential != DEFAULT:
            return [self.opinions[potential].get(round(s.volume, 6), (nan,))[0] for s in structures]
        return [self.table[round(s.volume, 6)][0] for s in structures]

    def relax_many(self, structures, settings: RelaxSettings, **_):
        if settings.max_steps == FunnelSettings().first_steps:  # nothing moves in so few
            energies = self.single_points(structures, settings.potential)
            return [
                Relaxation(status="step limit", structure=structure, energy=energy)
                for structure, energy in zip(structures, energies, strict=True)
            ]
        self.relaxed.append((settings.saddle_check, settings.fmax, len(structures)))
        found = []
        if settings.potential != DEFAULT:
            answers = [self.opinions[settings.potential][round(structure.volume, 6)] for structure in structures]
            return [
                Relaxation(status=status, reason="", structure=becomes, energy=energy, n_steps=1, seconds=0.1)
                for energy, status, becomes in answers
            ]
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
    monkeypatch.setattr(ledger, "single_points", made.single_points)
    monkeypatch.setattr(ledger, "relax_many", made.relax_many)
    return made


def settings(**options):
    return FunnelSettings(**options)


@pytest.mark.slow
def test_every_crystal_keeps_its_status(potential, prototype):
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
    result = run_funnel(given, HULLS, settings(limit=6, round_size=2, random_share=0.0))

    statuses = [outcome.funnel_status for outcome in result.outcomes]
    # CsCl has no energy; of the seven that have one, the highest is not chosen.
    assert statuses[1] == SINGLE_POINT
    assert statuses[0] == RELAXED
    assert Counter(statuses)[CHOICE] == 1
    assert statuses[3] == CHOICE
    assert statuses[7] == RELAXATION
    assert all(bool(o.funnel_reason) for o in result.outcomes if o.funnel_status in (SINGLE_POINT, CHOICE, RELAXATION))
    assert sum(stage.lost for stage in result.stages) == len(given) - len(result.order)
    assert [stage.name for stage in result.stages] == list(STAGES)
    *before, confirmation, copies = result.stages
    assert [s.entered for s in (*before, copies)] == [len(given), *(s.entered - s.lost for s in before)]
    assert confirmation.entered == copies.entered - copies.lost
    energies = [result.outcomes[k].e_above_hull for k in result.order]
    assert energies == sorted(energies)
    assert energies[0] == -0.03
    assert all(result.structures[k] is not None for k in result.order)
    assert isnan(result.outcomes[1].e_above_hull)
    assert isnan(result.outcomes[1].e_above_hull_unrelaxed)


def many(potential, prototype, energies, status="converged"):
    """So many crystals of one composition, none equal to another in their volume; all are chosen as lone thirds."""
    names = ["rock salt", "CsCl", "sphalerite", "wurtzite", "rutile", "cuprite", "antifluorite", "ReO3"]
    return [
        potential.knows(prototype(name), energy, energy, status) for name, energy in zip(names, energies, strict=False)
    ]


def all_chosen(monkeypatch):
    monkeypatch.setattr(descent, "choose", lambda e_hull, *_, **__: list(range(len(e_hull))))
    monkeypatch.setattr(FunnelSettings, "round_size", 100)


def test_only_what_may_be_metastable_is_refined(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    result = run_funnel(many(potential, prototype, [0.05, 0.2, 0.21, 0.9]), HULLS, settings())
    assert potential.relaxed == [(False, 0.1, 4), (True, 0.05, 2)]
    assert [o.n_steps for o in result.outcomes] == [14, 14, 7, 7]
    assert result.seconds == [1.0, 1.0, 0.5, 0.5]
    assert len(result.order) == 4


def test_a_finalist_that_cannot_be_refined_stays_as_it_was(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    given = [
        potential.knows(prototype("rutile"), 0.1, 0.05, refined=(nan, "failed")),
        potential.knows(prototype("CsCl"), 0.1, 0.06, refined=(0.04, "converged")),
    ]
    result = run_funnel(given, HULLS, settings())
    assert [o.e_above_hull for o in result.outcomes] == [0.05, 0.04]
    assert result.order == [1, 0]
    assert "not refined" in result.outcomes[0].funnel_reason
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
    result = run_funnel(given, HULLS, settings())
    assert result.order == [1, 2]
    assert result.outcomes[0].funnel_status == COPIES
    assert result.copy_of == [2, None, None]
    assert result.outcomes[2].relaxed_space_group == 136
    kept = [result.structures[k] for k in result.order]
    assert group_equal(kept).tolist() == [0, 1]


def test_copies_are_looked_for_before_the_confirmation_and_after_it(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    given = [
        potential.knows(prototype("rutile", 1.2), 0.1, 0.03, becomes=prototype("rutile", 1.01)),
        potential.knows(prototype("rutile", 1.3), 0.1, 0.05, becomes=prototype("rutile", 1.02)),
        potential.knows(prototype("CsCl"), 0.1, 0.04),
        potential.knows(prototype("wurtzite"), 0.1, 0.06),
    ]
    for scale, energy in ((1.01, 0.03), (1.02, 0.05)):
        potential.knows(prototype("rutile", scale), nan, energy)
    turns_into = {0: prototype("rutile", 1.015), 2: given[2], 3: prototype("CsCl", 1.01)}
    starts = {0: prototype("rutile", 1.01), 2: given[2], 3: given[3]}  # the other confirms no other crystal
    potential.opinions["other"] = {
        round(starts[k].volume, 6): (0.01 * k, "converged", after) for k, after in turns_into.items()
    }
    result = run_funnel(given, dict.fromkeys((DEFAULT, "other"), FLAT), settings(confirm=("other",)))
    assert result.copy_of == [None, 0, None, 2]
    assert result.order == [0, 2]
    (copies,) = [stage for stage in result.stages if stage.name == COPIES]
    assert (copies.entered, copies.lost) == (4, 2)


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
    (outcome,) = run_funnel([rutile], {DEFAULT: hull}, settings()).outcomes
    assert outcome.e_above_hull_unrelaxed == pytest.approx(0.5)
    assert outcome.e_above_hull == pytest.approx(0.1)


def test_others_relax_the_finalists_further_and_the_first_ranks(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    given = many(potential, prototype, [0.03, 0.05, 0.15, 0.4])
    ranked = [structure.copy().scale_lattice(structure.volume * 1.01) for structure in given[:2]]
    first = [(0.09, "converged", ranked[0]), (-0.02, "converged", ranked[1]), (nan, "failed", None)]
    second = [(0.11, "converged", ranked[0]), (0.02, "converged", ranked[1]), (0.08, "converged", given[2])]
    potential.opinions = {
        "first": {round(s.volume, 6): answer for s, answer in zip(given, first, strict=False)},
        "second": {round(answer[2].volume, 6): answer for answer in second},
    }
    hulls = dict.fromkeys((DEFAULT, "first", "second"), FLAT)
    result = run_funnel(given, hulls, settings(confirm=("first", "second")))

    assert result.judges == (DEFAULT, "first", "second")
    assert [o.e_above_hull for o in result.outcomes] == [0.09, -0.02, 0.15, 0.4]
    assert [o.ranked_by for o in result.outcomes] == ["first", "first", DEFAULT, DEFAULT]
    assert result.order == [1, 0, 2, 3]
    assert result.outcomes[0].e_above_hull_by == {DEFAULT: 0.03, "first": 0.09, "second": 0.11}
    assert result.outcomes[0].e_above_hull_spread == pytest.approx(0.08)
    # One says more than 0.1; all say less; one has no answer but another says more; the first says far more.
    assert [o.agreed_metastable for o in result.outcomes] == [False, True, False, False]
    assert "first: failed" in result.outcomes[2].funnel_reason
    assert isnan(result.outcomes[2].e_above_hull_by["first"])
    assert isnan(result.outcomes[3].e_above_hull_spread)
    assert result.structures[0] == ranked[0]
    assert [stage.lost for stage in result.stages if stage.name == CONFIRMATION] == [0]


def test_agreement_needs_every_answer(potential, prototype, monkeypatch):
    all_chosen(monkeypatch)
    (given,) = many(potential, prototype, [0.03])
    potential.opinions["other"] = {round(given.volume, 6): (nan, "failed", None)}
    (outcome,) = run_funnel([given], dict.fromkeys((DEFAULT, "other"), FLAT), settings(confirm=("other",))).outcomes
    assert outcome.agreed_metastable is None
    assert (outcome.e_above_hull, outcome.ranked_by) == (0.03, DEFAULT)


@pytest.mark.usefixtures("potential")
def test_nothing_in_nothing_out():
    result = run_funnel([], HULLS, settings())
    assert result.order == result.outcomes == []
    assert [stage.entered for stage in result.stages] == [0] * len(STAGES)


def test_progress_names_the_stage(potential, prototype, monkeypatch):
    def single_points(structures, *_, progress, **__):
        progress("single points", len(structures), len(structures))
        return [1.0] * len(structures)

    monkeypatch.setattr(ledger, "single_points", single_points)
    seen = []
    run_funnel(many(potential, prototype, [0.1, 0.2]), HULLS, settings(), progress=lambda *told: seen.append(told))
    assert (SINGLE_POINT, 2, 2, "") in seen


def test_the_potential_that_ranks_chooses_among_those_that_began(potential, prototype):
    """By the first potential rutile is lower; the other one, whose word counts at the end, says CsCl."""
    given = many(potential, prototype, [0.15, 0.10])
    potential.opinions["other"] = {
        round(s.volume, 6): (energy, "converged", s) for s, energy in zip(given, (0.02, 0.19), strict=True)
    }
    hulls = dict.fromkeys((DEFAULT, "other"), FLAT)
    first, second = (
        run_funnel(given, hulls, settings(confirm=confirm, limit=1, random_share=0.0)).outcomes
        for confirm in ((), ("other",))
    )
    assert [o.funnel_status for o in first] == [CHOICE, RELAXED]
    assert [o.funnel_status for o in second] == [RELAXED, CHOICE]


def test_what_fails_in_its_first_steps_is_lost_there_with_its_reason(potential, prototype, monkeypatch):
    given = many(potential, prototype, [0.15, 0.10])
    relax = potential.relax_many

    def fails_for_the_second(structures, settings, **options):
        found = relax(structures, settings, **options)
        lost = Relaxation(status="unbelievable", reason="it exploded")
        return [lost if structure == given[1] else one for structure, one in zip(structures, found, strict=True)]

    monkeypatch.setattr(ledger, "relax_many", fails_for_the_second)
    result = run_funnel(given, HULLS, settings())
    assert [o.funnel_status for o in result.outcomes] == [RELAXED, FIRST_STEPS]
    assert result.outcomes[1].funnel_reason == "it exploded"
    assert [(stage.entered, stage.lost) for stage in result.stages if stage.name == FIRST_STEPS] == [(2, 1)]


@pytest.mark.parametrize(("limit", "n_relaxed"), [(None, 8), (2, 2), (5, 5)])
def test_the_limit_says_how_many_are_relaxed(potential, prototype, limit, n_relaxed):
    result = run_funnel(many(potential, prototype, [0.9] * 8), HULLS, settings(limit=limit, round_size=3))
    assert [stage.entered for stage in result.stages if stage.name == RELAXATION] == [n_relaxed]
    rounds = [n for saddle_check, _, n in potential.relaxed if not saddle_check and n]
    assert max(rounds) <= 3


class TestPrototypes:
    """What known crystals with other elements became competes."""

    def test_it_is_on_the_hull(self, potential, prototype, monkeypatch):
        all_chosen(monkeypatch)
        given = many(potential, prototype, [-0.2, -0.1, 0.1])
        result = judged(given, [True, False, False])
        composition = given[1].composition
        assert result.hulls[DEFAULT].energy_at(composition) == pytest.approx(-0.2)  # the lower NbO is on it
        assert [o.e_above_hull for o in result.outcomes[:2]] == pytest.approx([0.0, 0.1])
        assert "0.200 eV/atom below the hull of the known phases" in result.outcomes[0].funnel_reason
        assert FLAT.energy_at(composition) == 0

    def test_without_them_the_hull_stays(self, potential, prototype, monkeypatch):
        all_chosen(monkeypatch)
        result = judged(many(potential, prototype, [-0.2, -0.1]), [False, False])
        assert [o.e_above_hull for o in result.outcomes] == pytest.approx([-0.2, -0.1])
        assert result.hulls[DEFAULT] is FLAT

    @pytest.mark.parametrize(("energy", "stands"), [(0.034, True), (0.04, False)])
    def test_it_stands_for_copies_that_are_no_lower(self, potential, prototype, monkeypatch, energy, stands):
        all_chosen(monkeypatch)
        lower = potential.knows(prototype("rutile", 1.2), 0.1, 0.03, becomes=prototype("rutile", 1.01))
        higher = potential.knows(prototype("rutile", 1.3), 0.1, energy, becomes=prototype("rutile", 1.011))
        potential.knows(prototype("rutile", 1.01), nan, 0.03)
        potential.knows(prototype("rutile", 1.011), nan, energy)
        assert judged([lower, higher], [False, True]).copy_of == ([1, None] if stands else [None, 0])
        assert judged([lower, higher], [False, False]).copy_of == [None, 0]

    def test_it_is_on_all_hulls_though_a_lower_crystal_is_equal_to_it(self, potential, prototype, monkeypatch):
        all_chosen(monkeypatch)
        given = [
            potential.knows(prototype("rutile", 1.01), 0.1, -0.05),
            potential.knows(prototype("rutile", 1.02), 0.1, -0.03),
        ]
        potential.opinions["other"] = {
            round(s.volume, 6): (energy, "converged", s) for s, energy in zip(given, (-0.06, -0.04), strict=True)
        }
        running = Descent(dict.fromkeys((DEFAULT, "other"), FLAT), settings(confirm=("other",)), None)
        running.enter(given, [False, True])
        running.relax(100)
        result = running.finish()
        assert result.copy_of == [None, 0]
        for judge, energy in ((DEFAULT, -0.03), ("other", -0.04)):
            assert result.hulls[judge].energy_at(given[0].composition) == pytest.approx(energy)
        assert result.outcomes[0].e_above_hull == pytest.approx(-0.02)

    @pytest.mark.usefixtures("potential")
    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_they_have_a_share_of_the_relaxations(self, potential, prototype, share):
        """Though the others lie lower."""
        given = many(potential, prototype, [0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1])
        running = Descent(HULLS, settings(prototype_share=share, random_share=0.0), None)
        running.enter(given, [True] * 4 + [False] * 4)
        running.relax(4)
        relaxed = [outcome.funnel_status == RELAXED for outcome in running.outcomes]
        assert sum(relaxed[:4]) == round(4 * share)
        assert sum(relaxed) == 4


class TestCopies:
    """Crystals that are equal to one that entered, compared with it by their energies as drawn."""

    @pytest.fixture
    def entered(self, potential, prototype):
        """A descent with two crystals, rutile at 0.3 and rock salt at 0.2 eV/atom."""
        given = [
            potential.knows(prototype("rutile"), 0.3, 0.1),
            potential.knows(prototype("rock salt"), 0.2, 0.15),
        ]
        running = Descent(HULLS, settings(), None)
        running.enter(given)
        return running

    def test_the_lowest_takes_the_place(self, entered, potential, prototype):
        energies = {1.01: 0.25, 1.02: 0.22, 1.03: 0.24, 1.04: nan}
        copies = [potential.knows(prototype("rutile", scale), e, 0.05) for scale, e in energies.items()]
        copies.append(potential.knows(prototype("rock salt", 1.01), 0.19999, 0.01))  # no lower than it
        assert entered.prefer_lower([(0, s) for s in copies[:-1]] + [(1, copies[-1])]) == [1]
        assert [outcome.e_above_hull_unrelaxed for outcome in entered.outcomes] == [0.22, 0.2]
        entered.relax(2)
        result = entered.finish()
        assert [outcome.e_above_hull for outcome in result.outcomes] == [0.05, 0.15]
        assert result.structures[0].volume == pytest.approx(copies[1].volume)
        single_point = next(stage for stage in result.stages if stage.name == SINGLE_POINT)
        assert (single_point.entered, single_point.lost) == (2, 0)

    def test_it_takes_the_place_of_what_has_no_energy(self, potential, prototype):
        running = Descent(HULLS, settings(), None)
        running.enter([potential.knows(prototype("rutile"), nan, nan), potential.knows(prototype("CsCl"), 0.2, 0.1)])
        assert running.outcomes[0].funnel_status == SINGLE_POINT
        copies = [potential.knows(prototype("rutile", scale), e, 0.05) for scale, e in ((1.01, nan), (1.02, 0.3))]
        assert running.prefer_lower([(0, copy) for copy in copies]) == [1]
        running.relax(2)
        result = running.finish()
        assert [outcome.funnel_status for outcome in result.outcomes] == [RELAXED, RELAXED]
        assert result.outcomes[0].funnel_reason == ""
        assert sum(stage.lost for stage in result.stages) == 0

    def test_none_takes_the_place_of_what_has_begun(self, entered, potential, prototype):
        entered.relax(2)
        assert entered.prefer_lower([(0, potential.knows(prototype("rutile", 1.01), 0.0, 0.0))]) == []
        assert entered.outcomes[0].e_above_hull_unrelaxed == 0.3


def judged(given, from_prototype):
    running = Descent(HULLS, settings(), None)
    running.enter(given, from_prototype)
    running.relax(100)
    return running.finish()


def test_settings_can_be_recorded():
    record = settings(limit=5, seed=3).as_record()
    assert json.loads(json.dumps(record)) == record
    assert (record["limit"], record["seed"]) == (5, 3)
    assert record["abort"] == [[10, 0.5], [20, 0.3], [50, 0.2]]
    assert settings().relaxation.abort == ABORT
    assert not settings().relaxation.saddle_check
    assert settings().final.fmax == 0.05
    assert settings().final.saddle_check


@pytest.mark.slow
def test_a_toy_potential_goes_all_the_way(toy_calculator, prototype, tmp_path):
    """A real calculator in real worker processes; the result is the same with one and with two, and from the cache."""
    given = [prototype(name) for name in ("rock salt", "CsCl", "rutile")]
    results = []
    for workers, folder in ((1, tmp_path / "one"), (2, tmp_path / "two"), (1, tmp_path / "one")):
        found = run_funnel(
            given, {toy_calculator: FLAT}, settings(potential=toy_calculator), workers=workers, folder=folder
        )
        results.append((found.outcomes, found.order, [s and s.as_dict() for s in found.structures]))
        assert {o.funnel_status for o in found.outcomes} <= {*STAGES, RELAXED}
    assert str(results[0]) == str(results[1]) == str(results[2])
    assert isinstance(given[0], Structure)
