from dataclasses import replace
from math import inf

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset, load_dft_hull
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import (
    REFERENCE_SETTINGS,
    is_relaxed,
    read_shipped,
    reference_hull,
)
from crystalgraph.relax.mp2020 import ELEMENT_ENERGY
from crystalgraph.relax.potentials import CONFIRMATION, DEFAULT
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key
from crystalgraph.relax.relaxer import relax

NB_O = ChemicalSystem.parse("Nb-O")
EMT = RelaxSettings(potential="ase.calculators.emt:EMT", fmax=0.02, max_steps=300)
AMORPHOUS = {"mp-1244881", "mp-1245189", "mp-1244973"}
JUDGES = (DEFAULT, *CONFIRMATION)


def test_oxygen_reference_is_that_of_the_dft_hull():
    """What the corrected DFT energies of the dataset were measured against."""
    oxygen = next(entry for entry in load_dft_hull()["entries"] if entry["id"] == "mp-12957")
    assert oxygen["energy_per_atom_uncorrected"] == pytest.approx(ELEMENT_ENERGY["O"], abs=1e-3)


def test_every_element_has_a_reference_or_is_known_not_to():
    corpus = load_dataset("corpus")
    elements = set(corpus.columns["chemsys"][corpus.columns["n_elements"] == 1].tolist()) | set(ELEMENT_ENERGY)
    from pymatgen.core import Element

    assert {Element.from_Z(z).symbol for z in range(1, 95)} - elements == {"At", "Rn", "Fr", "Ra"}


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("system", ["Nb-O", "Ti-O", "Mg-Mn-O"])
def test_shipped_systems_need_no_relaxation(tmp_path, judge, system):
    seen = []
    system, settings = ChemicalSystem.parse(system), replace(REFERENCE_SETTINGS, potential=judge)
    hull = reference_hull(system, settings=settings, cache=tmp_path / "none", progress=lambda *s: seen.append(s))
    assert not seen
    assert not (tmp_path / "none").exists()
    assert len(hull.phases) >= 40
    assert hull.left_out.keys() <= AMORPHOUS
    alone = reference_hull(ChemicalSystem(system.elements[:1]), settings=settings, cache=tmp_path / "none")
    assert alone.energy_at(system.elements[0]) == hull.energy_at(system.elements[0])


def test_what_is_stable_by_dft_is_near_the_shipped_hull():
    hull = reference_hull(NB_O)
    assert hull.formation_energy("O2", -4.948) == 0
    phases = {phase.name: phase for phase in hull.phases}
    for name in load_dft_hull()["stable_ids"]:
        if name != "mp-12957":
            assert hull.e_above_hull(phases[name].formula, phases[name].energy) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
def test_shipped_rows_belong_to_the_dataset(judge):
    settings = replace(REFERENCE_SETTINGS, potential=judge)
    known, shipped = known_phases(NB_O), read_shipped()
    for k in np.flatnonzero(is_relaxed(known, judge)).tolist():
        structure = known.structures[k]
        row = shipped[relaxation_key(structure, settings)]
        assert row["id"] == known.ids[k]
        assert row["formula"] == str(Formula.from_atomic_numbers(structure.atomic_numbers))
        assert (row["energy"] is None) == (row["status"] not in {"converged", "step limit"})


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
def test_a_shipped_energy_can_be_found_again(judge):
    known, settings = known_phases(NB_O), replace(REFERENCE_SETTINGS, potential=judge)
    structure = known.structures[known.ids.index("mp-2311")]
    row = read_shipped()[relaxation_key(structure, settings)]
    assert relax(structure, settings).energy == pytest.approx(row["energy"], abs=1e-4)


def alloy(symbols, a):
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(Lattice.cubic(a), symbols, sites)


@pytest.mark.slow
def test_a_system_of_ones_own_with_elements_from_the_corpus(tmp_path):
    system = ChemicalSystem.parse("Cu-Au")
    structures = {
        "mine": alloy(["Cu", "Cu", "Cu", "Au"], 3.8),
        "other": alloy(["Cu", "Cu", "Cu", "Pd"], 3.8),
        "broken": alloy(["Cu", "Cu", "Au", "Au"], 1.0),
    }
    known = replace(load(structures), columns={"experimental": np.array([1, -1, 0])})
    seen = []
    hull = reference_hull(system, known, settings=EMT, cache=tmp_path, progress=lambda *state: seen.append(state))
    elements = {*known_phases("Cu").ids, *known_phases("Au").ids}
    assert {phase.name for phase in hull.phases} == {"mine", *elements}
    assert "unbelievable" in hull.left_out["broken"]
    mine = next(phase for phase in hull.phases if phase.name == "mine")
    assert mine.formula == "Cu3Au"
    assert mine.is_experimental is True
    assert mine.energy == relax(structures["mine"], EMT).energy
    assert seen[-1][1] == seen[-1][2]
    stored = sorted((tmp_path / "relaxations").iterdir())
    times = [file.stat().st_mtime_ns for file in stored]
    again = reference_hull(system, known, settings=EMT, cache=tmp_path)
    assert again.identity() == hull.identity()
    assert [file.stat().st_mtime_ns for file in stored] == times
    tighter = reference_hull(system, known, settings=replace(EMT, fmax=0.01), cache=tmp_path)
    assert tighter.energy_at("Cu3Au") == pytest.approx(hull.energy_at("Cu3Au"), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("at", [None, "Cu3Au", "CuAu3"])
def test_what_cannot_lower_the_hull_is_not_relaxed_and_the_hull_is_the_same(tmp_path, at):
    system = ChemicalSystem.parse("Cu-Au")
    simple_cubic = Structure(Lattice.cubic(2.9), ["Cu"], [[0, 0, 0]]) * (2, 2, 2)
    known = load(
        {
            "L1_2": alloy(["Au", "Cu", "Cu", "Cu"], 3.8),
            "L1_0": alloy(["Au", "Au", "Cu", "Cu"], 3.9),
            "other L1_2": alloy(["Cu", "Au", "Au", "Au"], 4.0),
            "stretched": alloy(["Cu", "Au", "Au", "Au"], 4.1),
            "simple cubic": _with_gold(simple_cubic),
        }
    )
    whole = reference_hull(system, known, reach=inf, settings=EMT, cache=tmp_path / "whole")
    spared = reference_hull(system, known, at=at and Formula.parse(at), settings=EMT, cache=tmp_path / "spared")
    formulas = ["Cu3Au", "CuAu", "CuAu3", "Cu7Au"] if at is None else [at]
    for formula in formulas:
        assert spared.energy_at(formula) == whole.energy_at(formula)
    assert not any(phase.is_bound for phase in whole.phases)
    bounds = {phase.name: phase for phase in spared.phases if phase.is_bound}
    assert "simple cubic" in bounds
    assert "too high to matter" in bounds["simple cubic"].note
    relaxed = {phase.name: phase.energy for phase in whole.phases}
    for name, phase in bounds.items():
        assert phase.energy > relaxed[name]
    assert {name for name in relaxed if name not in bounds} >= ({"L1_2"} if at != "CuAu3" else {"other L1_2"})


def _with_gold(cell):
    cell = cell.copy()
    cell.replace(0, "Au")
    return cell


@pytest.mark.slow
def test_under_pressure_the_hull_is_of_enthalpies(tmp_path, monkeypatch):
    monkeypatch.setattr("crystalgraph.known.reference_hull.element_energy", lambda _: {"Au": -3.0, "O": -4.9})
    alloys = load({"mine": alloy(["Cu", "Cu", "Cu", "Au"], 3.8)})
    hulls, gold = {}, known_phases("Au").structures
    for pressure in (-2.0, 0.0, 20.0):
        settings = replace(EMT, pressure=pressure)
        cu_au = ChemicalSystem.parse("Cu-Au")
        hulls[pressure] = reference_hull(cu_au, alloys, reach=inf, settings=settings, cache=tmp_path)
        phases = {phase.name: phase.energy for phase in hulls[pressure].phases}
        assert phases["mine"] == relax(alloys.structures[0], settings).enthalpy
    pressed, free = (
        min(found.enthalpy for crystal in gold if (found := relax(crystal, replace(EMT, pressure=p))).usable)
        for p in (20.0, 0.0)
    )
    assert pressed > free + 1
    assert hulls[20.0].energy_at("Au") == pytest.approx(-3.0 + pressed - free)
    assert hulls[-2.0].energy_at("Au") == hulls[0.0].energy_at("Au") == -3.0
    assert hulls[-2.0].energy_at("Cu") < hulls[0.0].energy_at("Cu") < hulls[20.0].energy_at("Cu")


@pytest.mark.slow
def test_mistakes(tmp_path, monkeypatch):
    metal = load({"x": alloy(["Cu"] * 4, 3.6)})
    with pytest.raises(InputError, match="no reference energy for At in Cu-At"):
        reference_hull(ChemicalSystem.parse("Cu-At"), metal, settings=EMT, cache=tmp_path)
    twice = CrystalTable.concatenate([metal, metal])
    with pytest.raises(InputError, match="the same name"):
        reference_hull(ChemicalSystem.parse("Cu"), twice, settings=EMT, cache=tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="CRYSTALGRAPH_CACHE"):
        reference_hull(ChemicalSystem.parse("Cu"), metal, settings=EMT)
    with pytest.raises(ValueError, match="there is no hull yet"):
        reference_hull(ChemicalSystem.parse("Cu"), metal, settings=replace(EMT, saddle_check=True))
