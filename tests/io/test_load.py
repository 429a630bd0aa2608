"""One door: whatever crystals come in, the same table comes out."""

import csv
import json
from pathlib import Path

import ase.db
import numpy as np
import pytest
import torch
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.table import NOT_STATED, CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.columns import FORMER_NAMES
from crystalgraph.io.datasets import dataset_folder, load_dataset
from crystalgraph.io.exporting import export, select
from crystalgraph.io.importing import write_import
from crystalgraph.io.load import load
from crystalgraph.io.writing import write_structures
from crystalgraph.runs.folder import write_run

ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.7, 71, 83, 64),
    ["Nb", "O", "O"],
    [[0.1, 0.2, 0.3], [0.6, 0.6, 0.9], [0.4, 0, 0]],
)
ALL = {"a": ROCK_SALT, "b": TRICLINIC}
STRUCTURES = list(ALL.values())
DISORDERED = Structure(Lattice.cubic(4), [{"Nb": 0.5, "Ti": 0.5}], [[0, 0, 0]])


def as_cifs(folder):
    write_structures(STRUCTURES, list(ALL), folder / "cifs", "cif")
    return folder / "cifs"


def as_file(fmt, name):
    """A file of both crystals in one of the formats that can be exported."""

    def written(folder):
        export(load(ALL), fmt, folder / name)
        return folder / name

    return written


def as_csv(folder):
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [("id", "cif"), *((name, str(CifWriter(s, significant_figures=12))) for name, s in ALL.items())]
        )
    return folder / "a.csv"


def as_dataset(folder):
    write_import(load(ALL), folder / "mine")
    return folder / "mine"


def as_run(folder):
    write_run(
        folder / "run",
        structures=STRUCTURES,
        names=list(ALL),
        rows=[{"file": name, "score": 1.5} for name in ALL],
        columns=("file", "score"),
        record={},
        formats=("cif", "extxyz"),
    )
    return folder / "run"


SOURCES = {
    "structures by name": lambda _: ALL,
    "a list of structures": lambda _: STRUCTURES,
    "a tuple of structures": lambda _: tuple(STRUCTURES),
    "a generator": lambda _: (structure for structure in STRUCTURES),
    "atoms": lambda _: [AseAtomsAdaptor.get_atoms(structure) for structure in STRUCTURES],
    "atoms by name": lambda _: {name: AseAtomsAdaptor.get_atoms(structure) for name, structure in ALL.items()},
    "structures and atoms": lambda _: [ROCK_SALT, AseAtomsAdaptor.get_atoms(TRICLINIC)],
    "crystals": lambda _: from_structures(STRUCTURES),
    "crystals in single precision": lambda _: from_structures(STRUCTURES).to(dtype=torch.float32),
    "a table": lambda _: load(ALL),
    "CIFs": as_cifs,
    "CIFs as text": lambda folder: str(as_cifs(folder)),
    "extxyz": as_file("extxyz", "a.extxyz"),
    "JSON": as_file("json", "a.json"),
    "Parquet": as_file("parquet", "a.parquet"),
    "an ASE database": as_file("ase-db", "a.db"),
    "CSV": as_csv,
    "the folder of a dataset": as_dataset,
    "the folder of a run": as_run,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_crystals_come_out(kind, tmp_path):
    table = load(SOURCES[kind](tmp_path))
    assert isinstance(table, CrystalTable)
    assert table.failures == {}
    assert table.order == table.ids
    assert [own.rpartition("#")[2] for own in table.ids] in (["0", "1"], ["a", "b"])
    assert table.crystals.lattice.dtype == table.crystals.frac_coords.dtype == torch.float64
    for own, structure in zip(table.structures, STRUCTURES, strict=True):
        cells = [one.lattice.get_niggli_reduced_lattice().parameters for one in (own, structure)]
        assert cells[0] == pytest.approx(cells[1], abs=1e-4)
        assert sorted(own.atomic_numbers) == sorted(structure.atomic_numbers)
        ours, theirs = (np.sort(one.distance_matrix, axis=None) for one in (own, structure))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert set(table.origin) == {NOT_STATED}


def test_a_single_crystal_is_a_table_of_one():
    for source in (ROCK_SALT, AseAtomsAdaptor.get_atoms(ROCK_SALT)):
        table = load(source)
        assert table.ids == ["0"]
        assert table.structures[0].composition == ROCK_SALT.composition


def test_a_table_is_handed_through():
    table = load(ALL)
    assert load(table) is table


def test_a_shipped_dataset_has_a_name_and_a_path_never_is_one(tmp_path, monkeypatch):
    nbo = load("nbo")
    assert nbo.ids == load_dataset("nbo").ids
    assert nbo.source.card["name"] == "nbo"
    assert load(dataset_folder("nbo")).ids == nbo.ids
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="neither a dataset"):
        load(Path("nbo"))
    write_structures([ROCK_SALT], ["mine"], tmp_path / "nbo", "cif")
    assert load(Path("nbo")).ids == ["mine"]
    assert load("nbo").ids == nbo.ids


def test_columns_come_along(tmp_path):
    assert load(as_run(tmp_path)).columns["score"].tolist() == [1.5, 1.5]
    entries = [{"material_id": name, "structure": s.as_dict(), "gap": 0.5} for name, s in ALL.items()]
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    table = load(tmp_path / "entries.json")
    assert table.columns["gap"].tolist() == [0.5, 0.5]
    assert table.columns["material_id"].tolist() == ["a", "b"]
    with ase.db.connect(tmp_path / "metals.db") as database:
        database.write(bulk("Cu"), name="copper", gap=0.0)
    assert load(tmp_path / "metals.db").columns["gap"].tolist() == [0.0]


def test_runs_of_version_0_1_are_read_under_the_names_of_today(tmp_path):
    former = {name: f"{k}" for k, name in enumerate(FORMER_NAMES) if FORMER_NAMES[name] != "file"}
    write_run(
        tmp_path / "run",
        structures=[ROCK_SALT],
        names=["1_a"],
        rows=[{"file": "1_a", **former}],
        columns=("file", *former),
        record={},
        formats=("cif",),
    )
    (row,) = load(tmp_path / "run").rows()
    assert row == {FORMER_NAMES[name]: int(value) for name, value in former.items()}
    assert select(str(tmp_path / "run")).rows() == [row]


def test_what_gives_no_crystal_keeps_its_reason_and_its_place(tmp_path):
    molecule = bulk("Cu")
    molecule.pbc = False
    table = load({"why": "never finished", "a": ROCK_SALT, "mixed": DISORDERED, "gas": molecule, "odd": 5})
    assert table.ids == ["a"]
    assert table.order == ["why", "a", "mixed", "gas", "odd"]
    assert table.failures == {
        "why": "never finished",
        "mixed": "it is disordered (partial or mixed occupancy)",
        "gas": "they are not periodic in all three directions",
        "odd": "it is of type int, neither a pymatgen Structure nor ASE Atoms",
    }
    assert load([DISORDERED, ROCK_SALT]).order == ["0", "1"]
    assert load([ROCK_SALT, "a.cif"]).failures == {
        "1": "it is the text 'a.cif', neither a pymatgen Structure nor ASE Atoms"
    }
    cifs = as_cifs(tmp_path)
    (cifs / "aa.cif").write_text("")
    read = load(cifs)
    assert (read.ids, read.order) == (["a", "b"], ["a", "aa", "b"])
    assert read.failures == {"aa": "it holds no crystal"}
    assert read.source.files == tuple(sorted(cifs.iterdir()))


def test_progress_is_reported_as_files_are_read(tmp_path):
    reports = []
    load(as_cifs(tmp_path), progress=lambda *report: reports.append(report))
    assert reports == [("read", 1, 2), ("read", 2, 2)]


@pytest.mark.parametrize("nothing", [5, None, 1.5, len], ids=str)
def test_what_holds_no_crystals_is_refused(nothing):
    with pytest.raises(InputError, match="holds no crystals; give the name of a dataset, a path"):
        load(nothing)


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'mp-2025' is neither a dataset \(corpus, nbo\) nor a file or folder"):
        load("mp-2025")
    with pytest.raises(InputError, match="an empty text names no crystals"):
        load("")
    with pytest.raises(InputError, match="holds no structure file"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="not a known kind"):
        load(tmp_path / "a.txt")


def test_the_checksum_is_that_of_the_content(tmp_path):
    cifs = as_cifs(tmp_path)
    before = load(cifs).source.sha256
    (cifs / "a.cif").write_text("else")
    assert load(cifs).source.sha256 != before
    assert load("nbo").source.sha256 == load("nbo").source.card["sha256"]["crystals.npz"]
    assert load(ALL).source.sha256 == ""
