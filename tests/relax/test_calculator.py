import hashlib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from crystalgraph.errors import InputError
from crystalgraph.relax import calculator
from crystalgraph.relax.calculator import CHGNET, calculator_identity, make_calculator

MOVE, STRAIN = 0.004, 0.001  # Å, and a fraction of the cell; the energy is in single precision


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mace", "unknown calculator 'mace'; allowed are 'chgnet'"),
        ("", "unknown calculator ''"),
        ("ase.calculators.emt:", "unknown calculator"),
        ("no_such_module:make", "cannot be imported"),
        ("ase.calculators.emt:NoSuch", "no callable 'NoSuch'"),
        ("stand_ins:not_callable", "no callable 'not_callable'"),
        ("stand_ins:NoStress", "does not compute stress"),
    ],
)
def test_a_wrong_name_is_the_users_mistake(name, complaint):
    with pytest.raises(InputError, match=complaint):
        make_calculator(name)


def test_any_ase_calculator_can_be_named():
    assert isinstance(make_calculator("ase.calculators.emt:EMT"), EMT)


def test_without_chgnet_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(calculator, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r'pip install "crystalgraph\[relax\]"'):
        make_calculator(CHGNET)
    calculator_identity.cache_clear()
    with pytest.raises(InputError, match=r'pip install "crystalgraph\[relax\]"'):
        calculator_identity(CHGNET)


@pytest.mark.slow
def test_identity_changes_with_the_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number in (1, 2):
        (tmp_path / f"made_{number}.py").write_text(f"from ase.calculators.emt import EMT as Make\nx = {number}\n")
    one, two = calculator_identity("made_1:Make"), calculator_identity("made_2:Make")
    assert one["sha256"] == hashlib.sha256((tmp_path / "made_1.py").read_bytes()).hexdigest() != two["sha256"]
    assert calculator_identity("ase.calculators.emt:EMT")["version"]


def test_identity_of_chgnet_is_that_of_the_weights_in_its_wheel():
    chgnet = pytest.importorskip("chgnet")
    (weights,) = Path(chgnet.__path__[0]).glob("pretrained/0.3.0/*.tar")
    identity = calculator_identity(CHGNET)
    assert identity["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert identity["weights"] == "0.3.0"
    assert identity["version"]


@pytest.mark.slow
def test_chgnet_gives_the_whole_cell_with_consistent_derivatives(chgnet):
    atoms = bulk("NbO", "rocksalt", a=4.3)
    atoms.rattle(0.08, seed=1)
    atoms.calc = chgnet
    energy = atoms.get_potential_energy()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)  # with and without derivatives
    for axis in range(3):
        moved, strained = [], []
        for sign in (-1, 1):
            other = atoms.copy()
            other.positions[0, axis] += sign * MOVE
            moved.append(energy_of(other, chgnet))
            other = atoms.copy()
            scale = np.ones(3)
            scale[axis] += sign * STRAIN
            other.set_cell(atoms.cell.array * scale, scale_atoms=True)
            strained.append(energy_of(other, chgnet))
        force = -(moved[1] - moved[0]) / (2 * MOVE)
        assert forces[0, axis] == pytest.approx(force, abs=0.02)
        slope = (strained[1] - strained[0]) / (2 * STRAIN) / atoms.get_volume()
        assert stress[axis] == pytest.approx(slope, abs=2e-3)
    assert np.abs(stress).max() > 0.05
    assert np.abs(forces).max() > 0.2
    large = atoms * (2, 1, 1)
    large.calc = chgnet
    assert large.get_potential_energy() == pytest.approx(2 * energy, abs=1e-4)


def energy_of(atoms, calculator):
    atoms.calc = calculator
    return atoms.get_potential_energy()
