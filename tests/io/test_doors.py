"""Every other door than CIF: dialects of POSCAR, layouts of JSON, folders of strangers, and what is too large."""

import gzip
import json
import os
import sys

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry
from pymatgen.io.vasp.inputs import Poscar

from crystalgraph.errors import InputError
from crystalgraph.io import decoding
from crystalgraph.io.datasets import read_card
from crystalgraph.io.exporting import relaxed_part
from crystalgraph.io.load import load
from crystalgraph.io.reading import read_structures

NBO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF = "data_x\n" + "".join(
    f"_cell_{what} {value}\n"
    for what, value in zip(
        ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"),
        (3, 3, 3, 90, 90, 90),
        strict=True,
    )
)
CIF += "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nNb1 0 0 0\nO1 .5 .5 .5\n"


def poscar(*, scale="1.0", lattice="4.2 0 0\n0 4.2 0\n0 0 4.2", names="Nb O", counts="1 1", rest="", head="c"):
    """A POSCAR of two atoms, whatever the dialect."""
    rest = rest or "Direct\n0 0 0\n0.5 0.5 0.5"
    return "\n".join(line for line in (head, scale, lattice, names, counts, rest) if line is not None) + "\n"


POSCARS = {
    "plain": poscar(),
    "three factors": poscar(scale="1 1 2", lattice="4.2 0 0\n0 4.2 0\n0 0 2.1"),
    "a volume": poscar(scale="-74.088", lattice="1 0 0\n0 1 0\n0 0 1"),
    "a volume, Cartesian": poscar(
        scale="-74.088", lattice="2 0 0\n0 2 0\n0 0 2", rest="Cartesian\n0 0 0\n1 1 1", names="Nb O"
    ),
    "three factors, Cartesian": poscar(
        scale="1 2 1", lattice="4.2 0 0\n0 2.1 0\n0 0 4.2", rest="Cartesian\n0 0 0\n2.1 1.05 2.1"
    ),
    "remarks": poscar(scale="1.0 ! scale", counts="1 1 # atoms", rest="Direct ! here\n0 0 0 ! Nb\n.5 .5 .5 ! O"),
    "selective dynamics": poscar(rest="Selective dynamics\nDirect\n0 0 0 T T F\n.5 .5 .5 F F F"),
    "names of potentials": poscar(names="Nb_pv O_s"),
    "names with checksums": poscar(names="Nb/1a2b O/"),
    "capitals": poscar(names="NB O"),
    "small letters": poscar(names="nb o"),
    "an empty comment": poscar(head=""),
    "an empty line before the comment": poscar(head="\nc"),
    "elements at the ends of lines": poscar(names=None, rest="Direct\n0 0 0 Nb\n.5 .5 .5 O"),
    "Fortran's exponents": poscar(rest="Direct\n0.0D+00 0 0\n0.5D+00 5.d-1 .5"),
    "velocities": poscar(rest="Direct\n0 0 0\n.5 .5 .5\n\n0 0 0\n0 0 0"),
}


@pytest.mark.parametrize("name", POSCARS)
def test_dialects_of_poscar(tmp_path, name):
    (tmp_path / "POSCAR").write_text(POSCARS[name])
    table = read_structures(tmp_path / "POSCAR")
    (structure,) = table.structures
    assert structure.composition.formula == "Nb1 O1"
    assert structure.volume == pytest.approx(74.088)
    np.testing.assert_allclose(structure.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (poscar(names=None), "names no elements"),
        (poscar(head="Nb O", names=None), "names no elements"),
        (poscar(names="Xx O"), "'Xx' is not an element"),
        (poscar(names="Nb"), "names 1 elements but counts 2"),
        (poscar(counts="1 2"), "3 atoms are announced but there are coordinates of 2"),
        (poscar(counts="1 -1"), "counts of atoms are"),
        (poscar(counts="99999999999999999999 1"), "too many sites"),
        (poscar(scale="1 2"), ""),
        (poscar(scale="1 -1 1"), "its scale is"),
        (poscar(scale="0"), "its scale is"),
        (poscar(rest="Direct\n0 0 0\n****** .5 .5"), "not all numbers"),
        (poscar(rest="Nirgends\n0 0 0\n.5 .5 .5"), "announced as Direct or Cartesian"),
        ("Nb\n1.0\n", "too few"),
    ],
)
def test_poscars_that_are_none_say_why(tmp_path, text, reason):
    (tmp_path / "POSCAR").write_text(text)
    table = read_structures(tmp_path / "POSCAR")
    if reason:
        assert reason in table.failures["POSCAR"]
    else:
        assert len(table.order) == 1


def test_poscars_are_those_of_pymatgen(tmp_path):
    rng = np.random.default_rng(4)
    structure = Structure(Lattice.from_parameters(4, 5, 6, 71, 84, 95), ["Nb", "O", "O"], rng.random((3, 3)))
    for number, scale in enumerate((1.0, 2.5, -80.0)):
        lines = Poscar(structure).get_str(significant_figures=12).split("\n")
        lines[1] = str(scale)
        (tmp_path / f"POSCAR_{number}").write_text("\n".join(lines))
        theirs = Poscar.from_str("\n".join(lines)).structure
        (ours,) = read_structures(tmp_path / f"POSCAR_{number}").structures
        np.testing.assert_allclose(ours.lattice.matrix, theirs.lattice.matrix, rtol=1e-9)
        np.testing.assert_allclose(ours.frac_coords, theirs.frac_coords, atol=1e-9)


DOCUMENT = NBO.as_dict()
JARVIS = {
    "lattice_mat": NBO.lattice.matrix.tolist(),
    "coords": NBO.cart_coords.tolist(),
    "elements": [site.specie.symbol for site in NBO],
    "cartesian": True,
}
OPTIMADE = {
    "lattice_vectors": NBO.lattice.matrix.tolist(),
    "cartesian_site_positions": NBO.cart_coords.tolist(),
    "species_at_sites": [site.specie.symbol for site in NBO],
}
SPLIT = {"index": [0, 1], "columns": ["structure", "gap"], "data": [[DOCUMENT, 0.5], [DOCUMENT, 1.5]]}
LAYOUTS = {
    "pandas, records": ([{"material_id": "m", "structure": DOCUMENT}], ["m"]),
    "pandas, split; matminer": (SPLIT, ["0", "1"]),
    "pandas, columns": ({"structure": {"0": DOCUMENT, "1": DOCUMENT}, "gap": {"0": 1, "1": 2}}, ["0", "1"]),
    "pandas, index": ({"a": {"structure": DOCUMENT}, "b": {"structure": DOCUMENT}}, ["a", "b"]),
    "pandas, table": ({"schema": {}, "data": [{"index": 0, "structure": DOCUMENT}]}, ["0"]),
    "monty's DataFrame": ({"@module": "pandas", "@class": "DataFrame", "data": json.dumps(SPLIT)}, ["0", "1"]),
    "JARVIS": ([{"jid": "JVASP-1", "atoms": JARVIS}], ["JVASP-1"]),
    "OPTIMADE": ({"data": [{"id": "x/1", "type": "structures", "attributes": OPTIMADE}], "meta": {}}, ["x/1"]),
    "emmet's identifiers": ([{"material_id": {"string": "mp-7"}, "structure": DOCUMENT}], ["mp-7"]),
    "a table with one name": ({"lattice": DOCUMENT}, ["lattice"]),
    "entries": ([ComputedStructureEntry(NBO, -1.0, entry_id="mp-1").as_dict()], ["mp-1"]),
    "CIFs": ([{"id": 3, "cif": CIF}], ["3"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_json(tmp_path, name):
    document, names = LAYOUTS[name]
    (tmp_path / "a.json").write_text(json.dumps(document, default=str))
    table = read_structures(tmp_path / "a.json")
    assert not table.failures
    assert [one.partition("#")[2] or names[0] for one in table.ids] == names
    for structure in table.structures:
        assert structure.composition.reduced_formula == "NbO"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Molecule(["O", "H"], [[0, 0, 0], [0, 0, 1]]).as_dict(), "Molecule, which has no lattice"),
        ([ComputedEntry("NbO", -1.0).as_dict()], "ComputedEntry, not a Structure"),
        ({"1": {"numbers": {}}, "ids": [1], "nextid": 2}, "database of ASE in JSON"),
        ({"results": {"structures": [DOCUMENT]}}, "under results/structures"),
        ([[1, DOCUMENT]], "orient='values'"),
        ({"energy": 1, "volume": 2}, "its keys are 'energy', 'volume'"),
        ({}, "holds no crystal"),
    ],
)
def test_a_layout_without_crystals_is_one_reason_with_its_name(tmp_path, content, reason):
    (tmp_path / "a.json").write_text(json.dumps(content))
    table = read_structures(tmp_path / "a.json")
    assert list(table.failures) == ["a"]
    assert reason in table.failures["a"]


def test_a_list_of_numbers_and_a_table_too_wide_are_one_reason_each(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1.5, None, True] * 5))
    assert "a list of 15 values" in read_structures(tmp_path / "a.json").failures["a"]
    (tmp_path / "b.csv").write_text("id,cif" + ",x" * 10_000 + "\n")
    assert "10,002 columns" in read_structures(tmp_path / "b.csv").failures["b"]


def test_a_broken_json_of_many_lines_is_one_failure(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([DOCUMENT], indent=1)[:-40])
    assert list(read_structures(tmp_path / "a.json").failures) == ["a"]


def test_json_is_read_without_importing_what_it_names(tmp_path):
    module = tmp_path / "named_in_json.py"
    module.write_text("raise SystemExit('imported')\n")
    named = {"@module": "named_in_json", "@class": "Thing"}
    document = json.loads(json.dumps(DOCUMENT))
    document |= {"@module": "named_in_json", "@class": "Structure", "properties": {"x": named}}
    document["sites"][0]["properties"] = {"y": named}
    (tmp_path / "a.json").write_text(json.dumps([document, {"structure": document, "z": named}]))
    sys.path.insert(0, str(tmp_path))
    try:
        assert len(read_structures(tmp_path / "a.json")) == 2
    finally:
        sys.path.remove(str(tmp_path))
    assert "named_in_json" not in sys.modules


def test_a_file_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    assert "nested too deeply" in read_structures(tmp_path / "a.json").failures["a"]


def test_names_within_files_are_one_printable_line(tmp_path):
    rows = [{"id": "a\nb\ud800", "note": "\ud800", "structure": DOCUMENT}, {"id": "x" * 9_000, "structure": DOCUMENT}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    table = read_structures(tmp_path / "a.json")
    assert table.ids[0] == "a#a b?"
    assert len(table.ids[1]) < 400
    assert table.columns["note"][0] == "?"


def test_a_folder_of_strangers_is_read_or_named(tmp_path):
    for name in ("a.cif", "b (1).CIF", "link.cif"):
        (tmp_path / name).write_text(CIF)
    (tmp_path / "c.cif.gz").write_bytes(gzip.compress(CIF.encode()))
    (tmp_path / "broken.cif.gz").write_bytes(gzip.compress(CIF.encode())[:40])
    (tmp_path / "d.mcif").write_text(CIF)
    (tmp_path / "SPOSCAR").write_text(POSCARS["plain"])
    (tmp_path / "geo.contcar").write_text(POSCARS["plain"])
    (tmp_path / "e.zip").write_bytes(b"PK")
    (tmp_path / "f.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "._a.cif").write_text("")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe.cif")
    table = read_structures(tmp_path)
    assert table.ids == ["SPOSCAR", "a", "b (1)", "c", "d", "geo", "link"]
    assert "gzip" in table.failures["broken"]
    (said,) = table.source.gaps
    for name, why in {
        "e.zip": "an archive",
        "f.json": "beside",
        "notes.txt": "not a known kind",
        "._a.cif": "hidden",
        "sub": "a folder",
        "pipe.cif": "neither a file",
    }.items():
        assert f"{name} (" in said
        assert why in said.partition(f"{name} (")[2].partition(")")[0]


def test_a_folder_without_structures_says_what_it_holds(tmp_path):
    (tmp_path / "run1").mkdir()
    with pytest.raises(InputError, match=r"holds no structure file but 'run1' \(a folder"):
        read_structures(tmp_path)


def test_names_in_any_bytes(tmp_path):
    for name in (b"caf\xe9.cif", b"a\nb.cif", "ü ß.cif".encode()):
        (tmp_path / os.fsdecode(name)).write_text(CIF)
    table = read_structures(tmp_path)
    assert table.ids == ["a\\nb", r"caf\xe9", "ü ß"]
    "".join(table.ids).encode()


def test_what_cannot_be_looked_at_is_one_line(tmp_path):
    for name in ("a" * 5_000, "a\0b"):
        with pytest.raises(InputError):
            load(name)
        with pytest.raises(InputError, match="no dataset"):
            read_card(name)
        assert relaxed_part(name) is None
    os.mkfifo(tmp_path / "pipe.cif")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read_structures(tmp_path / "pipe.cif")


@pytest.mark.parametrize("name", ["a.cif", "a.cif.gz", "POSCAR", "a.json", "a.csv", "a.db", "a.parquet", "a.xyz"])
def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch, name):
    monkeypatch.setattr(decoding, "MAX_BYTES", 1_000)
    content = bytes(2_000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (reason,) = read_structures(tmp_path / name).failures.values()
    assert "larger than" in reason


def test_a_bare_structure_is_one_crystal_and_a_mixed_list_has_its_reasons():
    assert len(load(NBO)) == 1
    assert len(load(NBO.to_ase_atoms())) == 1
    table = load([NBO, NBO.to_ase_atoms(), Atoms("O"), "NbO", 5, None])
    assert table.ids == ["0", "1"]
    assert list(table.failures) == ["2", "3", "4", "5"]
    assert "text 'NbO'" in table.failures["3"]
    assert "type int" in table.failures["4"]


def test_extended_xyz_bounds_what_it_announces(tmp_path):
    head = 'Lattice="3 0 0 0 3 0 0 0 3" pbc="T T T"'
    (tmp_path / "a.xyz").write_text(f"1\n{head} Properties=species:S:1:pos:R:3000000000\nNb 0 0 0\n")
    (tmp_path / "b.xyz").write_text(f"99999999\n{head}\nNb 0 0 0\n")
    failures = read_structures(tmp_path).failures
    assert "columns are announced" in failures["a"]
    assert "too many sites" in failures["b"]
