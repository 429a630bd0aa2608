import pickle
import re
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition

import crystalgraph
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.errors import InputError
from crystalgraph.relax.hull import METASTABLE, Hull, Phase, hull_error

NB_O = ChemicalSystem.parse("Nb-O")
# Formation energies −1 at x = 1/2 and −1.2 at x = 2/3: both on the hull; −0.3 at x = 1/4 is 0.2 above the line to −1.
PHASES = [
    Phase(name="Nb", formula="Nb", energy=-10.0),
    Phase(name="bad Nb", formula="Nb4", energy=-9.0),
    Phase(name="O", formula="O", energy=-5.0),
    Phase(name="NbO", formula="NbO", energy=-8.5, dft_e_form=-1.1, dft_e_above_hull=0.0),
    Phase(name="NbO2", formula="Nb2O4", energy=-20 / 3 - 1.2, dft_e_form=-1.0, dft_e_above_hull=0.1),
    Phase(name="Nb3O", formula="Nb3O", energy=-8.75 - 0.3),
]
HULL = Hull(NB_O, PHASES)


def on_the_line(x_oxygen):
    """Hull energy by hand: straight lines between the formation energies."""
    return -10 + 5 * x_oxygen + np.interp(x_oxygen, [0, 1 / 2, 2 / 3, 1], [0, -1, -1.2, 0])


@pytest.mark.parametrize("formula", ["Nb", "Nb6O", "Nb12O12", "Nb3O4", "NbO2", "Nb2O5", "NbO7", "O2"])
def test_distances_are_those_of_the_straight_lines(formula):
    composition = Composition(formula)
    expected = on_the_line(composition.get_atomic_fraction("O"))
    assert HULL.energy_at(formula) == pytest.approx(expected)
    assert HULL.e_above_hull(composition, expected + 0.07) == pytest.approx(0.07)
    assert HULL.e_above_hull({"Nb": composition["Nb"], "O": composition["O"]}, expected - 0.5) == pytest.approx(-0.5)


def test_what_the_phases_themselves_are():
    above = {phase.name: HULL.e_above_hull(phase.formula, phase.energy) for phase in PHASES}
    expected = {"Nb": 0, "bad Nb": 1, "O": 0, "NbO": 0, "NbO2": 0, "Nb3O": 0.2}
    assert above == pytest.approx(expected, abs=1e-9)
    assert [phase.name for phase in HULL.stable_phases()] == ["Nb", "O", "NbO", "NbO2"]
    assert HULL.formation_energy("Nb3O", -9.05) == pytest.approx(-0.3)
    assert HULL.formation_energy("Nb", -9.0) == pytest.approx(1.0)
    assert HULL.decomposition("Nb3O") == pytest.approx({"Nb": 0.5, "NbO": 0.5})
    assert HULL.decomposition("Nb3O4") == pytest.approx({"NbO": 4 / 7, "NbO2": 3 / 7})


def test_order_and_multiples_do_not_matter():
    other = Hull(NB_O, [Phase(name=p.name, formula=f"({p.formula})3", energy=p.energy) for p in reversed(PHASES)])
    assert other.energy_at("Nb3O4") == pytest.approx(HULL.energy_at("Nb3O4"))


def test_identity():
    assert Hull(NB_O, PHASES[::-1]).identity() == HULL.identity()
    assert Hull(NB_O, PHASES[:-1]).identity() != HULL.identity()
    moved = [*PHASES[:-1], Phase(name="Nb3O", formula="Nb3O", energy=np.nextafter(PHASES[-1].energy, 0))]
    assert Hull(NB_O, moved).identity() != HULL.identity()


def test_a_pickled_hull_is_the_same():
    HULL.energy_at("NbO")
    again = pickle.loads(pickle.dumps(Hull(NB_O, PHASES, left_out={"x": "failed"})))
    assert again.identity() == HULL.identity()
    assert again.energy_at("Nb3O4") == HULL.energy_at("Nb3O4")
    assert again.left_out == {"x": "failed"}


def test_one_element_and_three():
    alone = Hull(ChemicalSystem.parse("Nb"), PHASES[:2])
    assert alone.e_above_hull("Nb2", -9.4) == pytest.approx(0.6)
    ternary = Hull(ChemicalSystem.parse("Li-Nb-O"), [*PHASES, Phase(name="Li", formula="Li", energy=-2.0)])
    assert ternary.energy_at("Nb3O4") == pytest.approx(HULL.energy_at("Nb3O4"))
    assert ternary.energy_at("LiNbO") == pytest.approx((-2 - 17) / 3)


def test_nan_stays_nan():
    assert isnan(HULL.e_above_hull("NbO", nan))


def test_mistakes():
    with pytest.raises(InputError, match="no reference energy for O in Nb-O"):
        Hull(NB_O, PHASES[:2])
    with pytest.raises(InputError, match=r"TiO.*outside"):
        Hull(NB_O, [*PHASES, Phase(name="x", formula="TiO", energy=-8.0)])
    with pytest.raises(InputError, match="no finite energy"):
        Hull(NB_O, [*PHASES, Phase(name="x", formula="NbO", energy=nan)])
    with pytest.raises(InputError, match="TiO2 is outside the chemical system Nb-O"):
        HULL.e_above_hull("TiO2", -8.0)


def test_error_against_dft():
    error = hull_error(HULL)
    assert [row["name"] for row in error.rows] == ["NbO", "NbO2"]
    assert error.formation_energy.n == error.e_above_hull.n == 2
    assert error.formation_energy.mae == pytest.approx((0.1 + 0.2) / 2)
    assert error.formation_energy.bias == pytest.approx((0.1 - 0.2) / 2)
    assert error.formation_energy.max_abs == pytest.approx(0.2)
    assert error.e_above_hull.bias == pytest.approx((0 - 0.1) / 2)
    dft = HULL.dft_hull()
    assert dft.energy_at("NbO") == pytest.approx(-1.1)
    assert dft.e_above_hull("Nb2O4", -1.0) == pytest.approx(0)


def test_error_of_nothing():
    bare = Hull(NB_O, [phase for phase in PHASES if phase.dft_e_form is None])
    assert hull_error(bare).formation_energy.n == 0
    assert isnan(hull_error(bare).formation_energy.mae)
    assert bare.dft_hull() is None


def test_the_threshold_of_the_metastable_has_one_home():
    package = Path(crystalgraph.__file__).parent
    texts = {file.relative_to(package).as_posix(): file.read_text() for file in package.rglob("*.[pj][ys]")}
    definition, comparison = re.compile(r"^\w*METASTABLE\w* *=", re.M), re.compile(rf"[<>]=? *{METASTABLE}\b(?! eV)")
    assert [name for name, text in texts.items() if definition.search(text)] == ["relax/hull.py"]
    assert [name for name, text in texts.items() if comparison.search(text)] == []


@pytest.mark.parametrize("at", ["Nb", "Nb3O", "NbO", "Nb3O4", "NbO2", "Nb2O5", "O2"])
def test_a_phase_lowers_the_hull_somewhere_only_if_it_falls_below_the_plane_there(at):
    for phase in PHASES:
        distance = HULL.above_plane(phase.formula, phase.energy, at)
        assert distance >= HULL.e_above_hull(phase.formula, phase.energy) - 1e-9
        others = [other for other in PHASES if other is not phase]
        if distance > 1e-9:
            lower = replace(phase, energy=phase.energy - distance + 1e-9)
            assert Hull(NB_O, [*others, lower]).energy_at(at) == pytest.approx(HULL.energy_at(at), abs=1e-12)
        lower = replace(phase, energy=phase.energy - max(distance, 0) - 5.0)
        if phase.formula != "O" or at != "Nb":
            assert Hull(NB_O, [*PHASES, lower]).energy_at(at) <= HULL.energy_at(at)


def test_bounds_do_not_count_as_errors():
    rows = [row["name"] for row in hull_error(HULL).rows]
    bound = Hull(NB_O, [replace(phase, is_bound=phase.name == "NbO") for phase in PHASES])
    assert rows == ["NbO", "NbO2"]
    assert [row["name"] for row in hull_error(bound).rows] == ["NbO2"]
