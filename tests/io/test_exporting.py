import json
import os
import subprocess
import sys

import ase.db
import ase.io
import numpy as np
import pytest
import spglib
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.table import CrystalTable, Source
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.exporting import (
    EXPORT_FORMATS,
    export,
    export_vasp,
    file_names,
    select,
)
from crystalgraph.io.reading import read_structures
from crystalgraph.runs.folder import write_run

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
# A helix of one hand only, so that a mirror image would be another crystal.
QUARTZ = Structure.from_spacegroup(
    152, Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.2858]]
)


def sheared(structure):
    """The same crystal in a long thin cell."""
    return structure.copy().make_supercell([[1, 0, 0], [2, 1, 0], [3, -2, 1]], to_unit_cell=False)


def left_handed(structure):
    return Structure(structure.lattice.matrix[[1, 0, 2]], structure.species, structure.frac_coords[:, [1, 0, 2]])


AWKWARD = {
    "rutile": RUTILE,
    "quartz": QUARTZ,
    "skewed": sheared(RUTILE),
    "left-handed": left_handed(QUARTZ),
    "outside the cell": Structure(RUTILE.lattice, RUTILE.species, RUTILE.frac_coords - np.array([1.3, -2.2, 0.1])),
    "one atom": Structure(
        Lattice.from_parameters(2.9, 2.9, 2.9, *[float(np.degrees(np.arccos(-1 / 3)))] * 3), ["W"], [[0.1, 0.2, 0.3]]
    ),
    "triclinic, turned": Structure(
        Lattice([[0.3, 4.0, -0.2], [2.5, 0.1, 4.9], [-5.1, 1.2, 2.2]]), ["Nb", "O", "O"], np.eye(3) * 0.4 + 0.111
    ),
    "elements mixed up": Structure(
        Lattice.cubic(4.0), ["O", "Nb", "O", "Nb"], [[0, 0, 0.5], [0.02, 0, 0], [0.5, 0.5, 0], [0.5, 0.53, 0.5]]
    ),
}
FILES = {
    "cif": "out",
    "poscar": "out",
    "cif-primitive": "out",
    "extxyz": "a.extxyz",
    "ase-db": "a.db",
    "json": "a.json",
    "parquet": "a.parquet",
}


def selection(structures, rows=()):
    named = {f"crystal-{k:02}": structure for k, structure in enumerate(structures)}
    return CrystalTable.of_structures(named, source=Source(name="mine"), properties=rows)


def primitive(structure):
    """A primitive cell with every atom where it is."""
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers)
    lattice, frac_coords, numbers = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=1e-4)
    return Structure(Lattice(lattice), numbers, frac_coords)


def assert_same(one, other, tolerance=1e-4):
    """The same crystal, in whatever cell."""
    one, other = primitive(one), primitive(other)
    ours, theirs = (structure.lattice.get_niggli_reduced_lattice().parameters for structure in (one, other))
    np.testing.assert_allclose(ours, theirs, atol=tolerance)
    matcher = StructureMatcher(primitive_cell=False, scale=False)
    found = matcher.get_rms_dist(one, other)
    assert found is not None
    assert found[1] * (one.volume / len(one)) ** (1 / 3) < tolerance


@pytest.mark.parametrize("fmt", EXPORT_FORMATS)
def test_structures_survive_every_format(fmt, tmp_path):
    originals = list(AWKWARD.values())
    crystals = to_structures(from_structures(originals))
    export(selection(crystals), fmt, tmp_path / FILES[fmt])
    back = read_structures(tmp_path / FILES[fmt])
    assert not back.failures
    assert [name.rpartition("#")[2] for name in back.ids] == [f"crystal-{k:02}" for k in range(len(originals))]
    for original, structure in zip(originals, to_structures(back.crystals), strict=True):
        assert_same(original, structure)


@pytest.mark.parametrize("fmt", EXPORT_FORMATS)
def test_random_cells_survive_every_format(fmt, tmp_path):
    seed = 5
    print(f"{seed=}")
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(20, 3, 3)) * 2 + 5 * np.eye(3) * rng.choice([-1, 1], size=(20, 1, 3))
    originals = [Structure(cell, ["Nb", "O", "O"], rng.normal(size=(3, 3)) * 2) for cell in cells]
    assert {np.sign(np.linalg.det(cell)) for cell in cells} == {-1, 1}
    export(selection(originals), fmt, tmp_path / FILES[fmt])
    for original, structure in zip(
        originals, to_structures(read_structures(tmp_path / FILES[fmt]).crystals), strict=True
    ):
        assert_same(original, structure)


@pytest.mark.parametrize("fmt", EXPORT_FORMATS)
def test_same_crystals_same_bytes(fmt, tmp_path):
    def content(place):
        export(selection(list(AWKWARD.values()), [{"e": 0.5, "note": "a b"}] * len(AWKWARD)), fmt, place)
        return [p.read_bytes() for p in sorted(place.rglob("*"))] if place.is_dir() else place.read_bytes()

    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("fmt", ["cif", "poscar"])
def test_no_crystal_becomes_its_mirror_image(fmt, tmp_path):
    mirrored = Structure(QUARTZ.lattice, QUARTZ.species, QUARTZ.frac_coords * np.array([1, 1, -1]))
    export(selection([QUARTZ, left_handed(QUARTZ), mirrored]), fmt, tmp_path / "out")
    back = to_structures(read_structures(tmp_path / "out").crystals)
    assert [structure.get_space_group_info()[1] for structure in back] == [152, 152, 154]


def test_other_programs_read_what_is_written(tmp_path):
    structures = list(AWKWARD.values())
    columns = [
        {"e_above_hull": 0.01 * k, "formula": "x", "kind": "oxide", "stable": k < 3} for k in range(len(structures))
    ]
    for fmt, name in FILES.items():
        if name != "out":
            export(selection(structures, columns), fmt, tmp_path / name)
    with ase.db.connect(tmp_path / "a.db") as database:
        rows = list(database.select("e_above_hull<0.025"))
        assert [row.name for row in rows] == ["crystal-00", "crystal-01", "crystal-02"]
        assert database.get(name="crystal-01").kind == "oxide"
        from_db = [AseAtomsAdaptor.get_structure(row.toatoms()) for row in database.select()]
    from_xyz = [AseAtomsAdaptor.get_structure(atoms) for atoms in ase.io.read(tmp_path / "a.extxyz", ":")]
    from_json = [Structure.from_dict(entry["structure"]) for entry in json.loads((tmp_path / "a.json").read_text())]
    for found in (from_db, from_xyz, from_json):
        for one, other in zip(structures, found, strict=True):
            assert one.lattice.volume == pytest.approx(other.lattice.volume, abs=1e-4)
            np.testing.assert_allclose(one.cart_coords, other.cart_coords, atol=1e-4)


def test_columns_come_back(tmp_path):
    rows = [
        {"e_above_hull": 0.5, "kind": "oxide", "known": True, "n": 3},
        {"e_above_hull": None, "kind": "metal", "known": False, "n": 4},
    ]
    for fmt in ("extxyz", "ase-db", "json", "parquet"):
        export(selection([RUTILE, QUARTZ], rows), fmt, tmp_path / FILES[fmt])
        for row, expected in zip(read_structures(tmp_path / FILES[fmt]).rows(), rows, strict=True):
            assert {key: row[key] for key in expected} == expected, fmt


def test_a_dataset_is_selected_by_id_and_number():
    nbo = load_dataset("nbo")
    assert select("nbo", top=3).ids == nbo.ids[:3]
    chosen = select("nbo", ids=["mp-1470", "mp-2311"])
    assert chosen.ids == ["mp-1470", "mp-2311"]
    row = nbo.ids.index("mp-1470")
    assert chosen.columns["dft_formation_energy"][0] == nbo.columns["dft_formation_energy"][row]
    assert chosen.structures[0].composition.reduced_formula == nbo.columns["formula"][row]
    assert chosen.columns["duplicates"][0] == nbo.columns["duplicates"][row]
    assert select("nbo").ids == nbo.ids


@pytest.fixture
def run_folder(tmp_path):
    rows = [
        {"draw": 0, "status": "selected", "score": 1.5, "file": "1_a", "strictly_valid": True},
        {"draw": 1, "status": "copy", "score": 1.0, "file": "", "strictly_valid": True},
        {"draw": 2, "status": "selected", "score": 0.5, "file": "2_b", "strictly_valid": True},
    ]
    write_run(
        tmp_path / "run",
        structures=[RUTILE, QUARTZ],
        names=["1_a", "2_b"],
        rows=rows,
        columns=tuple(rows[0]),
        record={},
        formats=("cif", "extxyz"),
        relaxed=[AWKWARD["one atom"]],
    )
    return str(tmp_path / "run")


def test_a_run_is_selected_with_what_it_says_about_each(run_folder):
    chosen = select(run_folder, ids=["2_b"], as_drawn=True)
    assert chosen.ids == ["2_b"]
    (row,) = chosen.rows()
    assert row.items() >= {"draw": 2, "status": "selected", "score": 0.5, "strictly_valid": True}.items()
    assert select(run_folder, top=1, as_drawn=True).structures[0].composition.reduced_formula == "TiO2"
    with pytest.raises(InputError, match="no crystal '2_b'; --as-drawn has those that were not relaxed"):
        select(run_folder, ids=["2_b"])
    relaxed = select(run_folder, top=2)
    assert relaxed.ids == ["1_a"]
    assert relaxed.columns["score"][0] == 1.5
    assert relaxed.structures[0].composition.reduced_formula == "W"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nbo", "ids": ["mp-0"]}, "holds no crystal 'mp-0'"),
        ({"source": "nbo", "top": 0}, "1 or more"),
        ({"source": "nbo", "top": 2, "ids": ["mp-2311"]}, "no --ids beside it"),
        ({"source": "nbo", "as_drawn": True}, "run folders with relaxed crystals, and 'nbo' is none"),
        ({"source": "nowhere"}, "neither a dataset"),
    ],
)
def test_what_cannot_be_selected(arguments, message):
    with pytest.raises(InputError, match=message):
        select(**arguments)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="not known; give one of cif, cif-primitive, poscar"):
        export(selection([RUTILE]), "xyz", tmp_path / "out")
    (tmp_path / "there").write_text("mine")
    for fmt in EXPORT_FORMATS:
        with pytest.raises(InputError, match="already exists"):
            export(selection([RUTILE]), fmt, tmp_path / "there")
    with pytest.raises(InputError, match="no crystal"):
        export(selection([]), "cif", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_file_names_are_safe_and_different():
    assert file_names(["oqmd-1/a", "oqmd-1_a", "../x", "", "mp-1"]) == ["oqmd-1_a", "oqmd-1_a_2", "_x", "_", "mp-1"]


@pytest.mark.slow
def test_vasp_inputs_without_any_potential(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from crystalgraph.io.exporting import export_vasp, select\n"
        f"print(export_vasp(select('nbo', ids=['mp-2311', 'mp-1470']), Path({str(tmp_path / 'out')!r})))\n"
    )
    # Neither a folder of potentials nor a settings file that names one.
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PMG")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "({}, {})"
    for name in ("mp-2311", "mp-1470"):
        folder = tmp_path / "out" / name
        assert {p.name for p in folder.iterdir()} == {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"}
        poscar = Poscar.from_file(folder / "POSCAR")
        (original,) = select("nbo", ids=[name]).structures
        assert_same(original, poscar.structure)
        assert (folder / "POTCAR.spec").read_text().split() == [
            {"Nb": "Nb_pv", "O": "O"}[symbol] for symbol in poscar.site_symbols
        ]
        incar = Incar.from_file(folder / "INCAR")
        assert incar["ENCUT"] == 520
        assert len(incar["MAGMOM"]) == len(original)
        assert min(Kpoints.from_file(folder / "KPOINTS").kpts[0]) >= 1


def test_vasp_cells_are_right_handed(tmp_path):
    export_vasp(selection([left_handed(QUARTZ)]), tmp_path / "out", input_set="MPScanRelaxSet")
    poscar = Poscar.from_file(tmp_path / "out" / "crystal-00" / "POSCAR")
    assert np.linalg.det(poscar.structure.lattice.matrix) > 0
    assert_same(QUARTZ, poscar.structure)
    assert Incar.from_file(tmp_path / "out" / "crystal-00" / "INCAR")["METAGGA"].upper() == "R2SCAN"


def test_a_crystal_the_set_does_not_know_is_left_out_with_its_reason(tmp_path):
    exotic = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
    failures, _ = export_vasp(selection([RUTILE, exotic]), tmp_path / "out")
    assert list(failures) == ["crystal-01"]
    assert "Og" in failures["crystal-01"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["crystal-00"]
    with pytest.raises(InputError, match="for none of 1 crystals"):
        export_vasp(selection([exotic]), tmp_path / "none")
    with pytest.raises(InputError, match=r"'MPSet' is not known; pymatgen has .*MPRelaxSet"):
        export_vasp(selection([RUTILE]), tmp_path / "none", input_set="MPSet")
    assert not (tmp_path / "none").exists()


def test_large_values_stay_exact(tmp_path):
    crystals = from_structures(list(AWKWARD.values()))
    for fmt in ("json", "parquet"):
        export(selection(to_structures(crystals)), fmt, tmp_path / FILES[fmt])
        back = read_structures(tmp_path / FILES[fmt]).crystals
        torch.testing.assert_close(back.lattice, crystals.lattice, rtol=0, atol=0)
        torch.testing.assert_close(back.frac_coords, crystals.frac_coords, rtol=0, atol=0)
