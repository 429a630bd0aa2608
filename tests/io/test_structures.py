import json
import warnings

import numpy as np
import pytest
import spglib
import torch
from ase import Atoms
from ase.build import bulk
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_atoms, from_structures, to_atoms, to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.reading import read_structures
from crystalgraph.io.writing import FORMATS, write_structures
from crystalgraph.runs.folder import write_run

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.7, 71.2, 83.9, 64.4),
    ["Nb", "O", "Nb", "O", "O"],
    # Coordinates near, but not at, thirds and sixths: nothing may pull them there.
    [[0.33329, 0.66671, 0.1], [0.7, 0.2, 0.16661], [0.9, 0.1, 0.6], [0.4, 0.8, 0.83337], [0.05, 0.5, 0.33337]],
)
ALL = {"rock-salt": ROCK_SALT, "perovskite": PEROVSKITE, "triclinic": TRICLINIC}

DISORDERED = Structure(Lattice.cubic(4), [{"Nb": 0.5, "Ti": 0.5}], [[0, 0, 0]])


@pytest.fixture
def random_crystals():
    seed = 11
    print(f"{seed=}")
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, size=12)
    return Crystals(
        lattice=torch.from_numpy(rng.normal(size=(12, 3, 3)) + 6 * np.eye(3)),
        frac_coords=torch.from_numpy(rng.random((counts.sum(), 3))),
        atomic_numbers=torch.from_numpy(rng.integers(1, 90, size=counts.sum())),
        num_atoms=torch.from_numpy(counts),
    )


def distance_table(structure):
    """Distances between all atoms, sorted within each pair of elements: the same for any order and axes."""
    numbers = np.array(structure.atomic_numbers)
    table = structure.distance_matrix
    return {
        (a, b): np.sort(table[np.ix_(numbers == a, numbers == b)].ravel())
        for a in set(structure.atomic_numbers)
        for b in set(structure.atomic_numbers)
    }


def assert_same_crystal(one, other, tolerance=1e-4):
    """The same crystal, in whatever cell."""
    one, other = primitive(one), primitive(other)
    first_cell, second_cell = (s.lattice.get_niggli_reduced_lattice().parameters for s in (one, other))
    np.testing.assert_allclose(first_cell, second_cell, atol=tolerance)
    _, largest = StructureMatcher(primitive_cell=False, scale=False).get_rms_dist(one, other)
    assert largest * (one.volume / len(one)) ** (1 / 3) < tolerance


def primitive(structure):
    """A primitive cell with every atom where it is."""
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers)
    lattice, frac_coords, numbers = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=1e-4)
    return Structure(Lattice(lattice), numbers, frac_coords)


def assert_same_cell(one, other, tolerance=1e-4):
    """The same crystal in the same cell."""
    np.testing.assert_allclose(one.lattice.parameters, other.lattice.parameters, atol=tolerance)
    first, second = distance_table(one), distance_table(other)
    assert first.keys() == second.keys()
    for pair in first:
        np.testing.assert_allclose(first[pair], second[pair], atol=tolerance)


def test_structures_round_trip_exactly(random_crystals):
    back = from_structures(to_structures(random_crystals))
    for name in ("lattice", "frac_coords", "atomic_numbers", "num_atoms"):
        torch.testing.assert_close(getattr(back, name), getattr(random_crystals, name), rtol=0, atol=0)


def test_atoms_round_trip(random_crystals):
    back = from_atoms(to_atoms(random_crystals))
    torch.testing.assert_close(back.lattice, random_crystals.lattice, rtol=0, atol=0)
    torch.testing.assert_close(back.frac_coords, random_crystals.frac_coords, rtol=0, atol=1e-12)
    assert back.atomic_numbers.tolist() == random_crystals.atomic_numbers.tolist()


def test_atoms_and_structures_are_the_same_crystal_as_pymatgen_makes():
    for structure in ALL.values():
        ours = from_atoms([AseAtomsAdaptor.get_atoms(structure)])
        torch.testing.assert_close(ours.frac_coords, from_structures([structure]).frac_coords, rtol=0, atol=1e-12)
        theirs = AseAtomsAdaptor.get_atoms(to_structures(ours)[0])
        np.testing.assert_allclose(to_atoms(ours)[0].positions, theirs.positions, atol=1e-12)


def test_oxidation_states_and_isotopes_are_dropped():
    charged = ROCK_SALT.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert from_structures([charged]).atomic_numbers.tolist() == [11] * 4 + [17] * 4
    heavy = Structure(Lattice.cubic(3), ["D"], [[0, 0, 0]])
    assert from_structures([heavy]).atomic_numbers.tolist() == [1]


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (DISORDERED, "disordered"),
        (Structure(Lattice.cubic(4), [{"Nb": 0.9}], [[0, 0, 0]]), "disordered"),
        (Structure(Lattice.cubic(4), [], []), "no atoms"),
        (Structure(Lattice.cubic(4), ["X"], [[0, 0, 0]]), "not an element"),
        (Structure(Lattice.cubic(4), ["Nb"], [[0, np.nan, 0]]), "not finite"),
        (Structure([[np.nan, 0, 0], [0, 3, 0], [0, 0, 3]], ["Nb"], [[0, 0, 0]]), "not finite"),
        (Structure([[3, 0, 0], [3, 0, 0], [0, 0, 3]], ["Nb"], [[0, 0, 0]]), "no volume"),
    ],
)
def test_what_is_not_a_crystal_is_refused_with_the_reason(structure, reason):
    with pytest.raises(InputError, match=f"structure 1 .*{reason}"):
        from_structures([ROCK_SALT, structure])


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms(), "no atoms"),
        (Atoms("Nb", cell=[3, 3, 3], pbc=[True, True, False]), "not periodic"),
        (Atoms("Nb", pbc=True), "no volume"),
        (Atoms("X", cell=[3, 3, 3], pbc=True), "atomic number"),
    ],
)
def test_atoms_that_are_no_crystal_are_refused(atoms, reason):
    with pytest.raises(InputError, match=reason):
        from_atoms([bulk("Nb"), atoms])


def test_nothing_to_convert():
    with pytest.raises(InputError, match="at least one"):
        from_structures([])


@pytest.mark.parametrize("fmt", FORMATS)
def test_written_files_are_read_back(tmp_path, fmt):
    write_structures(list(ALL.values()), list(ALL), tmp_path, fmt)
    result = read_structures(tmp_path)
    assert not result.failures
    back = dict(zip(result.ids, to_structures(result.crystals), strict=True))
    assert {name.split("#")[-1] for name in back} == set(ALL)
    for name, structure in back.items():
        assert_same_crystal(structure, ALL[name.split("#")[-1]])


@pytest.mark.parametrize("fmt", FORMATS)
def test_random_crystals_are_read_back(tmp_path, random_crystals, fmt):
    structures = to_structures(random_crystals)
    names = [f"{number:02d}" for number in range(len(structures))]
    write_structures(structures, names, tmp_path, fmt)
    result = read_structures(tmp_path)
    assert [name.split("#")[-1] for name in result.ids] == names
    for structure, back in zip(structures, to_structures(result.crystals), strict=True):
        assert_same_crystal(back, structure)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_same_structures_give_the_same_bytes(tmp_path, fmt):
    first = write_structures(list(ALL.values()), list(ALL), tmp_path / "a", fmt)
    second = write_structures(list(ALL.values()), list(ALL), tmp_path / "b", fmt)
    assert [f.name for f in first] == [f.name for f in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_cifs_have_the_conventional_cell_or_the_primitive_one(tmp_path):
    primitive_cell = ROCK_SALT.get_primitive_structure()
    for fmt, group, n_atoms in (("cif", "F m -3 m", 8), ("cif-primitive", "P 1", 2)):
        (file,) = write_structures([primitive_cell], ["a"], tmp_path / fmt, fmt)
        lines = file.read_text().splitlines()
        assert lines[:2] == ["# NaCl, Fm-3m (225) within 0.01 A", "data_a"]
        assert f"_space_group_name_H-M_alt '{group}'" in lines
        (back,) = to_structures(read_structures(file).crystals)
        assert len(back) == n_atoms
        assert_same_crystal(back, ROCK_SALT)


def test_an_extxyz_keeps_the_cell_as_it_is(tmp_path):
    write_structures(list(ALL.values()), list(ALL), tmp_path, "extxyz")
    for structure, back in zip(ALL.values(), to_structures(read_structures(tmp_path).crystals), strict=True):
        assert_same_cell(structure, back)


def test_nothing_is_overwritten(tmp_path):
    write_structures([ROCK_SALT], ["b"], tmp_path, "cif")
    before = (tmp_path / "b.cif").read_bytes()
    with pytest.raises(InputError, match="not overwritten"):
        write_structures([PEROVSKITE, TRICLINIC], ["a", "b"], tmp_path, "cif")
    assert [p.name for p in tmp_path.iterdir()] == ["b.cif"]
    assert (tmp_path / "b.cif").read_bytes() == before


@pytest.mark.parametrize(
    ("names", "fmt", "message"),
    [
        (["a", "b"], "xsf", "cif, cif-primitive, poscar, extxyz"),
        (["a"], "cif", "give each its own"),
        (["a", "a"], "cif", "give each its own"),
        (["a", "../b"], "cif", "file name"),
    ],
)
def test_bad_requests_to_write(tmp_path, names, fmt, message):
    with pytest.raises(InputError, match=message):
        write_structures([ROCK_SALT, PEROVSKITE], names, tmp_path, fmt)
    assert not list(tmp_path.iterdir())


def test_a_cif_of_many_blocks(tmp_path):
    write_structures(list(ALL.values()), list(ALL), tmp_path, "cif")
    texts = [(tmp_path / f"{name}.cif").read_text() for name in ALL]
    flat = texts[0].replace("data_rock-salt", "data_flat").replace("_cell_length_a 5.69", "_cell_length_a 0.00")
    broken = "data_broken\n_cell_length_a 4\nloop_\n_atom_site_label\nNb\n"
    many = tmp_path / "many" / "many.cif"
    many.parent.mkdir()
    many.write_text("\n".join(["data_global\n_journal_name 'Acta'\n", *texts, flat, broken, texts[0]]))
    result = read_structures(many)
    assert result.ids == ["many#rock-salt", "many#perovskite", "many#triclinic", "many#rock-salt#2"]
    assert set(result.failures) == {"many#flat", "many#broken"}
    assert len(result.crystals) == 4


def test_a_cif_with_symmetry_and_rounded_thirds(tmp_path):
    (tmp_path / "zno.cif").write_text(
        "data_ZnO\n_cell_length_a 3.25\n_cell_length_b 3.25\n_cell_length_c 5.207\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 120\n_symmetry_space_group_name_H-M 'P 63 m c'\n"
        "_symmetry_Int_Tables_number 186\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n"
        "_atom_site_fract_z\nZn1 0.3333 0.6667 0\nO1 0.3333 0.6667 0.3819\n"
    )
    (structure,) = to_structures(read_structures(tmp_path).crystals)
    assert structure.composition.formula == "Zn2 O2"
    assert structure.get_space_group_info(symprec=1e-3)[1] == 186


@pytest.mark.parametrize(
    ("formula", "units", "accepted"),
    [
        ("'D2 O'", "1", True),
        ("'H2 O'", "1", True),
        ("?", "1", True),
        ("'H4 O2'", "?", True),
        ("'H4 O2'", "1", False),
        ("'H2 O'", "2", False),
        ("'H3 O'", "?", False),
        ("'H2 O Na'", "?", False),
    ],
)
def test_atoms_must_be_those_of_the_stated_formula(tmp_path, formula, units, accepted):
    ice = Structure(Lattice.cubic(4), ["D", "D", "O"], [[0.1, 0, 0], [0, 0.1, 0], [0.5, 0.5, 0.5]])
    (file,) = write_structures([ice], ["ice"], tmp_path, "cif-primitive")
    text = file.read_text()
    assert "_chemical_formula_sum 'H2 O1'" in text
    stated = "_cell_formula_units_Z 1"
    assert stated in text
    file.write_text(text.replace("'H2 O1'", formula).replace(stated, stated[:-1] + units))
    result = read_structures(file)
    if accepted:
        assert sorted(result.crystals.atomic_numbers.tolist()) == [1, 1, 8]
    else:
        assert "the formula is" in result.failures["ice"]


def test_a_folder_with_broken_files(tmp_path):
    write_structures(list(ALL.values()), list(ALL), tmp_path, "cif")
    whole = (tmp_path / "perovskite.cif").read_text()
    DISORDERED.to(filename=str(tmp_path / "disordered.cif"))
    (tmp_path / "mixed.cif").write_text(whole.replace(" Ti ", " Sr ", 1).replace("0.5", "0.0"))
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "cut.cif").write_text(whole[: len(whole) // 2])
    (tmp_path / "binary.cif").write_bytes(bytes(range(256)))
    (tmp_path / "nan.cif").write_text(whole.replace("_cell_length_a 3.905", "_cell_length_a nan"))
    (tmp_path / "water.cif").write_text(whole.replace(" Sr ", " OH2 "))
    (tmp_path / "dangling.cif").symlink_to(tmp_path / "nowhere")
    (tmp_path / "POSCAR").write_text("Nb\n1.0\n3 0 0\n0 3 0\n0 0 3\n1\nDirect\n0 0 0\n")
    (tmp_path / "short.vasp").write_text("Nb\n1.0\n3 0 0\n0 3 0\n0 0 3\nNb\n2\nDirect\n0 0 0\n")
    (tmp_path / "notes.txt").write_text("not a structure")
    (tmp_path / ".hidden.cif").write_text("")
    (tmp_path / "folder.cif").mkdir()
    result = read_structures(tmp_path)
    assert result.ids == sorted(ALL)
    reasons = {
        "disordered": "disordered",
        "mixed": "",
        "empty": "no crystal",
        "cut": "cannot be read",
        "binary": "no crystal",
        "nan": "",
        "water": "more than one atom",
        "dangling": "No such file",
        "POSCAR": "names no elements",
        "short": "cannot be read",
    }
    assert set(result.failures) == set(reasons)
    for name, reason in reasons.items():
        assert reason in result.failures[name], name
        assert "\n" not in result.failures[name]


@pytest.mark.parametrize("fmt", FORMATS)
def test_no_truncated_file_escapes(tmp_path, fmt):
    (file,) = write_structures([TRICLINIC], ["t"], tmp_path / "whole", fmt)
    text = file.read_text()
    for end in range(0, len(text) - 10, max(1, len(text) // 60)):
        cut = tmp_path / f"cut{file.suffix}"
        cut.write_text(text[:end])
        result = read_structures(cut)
        # Cut in its last number it may still be a crystal, but never with atoms missing.
        assert len(result.ids) + len(result.failures) == 1
        assert len(result.crystals.atomic_numbers) in (0, 5), end


def test_extxyz_keeps_the_good_frames(tmp_path):
    (file,) = write_structures(list(ALL.values()), list(ALL), tmp_path, "extxyz")
    slab = '1\npbc="T T F" Lattice="3 0 0 0 3 0 0 0 9" Properties=species:S:1:pos:R:3\nNb 0 0 0\n'
    molecule = "1\nProperties=species:S:1:pos:R:3 name=gas\nO 0 0 0\n"
    nan = '1\nLattice="3 0 0 0 3 0 0 0 nan" Properties=species:S:1:pos:R:3 pbc="T T T" name=nan\nNb 0 0 0\n'
    file.write_text(slab + molecule + file.read_text() + nan + "5\ncut off\nNb 0 0 0\n")
    result = read_structures(file)
    assert result.ids == [f"candidates#{name}" for name in ALL]
    assert set(result.failures) == {"candidates#0", "candidates#gas", "candidates#nan", "candidates#6"}
    assert "not periodic" in result.failures["candidates#0"]
    assert "5 atoms are announced" in result.failures["candidates#6"]


def test_poscars_of_other_hands(tmp_path):
    (tmp_path / "POSCAR_1").write_text(
        "Nb\n-27.0\n2 0 0\n0 2 0\n0 0 2\nNb O\n1 1\nSelective dynamics\nCartesian\n0 0 0 T T T\n1 1 1 F F F\n"
    )
    (tmp_path / "POSCAR_2").write_text("Nb O\n1.0\n3 0 0\n0 3 0\n0 0 3\n1 1\nDirect\n0 0 0 Nb\n0.5 0.5 0.5 O\n")
    result = read_structures(tmp_path)
    assert result.ids == ["POSCAR_1", "POSCAR_2"]
    torch.testing.assert_close(result.crystals.volume, torch.tensor([27.0, 27.0], dtype=torch.float64))
    torch.testing.assert_close(result.crystals.frac_coords[1], torch.full((3,), 0.5, dtype=torch.float64))
    assert result.crystals.atomic_numbers.tolist() == [41, 8, 41, 8]


def test_equal_stems_get_their_ending(tmp_path):
    for fmt in ("cif", "poscar"):
        write_structures([ROCK_SALT], ["a"], tmp_path, fmt)
    assert read_structures(tmp_path).ids == ["a.cif", "a.vasp"]


def test_no_file_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no structure file"):
        read_structures(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_structures(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="not a known kind"):
        read_structures(tmp_path / "a.txt")


def test_reading_is_quiet(tmp_path):
    write_structures([ROCK_SALT], ["a"], tmp_path, "cif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_structures(tmp_path)


def test_no_crystals_give_no_structures():
    assert to_structures(load_dataset("nbo").crystals[:0]) == []


def json_of(structure):
    return json.dumps(structure.as_dict())


def test_pymatgen_json_of_every_shape(tmp_path):
    dicts = {name: structure.as_dict() for name, structure in ALL.items()}
    entries = [{"material_id": f"mp-{k}", "structure": d, "energy": -1.0} for k, d in enumerate(dicts.values())]
    contents = {
        "one.json": json.dumps(dicts["triclinic"]),
        "list.json": json.dumps(list(dicts.values())),
        "table.json": json.dumps(dicts),
        "entries.json": json.dumps(entries),
        "lines.jsonl": "\n".join(json.dumps(entry) for entry in dicts.values()) + "\n",
    }
    names = {}
    for file, content in contents.items():
        (tmp_path / file).write_text(content)
        result = read_structures(tmp_path / file)
        assert not result.failures
        names[file] = result.ids
        expected = list(ALL.values()) if len(result.ids) == 3 else [TRICLINIC]
        for one, other in zip(to_structures(result.crystals), expected, strict=True):
            assert_same_crystal(one, other)
    assert names["one.json"] == ["one"]
    assert names["list.json"] == ["list#0", "list#1", "list#2"]
    assert names["table.json"] == [f"table#{name}" for name in ALL]
    assert names["entries.json"] == ["entries#mp-0", "entries#mp-1", "entries#mp-2"]
    assert names["lines.jsonl"] == ["lines#0", "lines#1", "lines#2"]
    assert len(read_structures(tmp_path).ids) == 13, "a folder of nothing but JSON is read"
    write_structures([ROCK_SALT], ["a"], tmp_path, "cif")
    assert read_structures(tmp_path).ids == ["a"], "beside other kinds, JSON is somebody's record"


def test_broken_json_keeps_what_is_whole(tmp_path):
    whole = json_of(ROCK_SALT)
    charged = ROCK_SALT.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    lines = [whole, whole[:100], '{"not": "a structure"}', "5", json_of(DISORDERED), json_of(charged)]
    (tmp_path / "lines.json").write_text("\n".join(lines))
    result = read_structures(tmp_path / "lines.json")
    assert result.ids == ["lines#0", "lines#5"]
    assert result.order == [f"lines#{k}" for k in range(6)]
    assert "disordered" in result.failures["lines#4"]
    assert "no structure" in result.failures["lines#2"]
    nan = ROCK_SALT.as_dict()
    nan["lattice"]["matrix"][0][0] = float("nan")
    contents = {"cut": whole[:100], "empty": "", "nothing": "[]", "number": "5", "nan": json.dumps(nan), "null": "null"}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(content)
        result = read_structures(tmp_path / f"{name}.json")
        assert result.ids == []
        assert list(result.failures) == [name]
        assert "\n" not in result.failures[name]


def test_order_is_that_of_the_files(tmp_path):
    write_structures([ROCK_SALT, PEROVSKITE], ["a", "c"], tmp_path, "cif")
    (tmp_path / "b.cif").write_text("")
    (tmp_path / "d.cif").write_text(
        (tmp_path / "a.cif").read_text() + "data_broken\n_cell_length_a 4\n_atom_site_x 1\n"
    )
    result = read_structures(tmp_path)
    assert result.order == ["a", "b", "c", "d#a", "d#broken"]
    assert [file.name for file in result.source.files] == ["a.cif", "b.cif", "c.cif", "d.cif"]
    assert {*result.ids, *result.failures} == set(result.order)


def test_checksum_is_of_names_and_content_not_of_the_place(tmp_path):
    for place in ("one", "two"):
        write_structures([ROCK_SALT], ["a"], tmp_path / place, "cif")
    one, two = (read_structures(tmp_path / place).source.sha256 for place in ("one", "two"))
    assert one == two
    with (tmp_path / "two" / "a.cif").open("a") as file:
        file.write("# more\n")
    assert read_structures(tmp_path / "two").source.sha256 != one


@pytest.mark.parametrize("formats", [("cif", "extxyz", "poscar"), ("extxyz", "poscar"), ("poscar",), ("extxyz",)])
def test_a_run_folder_is_read_once_whatever_its_formats(tmp_path, formats):
    write_run(
        tmp_path / "run",
        structures=list(ALL.values()),
        names=["1_a", "2_b", "3_c"],
        rows=[],
        columns=(),
        record={},
        formats=formats,
        relaxed=[ROCK_SALT],
    )
    result = read_structures(tmp_path / "run")
    assert [name.split("#")[-1] for name in result.ids] == ["1_a", "2_b", "3_c"]
    for one, other in zip(to_structures(result.crystals), ALL.values(), strict=True):
        assert_same_crystal(one, other)


def test_cifs_as_ase_writes_them(tmp_path):
    for name, atoms in {"nb": bulk("Nb"), "mgo": bulk("MgO", "rocksalt", a=4.2), "ti": bulk("Ti")}.items():
        atoms.write(tmp_path / f"{name}.cif")
    to_atoms(from_structures([PEROVSKITE]))[0].write(tmp_path / "perovskite.extxyz")
    to_atoms(from_structures([TRICLINIC]))[0].write(tmp_path / "POSCAR", format="vasp")
    result = read_structures(tmp_path)
    assert not result.failures
    assert result.crystals.num_atoms.tolist() == [5, 2, 1, 5, 2]
