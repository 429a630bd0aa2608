import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.counts import count_crystals
from crystalgraph.errors import InputError
from crystalgraph.graphs.dataset import CrystalGraphDataset
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.entries import from_files
from crystalgraph.io.exporting import export, select
from crystalgraph.io.importing import MAX_SITES, check_out, write_import
from crystalgraph.io.load import load

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure.from_spacegroup("Pm-3m", Lattice.cubic(2.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
# Slightly stretched: equal to rock salt for the matcher, but in another space group.
STRETCHED = Structure(Lattice.tetragonal(4.2, 4.5), ROCK_SALT.species, ROCK_SALT.frac_coords)
OVERLAPPING = Structure(Lattice.cubic(4), ["Nb", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.6]])


def entry(name, structure, **more):
    return {"material_id": name, "structure": structure.as_dict(), **more}


def write_entries(path, *entries):
    path.write_text(json.dumps(entries))
    return path


def imported(source, out, *, licence=None, attribution=None, **options):
    return write_import(from_files(source, licence=licence, attribution=attribution), out, **options)


@pytest.fixture
def mixed(tmp_path):
    """Good ones, copies, and everything that can be wrong."""
    disordered = Structure(Lattice.cubic(4), [{"Nb": 0.5, "Ti": 0.5}], [[0, 0, 0]])
    flat = ROCK_SALT.as_dict()
    flat["lattice"]["matrix"][2] = flat["lattice"]["matrix"][1]
    not_a_number = ROCK_SALT.as_dict()
    not_a_number["sites"][0]["abc"][0] = float("nan")
    return write_entries(
        tmp_path / "mixed.json",
        entry("a", ROCK_SALT, gap=7.8, stable=True, note="periclase", n=1, tags=["x"]),
        entry("disordered", disordered),
        entry("b", ROCK_SALT.get_primitive_structure(), gap=7.7, stable=True, n=2),
        entry("c", CSCL, gap=5.0, stable=False, n=3),
        {"material_id": "flat", "structure": flat},
        {"material_id": "nan", "structure": not_a_number},
        entry("d", STRETCHED, stable=False, n=4),
        entry("overlapping", OVERLAPPING, n=0),
        {"material_id": "nothing", "structure": {"lattice": 1}},
        entry("e", RUTILE, gap=3.0, stable=True, n=5),
        entry("f", RUTILE * (2, 1, 1), gap=3.1, n=6),
    )


def test_the_dataset_says_what_became_of_every_entry(mixed, tmp_path):
    result = imported(mixed, tmp_path / "mine", licence="CC0", attribution="A. Nyone")
    dataset = load_dataset(tmp_path / "mine")
    assert dataset.ids == ["a", "c", "d", "e"]
    assert dataset.columns["n_duplicates"].tolist() == [1, 0, 0, 1]
    assert dataset.columns["duplicates"].tolist() == [["b"], [], [], ["f"]]
    assert dataset.columns["formula"].tolist() == ["MgO", "MgO", "MgO", "TiO2"]
    assert dataset.columns["space_group_number"].tolist() == [225, 221, 139, 136]
    assert (result.n_entries, result.n_crystals, result.n_copies, len(result.rejected)) == (11, 4, 2, 5)

    rejected = (
        pd.read_csv(tmp_path / "mine" / "rejected.csv", keep_default_na=False).set_index("id")["reason"].to_dict()
    )
    assert rejected == result.rejected
    for name, reason in {
        "disordered": "it is disordered",
        "flat": "no volume",
        "nan": "not finite",
        "overlapping": "its atoms overlap (O–O 0.400 Å)",
        "nothing": "cannot be read",
    }.items():
        assert reason in rejected[name]

    card = dataset.source.card
    assert card["name"] == "mine"
    assert card["import"]["n_rejected"] == sum(card["import"]["reasons"].values()) == 5
    assert card["import"]["n_copies"] == 2
    assert card["sources"] == [
        {"name": "mixed", "licence": "CC0", "taken_from": "mixed.json (1 file)", "attribution": "A. Nyone"}
    ]
    assert count_crystals(dataset.crystals, dataset.columns) == card["counts"]
    readme = (tmp_path / "mine" / "README.md").read_text()
    assert "1 × its atoms overlap" in readme
    assert "2 copies merged" in readme
    assert "neither numbers nor short texts: tags" in readme
    assert set(card["columns"]) == {"id", "num_atoms", "lattice", "frac_coords", "atomic_numbers", *dataset.columns}


def test_what_entries_say_becomes_columns_of_one_type(mixed, tmp_path):
    imported(mixed, tmp_path / "mine")
    columns = load_dataset(tmp_path / "mine").columns
    np.testing.assert_array_equal(columns["gap"], [7.8, 5.0, np.nan, 3.0])
    assert columns["stable"].tolist() == [True, False, False, True]
    assert columns["stable"].dtype == bool
    assert columns["note"].tolist() == ["periclase", "", "", ""]
    assert columns["n"].tolist() == [1, 3, 4, 5]
    assert columns["n"].dtype == np.int64
    assert "tags" not in columns


def test_a_flag_that_some_lack_is_not_a_no(tmp_path):
    write_entries(tmp_path / "a.json", entry("a", ROCK_SALT, theoretical=True), entry("b", CSCL))
    imported(tmp_path / "a.json", tmp_path / "mine")
    assert load_dataset(tmp_path / "mine").columns["theoretical"].tolist() == [1, -1]
    assert load(tmp_path / "mine").origin == ["computed", "not stated"]


def test_copies_can_be_kept(mixed, tmp_path):
    result = imported(mixed, tmp_path / "mine", keep_copies=True)
    assert result.n_copies == 0
    assert load_dataset(tmp_path / "mine").ids == ["a", "b", "c", "d", "e", "f"]


def test_crystals_are_stored_as_they_are(tmp_path):
    outside = Structure(ROCK_SALT.lattice, ROCK_SALT.species, ROCK_SALT.frac_coords - 3.25)
    left = Structure(
        RUTILE.lattice.matrix[[1, 0, 2]] * [[1], [1], [1]], RUTILE.species, RUTILE.frac_coords[:, [1, 0, 2]]
    )
    below = Structure(Lattice.cubic(3), ["W"], [[-1e-17, 0, 0.5]])
    write_entries(tmp_path / "a.json", entry("outside", outside), entry("left", left), entry("below", below))
    imported(tmp_path / "a.json", tmp_path / "mine")
    crystals = load_dataset(tmp_path / "mine").crystals
    assert 0 <= crystals.frac_coords.min() <= crystals.frac_coords.max() < 1
    for one, other in zip((outside, left, below), to_structures(crystals), strict=True):
        np.testing.assert_array_equal(one.lattice.matrix, other.lattice.matrix)
        difference = one.frac_coords - other.frac_coords
        np.testing.assert_allclose(difference, difference.round(), atol=1e-12)
        assert one.species == other.species


def test_the_same_source_gives_the_same_bytes_wherever_it_lies(mixed, tmp_path):
    def content(folder):
        return {p.name: p.read_bytes() for p in folder.iterdir()}

    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / mixed.name
    moved.write_bytes(mixed.read_bytes())
    imported(mixed, tmp_path / "mine")
    imported(moved, tmp_path / "elsewhere" / "mine")
    assert content(tmp_path / "mine") == content(tmp_path / "elsewhere" / "mine")


def test_it_serves_wherever_a_dataset_does(mixed, tmp_path):
    imported(mixed, tmp_path / "mine")
    graphs = CrystalGraphDataset(tmp_path / "mine", cutoff=4.0, targets=["gap"])
    assert len(graphs) == 3
    assert graphs.failures == {"d": "no value for gap"}
    assert [graph.name for graph in graphs] == ["a", "c", "e"]
    assert [float(graph.y) for graph in graphs] == pytest.approx([7.8, 5.0, 3.0])
    assert load(tmp_path / "mine").ids == ["a", "c", "d", "e"]
    assert load(tmp_path / "mine").within("Mg-O").ids == ["a", "c", "d"]
    assert select(str(tmp_path / "mine"), top=2).ids == ["a", "c"]


def test_a_shipped_dataset_goes_out_and_in_again(tmp_path):
    export(select("nbo"), "parquet", tmp_path / "nbo.parquet")
    imported(tmp_path / "nbo.parquet", tmp_path / "again", keep_copies=True)
    before, after = load_dataset("nbo"), load_dataset(tmp_path / "again")
    assert before.ids == after.ids
    names = ("formula", "space_group_number", "source", "licence", "kind", "experimentally_known", "duplicates")
    for name in (*names, "experimental", "dft_formation_energy", "dft_e_above_hull"):
        np.testing.assert_array_equal(before.columns[name], after.columns[name])
    np.testing.assert_array_equal(before.crystals.lattice, after.crystals.lattice)
    np.testing.assert_array_equal(before.crystals.frac_coords, after.crystals.frac_coords)


@pytest.mark.slow
def test_the_shipped_phases_have_no_copies(tmp_path):
    """They were merged by the same rule when they were collected."""
    export(select("nbo"), "json", tmp_path / "nbo.json")
    assert imported(tmp_path / "nbo.json", tmp_path / "again").n_crystals == 64


def test_cifs_in_a_folder(tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, structure in {"one": ROCK_SALT, "two": ROCK_SALT * (1, 1, 2), "three": RUTILE}.items():
        CifWriter(structure).write_file(folder / f"{name}.cif")
    (folder / "broken.cif").write_text("data_x\n")
    result = imported(folder, tmp_path / "mine", title="My oxides")
    dataset = load_dataset(tmp_path / "mine")
    assert dataset.source.card["title"] == "My oxides"
    assert dataset.ids == ["one", "three"]
    assert dataset.columns["duplicates"].tolist() == [["two"], []]
    assert list(result.rejected) == ["broken"]
    matcher = StructureMatcher(scale=False)
    assert matcher.fit(to_structures(dataset.crystals)[1], RUTILE)
    assert "A licence is not stated" in " ".join(dataset.source.card["gaps"])


def test_nothing_usable_leaves_nothing(tmp_path):
    write_entries(tmp_path / "a.json", entry("x", OVERLAPPING), entry("y", OVERLAPPING))
    with pytest.raises(InputError, match=r"none of 2 entries of 'a' can be used; the first, x: its atoms overlap"):
        imported(tmp_path / "a.json", tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_cell_that_is_too_large_has_its_reason(tmp_path, monkeypatch):
    assert MAX_SITES > 255
    monkeypatch.setattr("crystalgraph.io.importing.MAX_SITES", 7)
    write_entries(tmp_path / "a.json", entry("x", ROCK_SALT), entry("y", CSCL))
    assert "too many sites (8;" in imported(tmp_path / "a.json", tmp_path / "mine").rejected["x"]


def test_more_sites_than_a_byte_holds(tmp_path):
    large = CSCL * (6, 6, 4)
    write_entries(tmp_path / "a.json", entry("x", large))
    imported(tmp_path / "a.json", tmp_path / "mine")
    assert load_dataset(tmp_path / "mine").crystals.num_atoms.tolist() == [288]


def test_progress_is_reported_stage_by_stage(mixed, tmp_path):
    reports = []
    entries = from_files(mixed, progress=lambda *report: reports.append(report))
    write_import(entries, tmp_path / "mine", progress=lambda *report: reports.append(report))
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == ["read", "check", "space groups", "copies"]
    for stage in ("read", "check", "space groups", "copies"):
        steps = [(done, total) for name, done, total in reports if name == stage]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("name", ["nbo", "there"])
def test_names_that_are_taken(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="shipped dataset" if name == "nbo" else "already exists"):
        check_out(Path(name))


def test_columns_under_a_known_name_with_another_meaning(tmp_path):
    odd = {"kind": "mineral", "origin_split": 3, "e_above_hull": "low", "formula": "wrong", "num_atoms": 99}
    write_entries(tmp_path / "a.json", entry("a", ROCK_SALT, **odd), entry("b", CSCL, **odd))
    imported(tmp_path / "a.json", tmp_path / "mine")
    dataset = load_dataset(tmp_path / "mine")
    assert dataset.columns["formula"].tolist() == ["MgO", "MgO"]
    assert dataset.crystals.num_atoms.tolist() == [8, 2]
    assert count_crystals(dataset.crystals, dataset.columns) == dataset.source.card["counts"]


def test_a_card_holds_any_text(tmp_path):
    said = "A | B,\nand others"
    write_entries(tmp_path / "a.json", entry("a", ROCK_SALT))
    imported(tmp_path / "a.json", tmp_path / "mine", licence="x|y", attribution=said)
    readme = (tmp_path / "mine" / "README.md").read_text()
    assert "| a | x\\|y | a.json (1 file) | A \\| B, and others |" in readme
    assert load_dataset(tmp_path / "mine").source.card["sources"][0]["attribution"] == said


@pytest.mark.slow
def test_reading_and_writing_do_not_import_what_they_do_not_need():
    code = "import sys, crystalgraph.io.dataset_folder; print('pymatgen' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
