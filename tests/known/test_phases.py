"""Which known phases count, and that every door leads to the same ones with the same energies."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.table import COMPUTED, EXPERIMENTAL, CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.graphs.dataset import CrystalGraphDataset
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases, union_of_elements
from crystalgraph.known.reference_hull import reference_hull
from crystalgraph.relax.relaxation import Relaxation
from crystalgraph.runs.evaluate import evaluate

NB_O, TI_O = ChemicalSystem.parse("Nb-O"), ChemicalSystem.parse("Ti-O")
RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])


def systems(table):
    """The system of each crystal, as text."""
    return [str(Formula.from_atomic_numbers(structure.atomic_numbers).system) for structure in table.structures]


def test_niobium_oxygen_is_the_dataset():
    nbo, known = load_dataset("nbo"), known_phases(NB_O)
    assert known.ids == nbo.ids
    assert known.source.sha256 == nbo.source.sha256
    compounds = known.of_whole_system(NB_O)
    assert (len(compounds), compounds.origin.count(EXPERIMENTAL), compounds.origin.count(COMPUTED)) == (40, 12, 28)
    oxide = known.ids.index("mp-2311")
    assert known.structures[oxide].composition.reduced_formula == "NbO"
    assert known.origin[oxide] == EXPERIMENTAL
    assert known.columns["dft_formation_energy"][oxide] == pytest.approx(-2.2858, abs=1e-3)
    assert known.columns["space_group_number"][oxide] == 221


@pytest.mark.slow
def test_other_systems():
    assert set(known_phases("Nb").ids) < set(known_phases("Nb-O").ids)
    titanium = known_phases("Ti-O")
    assert set(systems(titanium)) == {"Ti", "O", "Ti-O"}
    assert len({*titanium.ids}) == len(titanium)
    assert titanium.source.name == "nbo + corpus"
    corpus = load_dataset("corpus")
    oxides = [own for own, system in zip(titanium.ids, systems(titanium), strict=True) if system == "Ti-O"]
    assert oxides == corpus[corpus.columns["chemsys"] == "O-Ti"].ids
    ternary = known_phases("Li-Nb-O")
    assert set(known_phases("Nb-O").ids) < set(ternary.ids)
    assert len({*ternary.ids}) == len(ternary)
    assert len(known_phases("At")) == len(known_phases("Og")) == 0
    with pytest.raises(InputError, match="Qq"):
        known_phases("Ti-Qq")


def test_union_of_elements():
    crystals = from_structures([RUTILE, RUTILE.copy().replace_species({"Ti": "Sr"})])
    union = union_of_elements(crystals)
    assert union == ChemicalSystem.parse("SrTiO")
    assert is_within(crystals.atomic_numbers, crystals.batch, 2, union).all()


def by_rule(system):
    """The rule, told again: what holds niobium and oxygen only is in "nbo", all else in "corpus"."""
    corpus = load("corpus").within(system)
    of_niobium = [set(own.split("-")) <= {"Nb", "O"} for own in systems(corpus)]
    return CrystalTable.concatenate([load("nbo").within(system), corpus[~np.array(of_niobium)]])


def reference_of_evaluation(monkeypatch):
    """What `evaluate` hands to the judge."""
    tables = []

    def judge(*_, known, **__):
        tables.append(known)
        raise InterruptedError

    monkeypatch.setattr("crystalgraph.runs.evaluate.judge", judge)
    with pytest.raises(InterruptedError):
        evaluate(RUTILE)
    return tables[0]


def candidates_of_hull(monkeypatch, known):
    """What `reference_hull` relaxes, if nothing is known by its energy alone; DFT's energies of the phases it makes."""
    monkeypatch.setattr("crystalgraph.known.reference_hull.element_energy", lambda _: {})
    monkeypatch.setattr("crystalgraph.known.reference_hull.read_shipped", dict)
    monkeypatch.setattr(
        "crystalgraph.known.reference_hull.relax_many",
        lambda structures, *_, **__: [
            Relaxation(status="converged", structure=structure, initial_energy=0.0, energy=0.0)
            for structure in structures
        ],
    )
    return reference_hull(TI_O, known).phases


EVERY_DOOR = ("known_phases", "load", "evaluate", "reference_hull", "reference_hull of a table", "graphs")


@pytest.mark.parametrize("door", EVERY_DOOR)
@pytest.mark.slow
def test_41_of_64_phases_of_titanium_and_oxygen_have_a_dft_formation_energy(door, monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path))
    expected = known_phases(TI_O)
    finite = {
        own: energy
        for own, energy in zip(expected.ids, expected.columns["dft_formation_energy"].tolist(), strict=True)
        if np.isfinite(energy)
    }
    if door.startswith("reference_hull"):
        phases = candidates_of_hull(monkeypatch, None if door == "reference_hull" else expected)
        ids = [phase.name for phase in phases]
        energies = {phase.name: phase.dft_e_form for phase in phases if phase.dft_e_form is not None}
    elif door == "graphs":
        dataset = CrystalGraphDataset(expected, targets=["dft_formation_energy"])
        assert set(dataset.failures.values()) == {"no value for dft_formation_energy"}
        ids = [*(graph.name for graph in dataset), *dataset.failures]
        energies = {graph.name: float(graph.y) for graph in dataset}
    else:
        doors = {"known_phases": known_phases, "load": by_rule}
        table = doors[door](TI_O) if door in doors else reference_of_evaluation(monkeypatch)
        ids = table.ids
        energies = {own: e for k, own in enumerate(ids) if (e := table.number("dft_formation_energy", k)) is not None}
    assert (len(ids), len(energies)) == (64, 41)
    assert set(ids) == set(expected.ids)
    assert energies == pytest.approx(finite, abs=1e-6)
