"""The ways to propose crystals."""

from math import exp

import pytest
import torch

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.matching import group_equal, match_any, matches
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from tools.bench import arms as bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_draws")]

NB_O, TI_O, MG_MN_O = (ChemicalSystem.parse(text) for text in ("Nb-O", "Ti-O", "Mg-Mn-O"))


@pytest.fixture(scope="module")
def model():
    return load_model("nbo")


@pytest.fixture(scope="module")
def known():
    return to_structures(load_dataset("nbo").crystals)


@pytest.mark.parametrize("system", [NB_O, TI_O, MG_MN_O], ids=str)
def test_prototypes_are_of_the_whole_system_and_from_elsewhere(system):
    crystals = bench.prototypes(system)
    assert len(crystals) > 1000
    assert int(crystals.num_atoms.max()) <= bench.MAX_ATOMS
    for k in range(0, len(crystals), 97):
        assert set(crystals[k].atomic_numbers.tolist()) == set(system.atomic_numbers)
    corpus = load_dataset("corpus").crystals
    volumes = corpus.volume[is_within(corpus.atomic_numbers, corpus.batch, len(corpus), system)]
    assert len(volumes)
    scaled = {round(float(v), 6) for v in crystals.volume}
    assert not scaled & {round(float(v), 6) for v in volumes}


def test_metals_replace_metals_and_anions_anions():
    anions = bench.is_anion_former()
    assert anions[[8, 9, 17, 16, 52, 1, 7]].all()
    assert not anions[[41, 22, 12, 25, 14, 33, 5]].any()
    # An intermetallic system takes the intermetallics, and no oxide becomes one.
    metals = bench.prototypes(ChemicalSystem.parse("Ni-Al"))
    assert len(metals) > 1000
    numbers = torch.tensor(ChemicalSystem.parse("Ni-Al").atomic_numbers)
    assert torch.isin(metals.atomic_numbers, numbers).all()


def test_substitution_finds_what_a_chemist_would():
    """Rock salt is the structure of NaCl and of many others: putting Na and Cl into those gives NaCl."""
    system = ChemicalSystem.parse("Na-Cl")
    corpus = load_dataset("corpus")
    (position,) = [
        k
        for k in range(len(corpus))
        if corpus.columns["formula"][k] == "NaCl" and corpus.columns["space_group_number"][k] == 225
    ][:1]
    (rock_salt,) = to_structures(corpus.crystals[position])
    drawn = bench.Substitution(system, [], seed=0).draw(400)
    found = [s for s in drawn if matches(s, rock_salt)]
    assert len(found) == 1
    # O'Keeffe and Brese's radii are within a few percent of Na-Cl's 2.82 Å.
    assert found[0].distance_matrix[found[0].distance_matrix > 0].min() == pytest.approx(2.82, rel=0.05)
    without = bench.Substitution(system, [rock_salt], seed=0)
    assert not any(matches(s, rock_salt) for s in without.draw(400))
    assert without.remarks()["equal to a known phase"] > 0


def test_bond_lengths_are_those_of_the_table():
    """Brese and O'Keeffe, Acta Cryst. B 47, 192 (1991), Å, for the usual valence of the metal."""
    from pymatgen.core import Element

    for metal, anion, length in (("Nb", "O", 1.911), ("Ti", "O", 1.815), ("Mg", "O", 1.693), ("Na", "Cl", 2.15)):
        assert bench.ideal_bond_length(Element(metal), Element(anion)) == pytest.approx(length, abs=0.07)


def test_rescaled_crystals_have_their_valence(dealer):
    (rutile,) = to_structures(dealer("rutile", scales=(1.2,)).draw(1).crystals)
    scaled = bench.rescaled(rutile)
    niobium, oxygen = (next(s for s in scaled.species if s.symbol == symbol) for symbol in ("Nb", "O"))
    length = bench.ideal_bond_length(niobium, oxygen)
    for site in scaled:
        if site.specie == niobium:
            bonds = [n.nn_distance for n in scaled.get_neighbors(site, 7.0) if n.specie == oxygen]
            assert sum(exp((length - bond) / 0.37) for bond in bonds) == pytest.approx(4, abs=0.02)
    assert matches(rutile, scaled)
    assert bench.rescaled(scaled).volume == pytest.approx(scaled.volume, rel=0.01)


def test_what_has_no_anion_keeps_its_volume():
    from pymatgen.core import Lattice, Structure

    alloy = Structure(Lattice.cubic(2.9), ["Ni", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert bench.rescaled(alloy) is alloy


def test_substitution_never_repeats_and_ends(monkeypatch):
    few = bench.prototypes(NB_O)[:60]
    monkeypatch.setattr(bench, "prototypes", lambda _: few)
    arm = bench.Substitution(NB_O, [], seed=1)
    drawn = arm.draw(10_000)
    assert arm.draw(5) == []
    assert group_equal(drawn).tolist() == list(range(len(drawn)))
    counts = arm.remarks()
    assert len(drawn) + counts["copies"] == counts["sources"] == 60


def test_substitution_passes_known_phases_over(known):
    drawn = bench.Substitution(NB_O, known, seed=0).draw(100)
    assert (match_any(drawn, known) < 0).all()


@pytest.mark.parametrize("name", ["pyxtal", "substitution", "random", "raw", "screened"])
@pytest.mark.parametrize("system", [NB_O, MG_MN_O], ids=str)
def test_every_arm_draws_in_the_system_and_again_the_same(model, known, name, system):
    arms = [bench.make_arm(name, system, model, known, seed) for seed in (3, 3, 4)]
    first, again, other = (arm.draw(8) for arm in arms)
    assert len(first) == 8
    for structure in first:
        assert set(structure.atomic_numbers) == set(system.atomic_numbers)
        assert len(structure) <= bench.MAX_ATOMS
    assert [s.as_dict() for s in first] == [s.as_dict() for s in again]
    assert [s.as_dict() for s in first] != [s.as_dict() for s in other]
    assert all(isinstance(count, int) for count in arms[0].remarks().values())


@pytest.mark.parametrize("name", ["pyxtal", "substitution", "screened"])
def test_how_draws_are_cut_changes_nothing(model, known, name):
    whole = bench.make_arm(name, NB_O, model, known, 0).draw(6)
    arm = bench.make_arm(name, NB_O, model, known, 0)
    cut = arm.draw(1) + arm.draw(5)
    assert [s.as_dict() for s in whole] == [s.as_dict() for s in cut]


def test_screened_samples_are_valid_distinct_and_the_best_of_more(model):
    arm = bench.make_arm("screened", NB_O, model, [], 0)
    kept = arm.draw(40)
    assert strict_validity(from_structures(kept)).valid.all()
    assert group_equal(kept).tolist() == list(range(40))
    remarks = arm.remarks()
    assert remarks["samples drawn"] % 256 == 0
    assert remarks["samples drawn"] >= remarks["kept"] >= 40
