"""The Materials Project's corrections, checked against pymatgen's table and against its own entries."""

import re
from pathlib import Path

import pymatgen.analysis.compatibility
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from monty.serialization import loadfn
from pymatgen.core import Lattice, Structure

from crystalgraph.io.datasets import load_dft_hull
from crystalgraph.known.phases import known_phases
from crystalgraph.relax import mp2020
from crystalgraph.relax.mp2020 import MP2020, correction


def rock_salt(*elements):
    return Structure.from_spacegroup(225, Lattice.cubic(4.3), elements, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_documented_corrections_are_those_of_pymatgen():
    folder = Path(pymatgen.analysis.compatibility.__path__[0])
    corrections = loadfn(folder / "MP2020Compatibility.yaml")["Corrections"]
    metals = corrections["GGAUMixingCorrections"]["O"]
    assert metals == corrections["GGAUMixingCorrections"]["F"]
    stated = {
        name: float(value.replace("−", "-")) for name, value in re.findall(r"(\w+)\s+(−\d+\.\d+)", mp2020.__doc__)
    }
    oxides = {name: corrections["CompositionCorrections"][name] for name in ("oxide", "peroxide", "superoxide")}
    assert stated == oxides | metals
    assert not {"Nb", "Ti"} & set(metals)


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (rock_salt("Nb", "O"), -0.687 / 2),
        (rock_salt("Mn", "O"), (-0.687 - 1.668) / 2),
        (rock_salt("Mn", "S"), -0.503 / 2),
        (rock_salt("Na", "Cl"), -0.614 / 2),
        (Structure.from_spacegroup(229, Lattice.cubic(3.3), ["Nb"], [[0, 0, 0]]), 0.0),
        (Structure.from_spacegroup(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]), 0.0),
    ],
)
def test_what_is_added(structure, expected):
    assert correction(structure) == pytest.approx(expected)


@pytest.mark.parametrize(("distance", "kind"), [(1.49, -0.465), (1.33, -0.161), (3.0, -0.687)])
def test_oxygen_that_pairs_up_is_corrected_as_a_peroxide_or_superoxide(distance, kind):
    half = distance / 2 / 8.0
    pair = Structure(
        Lattice.cubic(8.0),
        ["Li", "Li", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5 + half], [0.5, 0, 0.5 - half]],
    )
    assert correction(pair) == pytest.approx(kind / 2)


def test_the_corrections_are_those_of_the_entries_of_the_materials_project():
    """The corrected energy of each niobium oxide, from its formation energy and the elements, minus the uncorrected."""
    entries = {entry["id"]: entry for entry in load_dft_hull()["entries"]}
    known = known_phases("Nb-O")
    compared = 0
    for name, structure in zip(known.ids, known.structures, strict=True):
        entry = entries.get(name)
        if entry is None or len(structure.composition) == 1 or entry["e_form_mp2020"] is None:
            continue
        elements = (1 - entry["x_O"]) * entries["mp-75"]["energy_per_atom_uncorrected"] + entry["x_O"] * -4.948
        added = entry["e_form_mp2020"] + elements - entry["energy_per_atom_uncorrected"]
        assert correction(structure) == pytest.approx(added, abs=2e-3)
        compared += 1
    assert compared > 20


def test_a_calculator_gets_the_energy_and_keeps_its_derivatives():
    atoms = bulk("Cu", "fcc", a=3.6)
    atoms.calc = EMT()
    energy, stress = atoms.get_potential_energy(), atoms.get_stress()
    atoms.calc = MP2020(EMT(), label="EMT", learned={29})
    assert atoms.get_potential_energy() == energy
    assert atoms.get_stress() == pytest.approx(stress)
    oxide = bulk("CuO", "rocksalt", a=4.3)
    oxide.calc = EMT()
    plain = oxide.get_potential_energy()
    oxide.calc = MP2020(EMT(), label="EMT")
    assert oxide.get_potential_energy() == pytest.approx(plain - 0.687)


def test_an_element_that_was_not_learned_is_named():
    atoms = bulk("CuO", "rocksalt", a=4.3)
    atoms.calc = MP2020(EMT(), label="Mine", learned={29})
    with pytest.raises(ValueError, match="Mine has not learned O"):
        atoms.get_potential_energy()
