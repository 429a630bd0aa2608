import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pymatgen.analysis.compatibility
import pytest
from monty.serialization import loadfn
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset, load_dft_hull
from crystalgraph.io.load import load
from crystalgraph.known import reference_hull as references
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import (
    ELEMENT_ENERGY,
    REFERENCE_SETTINGS,
    read_shipped,
    reference_hull,
)
from crystalgraph.relax.hull import hull_error
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key
from crystalgraph.relax.relaxer import relax

NB_O = ChemicalSystem.parse("Nb-O")
EMT = RelaxSettings(calculator="ase.calculators.emt:EMT", fmax=0.02, max_steps=300)
RESULTS = Path(__file__).parents[2] / "tools" / "results" / "hull_nbo.json"


def test_documented_corrections_are_those_of_pymatgen():
    folder = Path(pymatgen.analysis.compatibility.__path__[0])
    corrections = loadfn(folder / "MP2020Compatibility.yaml")["Corrections"]
    expected = corrections["CompositionCorrections"] | corrections["GGAUMixingCorrections"]["O"]
    assert corrections["GGAUMixingCorrections"]["O"] == corrections["GGAUMixingCorrections"]["F"]
    section = references.__doc__.partition("Scale of the energies")[2].partition("References of the elements")[0]
    stated = {name: float(value.replace("−", "-")) for name, value in re.findall(r"(\w+)\s+(−?\d+\.\d+)", section)}
    assert stated == {name: value for name, value in expected.items() if value}
    assert not {"Nb", "Ti"} & set(expected)


def test_oxygen_reference_is_that_of_the_dft_hull():
    """What the corrected DFT energies of the dataset were measured against."""
    oxygen = next(entry for entry in load_dft_hull()["entries"] if entry["id"] == "mp-12957")
    assert oxygen["energy_per_atom_uncorrected"] == pytest.approx(ELEMENT_ENERGY["O"], abs=1e-3)


def test_every_element_has_a_reference_or_is_known_not_to():
    corpus = load_dataset("corpus")
    elements = set(corpus.columns["chemsys"][corpus.columns["n_elements"] == 1].tolist()) | set(ELEMENT_ENERGY)
    from pymatgen.core import Element

    assert {Element.from_Z(z).symbol for z in range(1, 95)} - elements == {"At", "Rn", "Fr", "Ra"}


def test_shipped_niobium_oxides_need_no_relaxation(tmp_path):
    pytest.importorskip("chgnet")
    seen = []
    hull = reference_hull(NB_O, cache=tmp_path / "none", progress=lambda *state: seen.append(state))
    assert not seen
    assert not (tmp_path / "none").exists()
    assert len(hull.phases) + len(hull.left_out) == 45  # 40 oxides, 4 Nb, and O2 by its energy
    assert hull.formation_energy("O2", -4.948) == 0
    stable = {phase.name: phase for phase in hull.phases}
    for name in load_dft_hull()["stable_ids"]:
        if name != "mp-12957":
            assert hull.e_above_hull(stable[name].formula, stable[name].energy) < 0.01
    niobium = reference_hull(ChemicalSystem.parse("Nb"), cache=tmp_path / "none")
    assert niobium.energy_at("Nb") == hull.energy_at("Nb")


def test_shipped_rows_belong_to_the_dataset():
    pytest.importorskip("chgnet")
    known = dict(zip(known_phases(NB_O).ids, known_phases(NB_O).structures, strict=True))
    rows = read_shipped()["phases"]
    assert {row["id"] for row in rows} == {name for name, own in known.items() if own.chemical_system != "O"}
    for row in rows:
        structure = known[row["id"]]
        assert row["key"] == relaxation_key(structure, REFERENCE_SETTINGS)
        assert row["formula"] == structure.composition.reduced_formula
        assert (row["energy"] is None) == (row["status"] not in {"converged", "step limit"})


def test_reported_errors_are_those_of_the_shipped_hull():
    pytest.importorskip("chgnet")
    report = json.loads(RESULTS.read_text())
    error = hull_error(reference_hull(NB_O))
    for key in ("formation_energy", "e_above_hull"):
        assert report[f"{key}_error"] == pytest.approx(vars(getattr(error, key)))
    assert error.e_above_hull.n == 31
    differences = [row["e_above_hull"] - row["dft_e_above_hull"] for row in report["compounds"]]
    assert report["e_above_hull_error"]["mae"] == pytest.approx(np.abs(differences).mean())
    assert report["e_above_hull_error"]["bias"] == pytest.approx(np.mean(differences))


@pytest.mark.slow
def test_a_shipped_energy_can_be_found_again(chgnet):
    row = next(row for row in read_shipped()["phases"] if row["id"] == "mp-2311")
    known = known_phases(NB_O)
    structure = known.structures[known.ids.index("mp-2311")]
    assert relax(structure, REFERENCE_SETTINGS, calculator=chgnet).energy == pytest.approx(row["energy"], abs=1e-4)


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
    assert seen[-1] == ("relaxation", len(elements) + 2, len(elements) + 2)
    stored = sorted((tmp_path / "relaxations").iterdir())
    times = [file.stat().st_mtime_ns for file in stored]
    again = reference_hull(system, known, settings=EMT, cache=tmp_path)
    assert again.identity() == hull.identity()
    assert [file.stat().st_mtime_ns for file in stored] == times
    tighter = reference_hull(system, known, settings=replace(EMT, fmax=0.01), cache=tmp_path)
    assert tighter.energy_at("Cu3Au") == pytest.approx(hull.energy_at("Cu3Au"), abs=2e-3)


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
