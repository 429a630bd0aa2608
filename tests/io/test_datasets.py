import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from pymatgen.core import Composition, Element
from pymatgen.symmetry.groups import SpaceGroup

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.counts import count_crystals
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import dataset_folder, dataset_names, load_dataset, load_dft_hull

ORIGINS = {
    "mpts_52/test": 8_090,
    "mp_20_biternary/val": 7_138,
    "mp_20_biternary/test": 7_116,
    "mpts_52/val": 4_996,
    "matcalc/mp-binary-elasticity": 3_945,
    "lemat-genbench/oqmd": 2_464,
    "lemat-genbench/alexandria": 2_447,
    "lemat-genbench/aflow": 2_389,
    "lemat-genbench/mp": 2_101,
    "matcalc/alexandria-binary-phonon": 1_104,
    "aflow-prototypes": 265,
    "opencrystals": 262,
    "pynter/PD_Na-Nb-O": 109,
    "pynter/PD_Mo-Si-Ti": 61,
    "nbo-crystal-gan": 7,
}


@pytest.fixture(scope="module")
def corpus():
    return load_dataset("corpus")


@pytest.fixture(scope="module")
def nbo():
    return load_dataset("nbo")


@pytest.fixture
def copied(tmp_path):
    """A copy of a dataset's folder, to be damaged."""
    return shutil.copytree(dataset_folder("nbo"), tmp_path / "copy")


def test_both_are_shipped():
    assert dataset_names() == ["corpus", "nbo"]


def test_the_corpus_is_whole():
    assert len(load_dataset("corpus")) == 37_855


@pytest.mark.parametrize("name", ["corpus", "nbo"])
def test_card_agrees_with_the_data(name):
    dataset = load_dataset(name)
    assert count_crystals(dataset.crystals, dataset.columns) == dataset.source.card["counts"]


def test_counts_of_the_corpus_are_the_collectors(corpus):
    counts = corpus.source.card["counts"]
    assert counts["size"] == {"all": 37_855, "at most 20 sites": 29_215}
    assert list(counts["number of elements"].values()) == [259, 8_350, 20_472, 8_774]
    assert list(counts["chemistry"].values()) == [726, 315, 1_049, 26, 2_377, 554]
    assert counts["energy"] == {"with a formation energy": 28_018, "with an energy above hull": 26_102}
    by_anion = {"Br": 137, "Cl": 169, "F": 167, "I": 190, "N": 274, "O": 568, "S": 355, "Se": 273, "Te": 244}
    assert counts["ionic binaries by anion"] == by_anion
    by_source = {"materials-project": 30_366, "alexandria": 2_901, "oqmd": 2_418}
    by_source |= {"jarvis-dft": 1_916, "cod": 132, "aflow-prototypes": 122}
    assert counts["source"] == by_source
    assert counts["origin (a crystal can have several)"] == ORIGINS


def test_counts_of_the_known_phases_are_the_collectors(nbo):
    counts = nbo.source.card["counts"]
    assert counts["size"]["all"] == 64
    assert counts["kind"] == {"oxide": 40, "element": 24}
    assert counts["experimentally known"]["oxide"] == 12


@pytest.mark.parametrize("name", ["corpus", "nbo"])
def test_arrays_are_whole(name):
    dataset = load_dataset(name)
    crystals = dataset.crystals
    assert all(len(values) == len(dataset) for values in dataset.columns.values())
    assert [name for name, values in dataset.columns.items() if values.dtype == object] == ["duplicates"]
    assert crystals.lattice.dtype == crystals.frac_coords.dtype == crystals.volume.dtype
    assert 0 <= crystals.frac_coords.min() <= crystals.frac_coords.max() < 1
    assert 1 <= crystals.atomic_numbers.min() <= crystals.atomic_numbers.max() <= 103
    per_atom = crystals.volume / crystals.num_atoms
    assert 2 < per_atom.min() < per_atom.max() < 251
    groups = dataset.columns["space_group_number"]
    assert 1 <= groups.min() <= groups.max() <= 230
    assert len({*dataset.ids}) == len(dataset)
    assert dataset.columns["n_duplicates"].tolist() == [len(merged) for merged in dataset.columns["duplicates"]]


@pytest.mark.parametrize("name", ["corpus", "nbo"])
def test_the_card_explains_every_array_and_carries_every_licence(name):
    dataset = load_dataset(name)
    with zipfile.ZipFile(dataset_folder(name) / "crystals.npz") as archive:
        arrays = {entry.filename.removesuffix(".npy") for entry in archive.infolist()}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert set(dataset.source.card["columns"]) == arrays
    assert all(column["meaning"] for column in dataset.source.card["columns"].values())
    readme = (dataset_folder(name) / "README.md").read_text(encoding="utf-8")
    assert len(dataset.source.card["sources"]) == 7
    for source in dataset.source.card["sources"]:
        for text in source.values():
            assert text in readme
    for licence in ("CC-BY-4.0", "public domain", "CC0", "MIT"):
        assert any(licence in text for text in dataset.source.card["licences"])
    assert dataset.source.card["exclusions"] in readme


def test_sizes_stay_small():
    assert (dataset_folder("corpus") / "crystals.npz").stat().st_size < 8_000_000


def test_formula_and_chemical_system_are_those_of_the_atoms(corpus):
    rng = np.random.default_rng(7)
    for row in rng.integers(len(corpus), size=200):
        symbols = [Element.from_Z(int(z)).symbol for z in corpus.crystals[int(row)].atomic_numbers]
        composition = Composition("".join(symbols))
        assert composition == Composition(corpus.columns["formula"][row]) * (
            len(symbols) / Composition(corpus.columns["formula"][row]).num_atoms
        ), corpus.ids[row]
        assert composition.chemical_system == corpus.columns["chemsys"][row]
        assert len(composition) == corpus.columns["n_elements"][row]


@pytest.mark.slow
def test_space_groups_are_those_pymatgen_finds(nbo):
    for structure, number, symbol in zip(
        to_structures(nbo.crystals), nbo.columns["space_group_number"], nbo.columns["space_group_symbol"], strict=True
    ):
        if len(structure) <= 30:
            assert structure.get_space_group_info(symprec=0.1)[1] == number
        assert SpaceGroup.from_int_number(int(number)).int_number == number
        assert symbol


def test_distances_of_the_known_phases_are_those_of_their_columns(nbo):
    for structure, row in zip(to_structures(nbo.crystals), range(len(nbo)), strict=True):
        if len(structure) > 30 or np.isnan(nbo.columns["min_NbO"][row]):
            continue
        numbers = np.array(structure.atomic_numbers)
        nearest = structure.distance_matrix[np.ix_(numbers == 41, numbers == 8)].min()
        assert nearest == pytest.approx(nbo.columns["min_NbO"][row], abs=1e-3)
        assert structure.density == pytest.approx(nbo.columns["density"][row], rel=1e-3)


def test_flags_and_missing_values(corpus):
    theoretical = corpus.columns["theoretical"]
    assert {int(flag): int((theoretical == flag).sum()) for flag in (-1, 0, 1)} == {-1: 24_639, 0: 13_216, 1: 0}
    without = np.isnan(corpus.columns["formation_energy_per_atom"])
    assert ((corpus.columns["energy_scale"] == "") == without).all()
    assert corpus.columns["reduced_to_primitive"].sum() == 358


def test_dft_hull(nbo):
    hull = load_dft_hull()
    assert len(hull["entries"]) == 54
    on_hull = {entry["id"] for entry in hull["entries"] if entry["e_above_hull_mp2020"] < 1e-8}
    assert on_hull == set(hull["stable_ids"])
    energies = {entry["id"]: entry["e_form_mp2020"] for entry in hull["entries"]}
    known = {i: e for i, e in zip(nbo.ids, nbo.columns["dft_formation_energy"], strict=True) if i in energies}
    assert len(known) > 40
    assert known == pytest.approx({i: energies[i] for i in known}, abs=1e-5)


def test_a_folder_can_be_given(copied):
    dataset = load_dataset(copied)
    assert dataset.source.name == "copy"
    assert len(dataset) == 64


def test_unknown_name():
    with pytest.raises(InputError, match=r"no dataset 'corpse'; shipped are corpus, nbo;"):
        load_dataset("corpse")


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "foreign"])
def test_damaged_data_are_refused(copied, damage):
    file = copied / "crystals.npz"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "gone":
        file.unlink()
    else:
        np.savez(file, num_atoms=np.array([1]))
    with pytest.raises(InputError, match="restore the dataset's folder"):
        load_dataset(copied)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"sha256": "no table"}'])
def test_damaged_cards_are_refused(copied, card):
    (copied / "card.json").write_text(card)
    with pytest.raises(InputError, match="card"):
        load_dataset(copied)


def test_a_card_without_the_checksum_is_refused(copied):
    card = json.loads((copied / "card.json").read_text(encoding="utf-8"))
    card["sha256"] = {}
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="SHA-256"):
        load_dataset(copied)


@pytest.mark.slow
def test_importing_does_not_load():
    code = "import sys, crystalgraph.io.datasets; print('pymatgen' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
