import hashlib
import json
import os
import pickle
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from crystalgraph.errors import InputError
from crystalgraph.relax import loading, potentials
from crystalgraph.relax.loading import checked_bytes, checksum, unpacked
from crystalgraph.relax.potentials import (
    CHGNET,
    DIEP,
    FETCHING,
    POTENTIALS,
    SEVENNET_0,
    SEVENNET_L3I5,
    WITH_WEIGHTS,
    check_judges,
    make_calculator,
    potential_identity,
    usual_confirmation,
)

ORB = "orb_models.forcefield.inference.calculator"
MOVE, STRAIN = 0.004, 0.001  # Å, and a fraction of the cell; energies are in single precision
SHIPPED = [potential.name for potential in WITH_WEIGHTS]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mace", "unknown potential 'mace'; allowed are sevennet-0"),
        ("", "unknown potential ''"),
        ("ase.calculators.emt:", "unknown potential"),
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


@pytest.mark.parametrize("name", list(POTENTIALS))
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setattr(potentials, "find_spec", lambda _name: None)
    potential_identity.cache_clear()
    for ask in (make_calculator, potential_identity):
        with pytest.raises(InputError) as refused:
            ask(name)
        assert POTENTIALS[name].label in str(refused.value)
        assert "pip install" in str(refused.value)


def test_records_are_whole():
    for potential in POTENTIALS.values():
        assert potential.licence
        assert potential.citation
        assert potential.learned_from
        assert hasattr(loading, potential.make)
        assert bool(potential.weights) == bool(potential.sha256) == (potential in WITH_WEIGHTS)
        assert (potential.scale == "own") == (not potential.element_energy)


@pytest.mark.parametrize("potential", FETCHING, ids=lambda potential: potential.name)
def test_potentials_that_fetch_are_made_as_their_packages_make_them(potential, monkeypatch, tmp_path):
    """Stand-ins for the packages: what is called, and that the corrections are added."""

    class Maker:
        """Called, it makes a calculator; everything that it has is another."""

        def __call__(self, *_, **options):
            return (Maker(), Maker()) if "precision" in options else EMT()

        def __getattr__(self, _name):
            return Maker()

    class Package(ModuleType):
        __path__ = ()

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Maker()

    names = {
        "mace": ["mace", "mace.calculators"],
        "orb_models": ["orb_models", "orb_models.forcefield", "orb_models.forcefield.inference", ORB],
        "mattersim": ["mattersim", "mattersim.forcefield"],
        "upet": ["upet", "upet.ase"],
        "tensorpotential": ["tensorpotential", "tensorpotential.calculator"],
    }[potential.package]
    for name in names:
        monkeypatch.setitem(__import__("sys").modules, name, Package(name))
    monkeypatch.setattr(type(potential), "folder", tmp_path)
    oxide = bulk("CuO", "rocksalt", a=4.3)
    oxide.calc = make_calculator(potential.name)
    corrected = oxide.get_potential_energy()
    oxide.calc = EMT()
    assert corrected == pytest.approx(oxide.get_potential_energy() - 0.687)


@pytest.mark.slow
def test_identity_changes_with_the_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number in (1, 2):
        (tmp_path / f"made_{number}.py").write_text(f"from ase.calculators.emt import EMT as Make\nx = {number}\n")
    one, two = potential_identity("made_1:Make"), potential_identity("made_2:Make")
    assert one["sha256"] == hashlib.sha256((tmp_path / "made_1.py").read_bytes()).hexdigest() != two["sha256"]
    assert potential_identity("ase.calculators.emt:EMT")["version"]


@pytest.mark.parametrize("name", SHIPPED)
def test_identity_is_that_of_the_weights_in_the_wheel(name):
    potential_identity.cache_clear()
    potential = POTENTIALS[name]
    package = Path(find_spec(potential.package).origin).parent
    digests = [hashlib.sha256((package / file).read_bytes()).hexdigest() for file in potential.weights]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    identity = potential_identity(name)
    assert identity["sha256"] == whole
    assert identity["version"]


def test_judges_are_known_and_named_once():
    assert check_judges(SEVENNET_0, usual_confirmation(SEVENNET_0)) == (SEVENNET_0, SEVENNET_L3I5, DIEP)
    assert usual_confirmation(CHGNET) == ()
    with pytest.raises(InputError, match="named twice"):
        check_judges(CHGNET, [CHGNET])
    with pytest.raises(InputError, match="unknown potential 'chgent'"):
        check_judges(SEVENNET_0, ["chgent"])


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("pack", [pickle.dumps, None], ids=["pickle", "torch"])
def test_a_hostile_pickle_is_not_executed_by_the_reader_of_weights(tmp_path, pack):
    file, trap = tmp_path / "weights", tmp_path / "sprung"
    if pack is None:
        torch.save({"model": Hostile(trap)}, file)
    else:
        file.write_bytes(pack(Hostile(trap)))
    with pytest.raises(InputError, match="more than numbers"):
        unpacked(file.read_bytes())
    assert not trap.exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_hostile_pickle_in_place_of_the_weights_is_not_executed(name, tmp_path, monkeypatch):
    potential, trap = POTENTIALS[name], tmp_path / "sprung"
    for file in potential.weights:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": Hostile(trap)}, tmp_path / file)
    monkeypatch.setattr(type(potential), "folder", tmp_path)
    potential_identity.cache_clear()
    for ask in (make_calculator, potential_identity):
        with pytest.raises(InputError, match=r"have SHA-256 .* install it again"):
            ask(name)
    assert not trap.exists()
    potential_identity.cache_clear()


def test_a_checksum_is_that_of_a_file_and_of_several(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert checksum([b"1"]) == hashlib.sha256(b"1").hexdigest()
    assert checked_bytes([one, two], checksum([b"1", b"2"]), "again") == [b"1", b"2"]
    with pytest.raises(InputError, match=r"not .*; again"):
        checked_bytes([two, one], checksum([b"1", b"2"]), "again")
    with pytest.raises(InputError, match="cannot be read"):
        checked_bytes([tmp_path / "none"], "", "again")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_potential_gives_the_whole_cell_with_consistent_derivatives(name):
    calculator = make_calculator(name)
    atoms = bulk("NbO", "rocksalt", a=4.3)
    atoms.rattle(0.08, seed=1)
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=2e-5)  # with and without derivatives
    for axis in range(3):
        moved, strained = [], []
        for sign in (-1, 1):
            other = atoms.copy()
            other.positions[0, axis] += sign * MOVE
            moved.append(energy_of(other, calculator))
            other = atoms.copy()
            scale = np.ones(3)
            scale[axis] += sign * STRAIN
            other.set_cell(atoms.cell.array * scale, scale_atoms=True)
            strained.append(energy_of(other, calculator))
        force = -(moved[1] - moved[0]) / (2 * MOVE)
        assert forces[0, axis] == pytest.approx(force, abs=0.02)
        slope = (strained[1] - strained[0]) / (2 * STRAIN) / atoms.get_volume()
        assert stress[axis] == pytest.approx(slope, abs=2e-3)
    large = atoms * (2, 1, 1)
    large.calc = calculator
    assert large.get_potential_energy() == pytest.approx(2 * energy, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SEVENNET_0, DIEP])
def test_an_element_that_was_not_learned_is_named(name):
    heavy = bulk("Og", "fcc", a=5.0)
    heavy.calc = make_calculator(name)
    with pytest.raises(ValueError, match=f"{POTENTIALS[name].label} has not learned Og"):
        heavy.get_potential_energy()


def test_no_loader_of_the_package_unpickles():
    """Neither pickle nor torch's reader of anything, anywhere in the package."""
    package = Path(potentials.__file__).parents[1]
    for file in package.rglob("*.py"):
        text = file.read_text()
        assert "import pickle" not in text, file
        assert "weights_only=False" not in text, file
        assert "allow_pickle=True" not in text, file
        assert text.count("torch.load(") == text.count("weights_only=True") or "torch.load(" not in text, file


def energy_of(atoms, calculator):
    atoms.calc = calculator
    return atoms.get_potential_energy()


def test_records_are_json():
    assert json.loads(json.dumps(potential_identity(SEVENNET_0))) == potential_identity(SEVENNET_0)
