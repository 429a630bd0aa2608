"""What is compared in the benches of the engine."""

import math

import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from pymatgen.io.ase import AseAtomsAdaptor

from crystalgraph.relax.potentials import make_calculator
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.relax.relaxer import relax
from tools.bench.engine import compare, plain_fire, same, unpacked


def ended(energy, seconds=1.0, status="converged"):
    return Relaxation(status=status, energy=energy, seconds=seconds)


def test_rates_are_of_all_crystals_and_energies_of_those_that_both_converged():
    ours = [ended(-1.0), ended(-2.0, 3.0), ended(-3.0, 2.0, "step limit"), ended(-4.0)]
    fire = [(True, -1.004, 4.0), (True, -1.99, 4.0), (True, -3.0, 4.0), (False, -4.0, 8.0)]
    found = compare(ours, fire)
    assert found["converged"] == {"ours": 3, "fire": 3}
    assert found["per_cpu_minute"] == pytest.approx({"ours": 3 / 7 * 60, "fire": 3 / 20 * 60})
    assert found["ratio"] == pytest.approx(20 / 7)
    assert (found["both"], found["within_or_lower"], found["lower"]) == (2, 2, 1)


def test_two_arms_are_the_same_but_for_their_times():
    assert same([ended(-1.0, 1.0)], [ended(-1.0, 2.0)])
    assert not same([ended(-1.0)], [ended(-1.0 - 1e-15)])


def test_plain_fire_ends_where_ours_does_and_says_where_it_cannot(toy_calculator):
    copper = AseAtomsAdaptor.get_structure(bulk("Cu", "fcc", 3.7))
    settings = RelaxSettings(potential=toy_calculator, fmax=0.01)
    calculator = make_calculator(toy_calculator)
    converged, energy, seconds = plain_fire(copper, settings, calculator)
    assert converged
    assert seconds > 0
    assert energy == pytest.approx(relax(copper, settings, calculator=calculator).energy, abs=1e-3)
    assert not plain_fire(copper, RelaxSettings(potential=toy_calculator, fmax=1e-9, max_steps=1), calculator)[0]

    class Broken(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, *_):
            raise RuntimeError("no answer")

    converged, energy, _ = plain_fire(copper, settings, Broken())
    assert not converged
    assert math.isnan(energy)


@pytest.mark.slow
def test_the_peer_has_the_convolutions_of_its_package():
    convolution = pytest.importorskip("sevenn.nn.convolution").IrrepsConvolution
    for calculator, n in ((unpacked("sevennet-0"), 5), (make_calculator("sevennet-0"), 0)):
        assert sum(isinstance(module, convolution) for module in calculator.uncorrected.model.modules()) == n
