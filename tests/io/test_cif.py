"""CIFs that leave something open, round too much or say too little: the crystal that they state, or why there is none.

Numbers of atoms are those of gemmi's operations and of spglib.
"""

import gemmi
import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystalgraph.io.reading import read_structures
from tests.io.test_dialects import OPERATIONS, cif

SITES = "label fract_x fract_y fract_z"
TYPED = "label type_symbol fract_x fract_y fract_z"
CUBE, TRIGONAL, RHOMBOHEDRAL = "4.2 4.2 4.2 90 90 90", "4.546 4.546 11.862 90 90 120", "4.75 4.75 4.75 57.2 57.2 57.2"
WURTZITE, NICKELINE = "3.25 3.25 5.2 90 90 120", "6.1 6.1 5.0 90 90 120"
MONOCLINIC, SILICON, ANATASE = "5.2 6.1 7.3 90 95 90", "5.431 5.431 5.431 90 90 90", "3.785 3.785 9.514 90 90 90"
ORTHORHOMBIC = "5.2 7.9 7.3 90 90 90"
ROCK_SALT = ("Nb1 0 0 0", "O1 0.5 0.5 0.5")


def named(symbol, **more):
    """What states the group, and perhaps formula and Z."""
    lines = [f"_symmetry_space_group_name_H-M '{symbol}'"] if symbol else []
    tags = {
        "number": "_space_group_IT_number",
        "hall": "_space_group_name_Hall",
        "z": "_cell_formula_units_Z",
        "formula": "_chemical_formula_sum",
    }
    return "\n".join([*lines, *(f"{tags[key]} '{value}'" for key, value in more.items())])


def read(tmp_path, text):
    (tmp_path / "a.cif").write_bytes(text.encode() if isinstance(text, str) else text)
    table = read_structures(tmp_path / "a.cif")
    assert len(table.order) == 1
    return table.structures[0] if len(table) else table.failures["a"]


SETTINGS = {
    "hexagonal axes": (cif("Bi1 0 0 0.234", cell=TRIGONAL, header=named("R -3 m")), 6, 166),
    "hexagonal axes, said so": (cif("Bi1 0 0 0.234", cell=TRIGONAL, header=named("R -3 m :H")), 6, 166),
    "rhombohedral axes": (cif("Bi1 0.234 0.234 0.234", cell=RHOMBOHEDRAL, header=named("R -3 m")), 2, 166),
    "rhombohedral axes, by number": (
        cif("Bi1 0.234 0.234 0.234", cell=RHOMBOHEDRAL, header=named("", number=166)),
        2,
        166,
    ),
    "rhombohedral axes, by Hall symbol": (
        cif("Bi1 0.234 0.234 0.234", cell=RHOMBOHEDRAL, header=named("R -3 m", hall="-P 3* 2")),
        2,
        166,
    ),
    "origin at -43m, told by Z": (cif("Si1 0 0 0", cell=SILICON, header=named("F d -3 m", z=8)), 8, 227),
    "origin at -3m, told by Z": (cif("Si1 .125 .125 .125", cell=SILICON, header=named("F d -3 m", z=8)), 8, 227),
    "origin at -43m, said so": (cif("Si1 0 0 0", cell=SILICON, header=named("F d -3 m S")), 8, 227),
    "origin at -3m, said so": (cif("Si1 .125 .125 .125", cell=SILICON, header=named("F d -3 m :2")), 8, 227),
    "anatase, first origin": (
        cif("Ti1 0 0 0", "O1 0 0 .2081", cell=ANATASE, header=named("I 41/a m d", z=4, formula="Ti O2")),
        12,
        141,
    ),
    "anatase, second origin": (
        cif("Ti1 0 .75 .125", "O1 0 .75 .3331", cell=ANATASE, header=named("I 41/a m d", z=4, formula="Ti O2")),
        12,
        141,
    ),
    "the Hall symbol alone": (cif(*ROCK_SALT, cell=CUBE, header=named("", hall="-F 4 2 3")), 8, 225),
    "an old symbol": (cif("Na1 .12 .23 .34", cell="5.2 6.1 7.3 90 90 90", header=named("C m c a")), 16, 64),
    "a full symbol": (cif(*ROCK_SALT, cell=CUBE, header=named("F 4/m -3 2/m")), 8, 225),
    "a full symbol with screw axes": (
        cif("Na1 .12 .23 .34", cell=ORTHORHOMBIC, header=named("P 21/n 21/m 21/a")),
        8,
        62,
    ),
    "a full symbol without blanks": (cif("Na1 0 0 0", cell=ANATASE, header=named("P4/m2_1/b2/m")), 2, 123),
    "an index with an underscore": (cif("Na1 .12 .23 .34", cell=MONOCLINIC, header=named("P2_1/c")), 4, 14),
    "underscores for blanks": (cif(*ROCK_SALT, cell=CUBE, header=named("F_m_-3_m")), 8, 225),
    "small letters": (cif(*ROCK_SALT, cell=CUBE, header=named("f m -3 m")), 8, 225),
    "another cell choice": (cif("Na1 .12 .23 .34", cell=MONOCLINIC, header=named("P 21/n")), 4, 14),
    "unique axis c": (cif("Na1 .12 .23 .34", cell="5.2 6.1 7.3 90 90 95", header=named("", number=14)), 4, 14),
    "a short symbol, unique axis c": (
        cif("Na1 .12 .23 .34", cell="5.2 6.1 7.3 90 90 97", header=named("P 2/m")),
        4,
        10,
    ),
    "a symbol of unique axis c": (
        cif("Na1 .12 .23 .34", cell="5.2 6.1 7.3 90 90 97", header=named("P 21/b")),
        4,
        14,
    ),
    "unique axis c, by number": (
        cif("Na1 .12 .23 .34", cell="5.2 6.1 7.3 90 90 97", header=named("", number=10)),
        4,
        10,
    ),
    "copies of one site": (cif(*ROCK_SALT, "Nb2 .5 .5 0", cell=CUBE, header=named("F m -3 m")), 8, 225),
    "magnetic operations": (
        cif(
            *("Mn1 Mn 0 0 0", "O1 O .5 .5 .25"),
            cell="4.2 4.2 8.4 90 90 90",
            columns=TYPED,
            header="loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n"
            "loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx,y,z+1/2,-1\n",
        ),
        4,
        221,
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_setting_is_the_one_that_the_file_means(tmp_path, name):
    text, n_atoms, group = SETTINGS[name]
    structure = read(tmp_path, text)
    assert len(structure) == n_atoms
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    assert spglib.get_symmetry_dataset(cell, symprec=0.01).number == group


OPEN = {
    "origin": (cif("Si1 0 0 0", cell=SILICON, header=named("F d -3 m")), "more than one way: Si8 .* or Si16"),
    "symbol and operations": (
        cif(*ROCK_SALT, cell=CUBE, header=named("F m -3 m") + "\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z"),
        "more than one way: Nb1 O1 .* or Nb4 O4",
    ),
    "number and symbol": (cif(*ROCK_SALT, cell=CUBE, header=named("F m -3 m", number=221)), "more than one way"),
    "a cell of another setting": (cif("Fe1 0 0 0", cell="3 3 3 60 60 60", header=named("F m -3 m")), "keep its cell"),
    "a cell of another system": (cif("Fe1 0 0 0", cell="4 4 5 90 90 90", header=named("F m -3 m")), "keep its cell"),
    "operations of other axes": (
        cif("Nb1 0 0 0", cell=RHOMBOHEDRAL, header="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-y,x-y,z\n-x+y,-x,z"),
        "keep its cell",
    ),
    "operations that are no group": (
        cif("Nb1 .1 .2 .3", cell=CUBE, header="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-y,x,z"),
        "no group",
    ),
    "no operations of a magnetic group": (
        cif("Mn1 0 0 0", cell=CUBE, header="_space_group_magn.number_BNS 1.3"),
        "magnetic structure that lists no operations",
    ),
    "Z against the atoms": (cif(*ROCK_SALT, cell=CUBE, header=named("F m -3 m", z=3)), "but Z is 3"),
    "formula and Z against the atoms": (
        cif(*ROCK_SALT, cell=CUBE, header=named("F m -3 m", formula="Nb O", z=2)),
        "Nb4 O4 but the formula is Nb O and Z is 2",
    ),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_the_file_leaves_open_is_not_guessed(tmp_path, name):
    text, reason = OPEN[name]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(read(tmp_path, text))


@pytest.mark.parametrize("third", ["1/3", "0.33", "0.333", "0.3333", "0.33333333", "0.333(3)", "0.3333(2)", "-.6667"])
def test_thirds_of_any_precision(tmp_path, third):
    rest = {"1/3": "2/3", "-.6667": "-.3333"}.get(third, "0.67" if third == "0.33" else third.replace("3", "6", 3))
    text = cif(f"Zn1 {third} {rest} 0", f"O1 {third} {rest} .382", cell=WURTZITE, header=named("P 63 m c"))
    assert len(read(tmp_path, text)) == 4


@pytest.mark.parametrize(
    ("place", "n_atoms"),
    [
        ("0.1235 0.2470 .25", 6),
        ("0.8765 0.7531 .25", 6),
        ("0.8765 0.7529 .25", 6),
        ("0.833 0.667 .25", 6),
        ("1.6667 1.3333 .25", 2),
        ("-0.3333 0.3333 .25", 2),
        ("0.1235 0.3470 .25", 12),
    ],
)
def test_a_site_is_on_the_special_position_that_its_digits_allow(tmp_path, place, n_atoms):
    structure = read(tmp_path, cif(f"Ni1 {place}", cell=NICKELINE, header=named("P 63/m m c")))
    assert len(structure) == n_atoms
    assert structure.distance_matrix[~np.eye(n_atoms, dtype=bool)].min() > 0.3


def test_images_that_are_neither_one_atom_nor_two_are_refused(tmp_path):
    text = cif("Ni1 0.12350 0.24900 .25", cell=NICKELINE, header=named("P 63/m m c"))
    assert "images of Ni1 are" in read(tmp_path, text)


SYMBOLS = {
    "Nb5+": 8,
    "O2-": 8,
    "'O 2-'": 8,
    "NB": 8,
    "D": 8,
    "T": 8,
    "D+": 8,
    "2H": 8,
    "Og": 8,
    "?": "unknown",
    ".": "unknown",
    "8": "'8' .* not an element",
    "18O": "'18O' .* not an element",
    "NH4": "more than one atom",
    "H2O": "more than one atom",
    "OW": "more than one atom",
    "Va": "not an element",
    "X": "not an element",
    "NO": "more than one atom",
    "\u041e": "not an element",
}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_atoms_of_unknown_kind_are_never_dropped(tmp_path, symbol):
    text = cif("A1 Nb 0 0 0", f"B1 {symbol} .5 .5 .5", cell=CUBE, header=named("F m -3 m"), columns=TYPED)
    found, expected = read(tmp_path, text), SYMBOLS[symbol]
    if isinstance(expected, int):
        assert len(found) == expected
    else:
        with pytest.raises(AssertionError, match=expected):
            raise AssertionError(found)


@pytest.mark.parametrize(
    ("label", "formula", "expected"),
    [
        ("O_1", "", 8),
        ("O1'", "", 8),
        ("W1", "", 8),
        ("OW1", "Nb O", 8),
        ("CA1", "Nb Ca", 8),
        ("CA1", "Nb C", 8),
        ("CA1", "", "not an element"),
        ("OW1", "", "not an element"),
        ("1O", "", "not an element"),
        ("OH1", "H Nb O", "the formula is"),
        ("D1", "", 8),
        ("T1", "", "not an element"),
        ("T1", "Nb T", 8),
        ("T1", "Nb Si", "not an element"),
        ("Fe_Mg", "", "more than one atom"),
        ("Si1/Al1", "", "more than one atom"),
        ("N,O", "", "more than one atom"),
        ("Fe_Mg", "Nb Fe", 8),
        ("Fe_Mg", "Fe Mg Nb2", "the formula is"),
        ("O_B", "", 8),
        ("O1B", "", 8),
        ("Fe(1)", "", 8),
        ("H2O", "", "more than one atom"),
        ("H2O", "H Nb", 8),
    ],
)
def test_labels_say_the_element_or_the_formula_must(tmp_path, label, formula, expected):
    header = named("F m -3 m", **({"formula": formula} if formula else {}))
    found = read(tmp_path, cif("Nb1 0 0 0", f"{label} .5 .5 .5", cell=CUBE, header=header))
    assert expected in found if isinstance(expected, str) else len(found) == expected


OCCUPANCIES = {".": 8, "?": 8, "0.9999": 8, "1.0001": 8, "1.00(2)": 8, "0.998(4)": 8, "0.9": "disordered", "0": "is 0"}


@pytest.mark.parametrize("occupancy", OCCUPANCIES)
def test_occupancies(tmp_path, occupancy):
    text = cif(
        "Nb1 0 0 0 1", f"O1 .5 .5 .5 {occupancy}", cell=CUBE, header=named("F m -3 m"), columns=f"{SITES} occupancy"
    )
    found, expected = read(tmp_path, text), OCCUPANCIES[occupancy]
    assert expected in found if isinstance(expected, str) else len(found) == expected


ROWS = {
    "hydrogen and deuterium": (("Nb1 Nb 0 0 0 1 . .", "D1 D .5 .5 .5 .5 . .", "H1 H .5 .5 .5 .5 . ."), 8),
    "two charges": (("Nb1 Nb4+ 0 0 0 .5 . .", "Nb2 Nb5+ 0 0 0 .5 . .", "O1 O .5 .5 .5 1 . ."), 8),
    "two atoms at a place": (("Nb1 Nb 0 0 0 1 . .", "O1 O 0 0 0 1 . ."), "share one place"),
    "a dummy": (("Nb1 Nb 0 0 0 1 d .", "O1 O .5 .5 .5 1 d .", "Cg C .25 .25 .25 1 dum ."), 8),
    "attached hydrogens": (("Nb1 Nb 0 0 0 1 . 0", "O1 O .5 .5 .5 1 . 2"), "hydrogens are attached to O1"),
    "no place": (("Nb1 Nb 0 0 0 1 . .", "O1 O . . . 1 . ."), "the place of O1 is not given"),
    "a place that is no number": (("Nb1 Nb 0 0 0 1 . .", "O1 O .5 x .5 1 . ."), "the y of O1: 'x' is not a number"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_are_more_or_less_than_an_atom(tmp_path, name):
    rows, expected = ROWS[name]
    columns = f"{TYPED} occupancy calc_flag attached_hydrogens"
    found = read(tmp_path, cif(*rows, cell=CUBE, header=named("F m -3 m"), columns=columns))
    assert expected in found if isinstance(expected, str) else len(found) == expected


def test_alternatives_of_disorder_are_not_taken_together(tmp_path):
    rows = ("Nb1 Nb 0 0 0 .", "O1 O .5 .5 .5 1", "O2 O .4 .5 .5 2")
    assert "disorder groups" in read(tmp_path, cif(*rows, cell=CUBE, columns=f"{TYPED} disorder_group"))


def test_a_site_of_a_whole_cell_is_not_listed_twice_unless_the_formula_says_so(tmp_path):
    rows = ("Nb1 0 0 0", "Nb2 1 0 0", "O1 .5 .5 .5")
    assert "Nb1 and Nb2 are one site" in read(tmp_path, cif(*rows))
    assert len(read(tmp_path, cif(*rows, header=named("P 1", formula="Nb O", z=1)))) == 2


ENCODINGS = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without mark": lambda text: text.encode("utf-16-be"),
    "line ends of old Macs": lambda text: text.replace("\n", "\r").encode(),
    "an end of DOS": lambda text: text.encode() + b"\x1a",
    "filled up with zeros": lambda text: text.encode() + bytes(20),
    "keywords in capitals": lambda text: text.replace("data_", "DATA_").replace("loop_", "LOOP_").encode(),
    "tags in capitals": lambda text: text.replace("_cell", "_CELL").replace("fract", "Fract").encode(),
    "tags with dots": lambda text: text.replace("_site_", "_site.").replace("_cell_", "_cell.").encode(),
    "no block": lambda text: text.replace("data_1\n", "").encode(),
    "words for a name": lambda text: text.replace("data_1", "data_niobium oxide").encode(),
    "Latin letters": lambda text: text.replace("loop_", "_publ_author_name 'Müller'\nloop_").encode("latin-1"),
    "a block in a text": lambda text: text.replace("loop_", "_note\n;\ndata_old\n_cell_length_a 9\n;\nloop_").encode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_and_text_fields(tmp_path, name):
    text = cif(*ROCK_SALT, cell=CUBE, header=named("F m -3 m"))
    assert len(read(tmp_path, ENCODINGS[name](text))) == 8


@pytest.mark.parametrize("order", [("'Nb O'", "''"), ("?", '"Nb O"'), ("'Nb O'", '"Nb O"')])
def test_a_tag_given_twice_counts_where_it_says_something(tmp_path, order):
    header = "\n".join(f"_chemical_formula_sum {value}" for value in order) + "\n_cell_formula_units_Z 4\n"
    text = cif("Nb1 0 0 0", "O1 .5 .5 .5", cell=CUBE, header=header)
    assert "but the formula is Nb O" in read(tmp_path, text)
    assert len(read(tmp_path, text.replace("_Z 4", "_Z 1"))) == 2


REFUSED = {
    "Cartesian": (cif("Nb1 0 0 0", columns="label Cartn_x Cartn_y Cartn_z"), "Cartesian coordinates only"),
    "mmCIF": (cif("Nb1 A 0 0 0", columns="id label_asym_id Cartn_x Cartn_y Cartn_z"), "mmCIF"),
    "waves": (cif("Nb1 0 0 0", header="loop_\n_cell_wave_vector_seq_id\n_cell_wave_vector_x\n1 .3"), "modulated"),
    "superspace": (cif("Nb1 0 0 0", header="_space_group_ssg_name 'Pnma(00g)0s0'"), "modulated"),
    "modulated": (cif("Nb1 0 0 0", header="_cell_modulation_dimension 1"), "modulated"),
    "said twice": (cif("Nb1 0 0 0", header="_cell_length_a 4"), "_cell_length_a twice"),
    "no labels": (cif("0 0 0", columns="fract_x fract_y fract_z"), "neither labels nor type symbols"),
    "an endless text field": (cif("Nb1 0 0 0") + "_note\n;\n", "no CIF: line"),
    "an operation that is none": (cif("Nb1 0 0 0", header=OPERATIONS.replace("-x,-y,z", "-x,-q,z")), "no symmetry op"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_crystal_is_named(tmp_path, name):
    text, reason = REFUSED[name]
    assert reason in read(tmp_path, text)


def test_a_cell_of_too_many_sites_is_refused_before_any_work(tmp_path):
    rows = [f"Nb{k} .{k:06d} 0 0" for k in range(10_001)]
    assert "too many sites (10,001" in read(tmp_path, cif(*rows))
    few = [f"Nb{k} .05{k:02d} .17{k:02d} .31{k:02d}" for k in range(100)]
    assert "too many sites" in read(tmp_path, cif(*few, cell="90 90 90 90 90 90", header=named("F m -3 m")))


def cell_of(group):
    """Lengths and angles that the group keeps, on the axes of its setting."""
    if group.crystal_system_str() == "monoclinic":
        unique = group.qualifier.strip("-")[0]
        return {"b": "10 12 14 90 97 90", "c": "10 12 14 90 90 97", "a": "10 12 14 97 90 90"}[unique]
    if group.ext == "R":
        return "12 12 12 80 80 80"
    return {
        "triclinic": "10 12 14 81 97 105",
        "orthorhombic": "10 12 14 90 90 90",
        "tetragonal": "12 12 14 90 90 90",
        "trigonal": "12 12 14 90 90 120",
        "hexagonal": "12 12 14 90 90 120",
        "cubic": "20 20 20 90 90 90",
    }[group.crystal_system_str()]


def full_symbols():
    """Full symbols of spglib that are of one setting, with this setting."""
    groups = {}
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        groups.setdefault(kind.international_full, []).append(group)
    return {group.xhm(): symbol for symbol, (group, *others) in groups.items() if not others}


@pytest.mark.slow
def test_every_setting_of_every_group_is_read_as_gemmi_has_it(tmp_path):
    full = full_symbols()
    for group in gemmi.spacegroup_table():
        operations = group.operations()
        expected = np.array([operation.apply_to_xyz([0.05, 0.17, 0.31]) for operation in operations])
        listed = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(f"'{op.triplet()}'" for op in operations)
        headers = [named(group.xhm()), named("", hall=group.hall), listed, listed + "\n" + named(group.hm)]
        for header in [*headers, *([named(full[group.xhm()])] if group.xhm() in full else [])]:
            structure = read(tmp_path, cif("Nb1 0.0500 0.1700 0.3100", cell=cell_of(group), header=header))
            assert not isinstance(structure, str), (group.xhm(), header[:60], structure)
            assert len(structure) == len(operations), (group.xhm(), header[:60])
            difference = expected[:, None] - structure.frac_coords
            assert np.abs(difference - difference.round()).max(2).min(1).max() < 1e-4, (group.xhm(), header[:60])


def test_what_pymatgen_writes_with_symmetry_is_read_back(tmp_path):
    for symbol, lattice, place in (
        ("Fd-3m", Lattice.cubic(5.431), [0.125, 0.125, 0.125]),
        ("R-3m", Lattice.hexagonal(4.5, 11.8), [0, 0, 0.234]),
        ("P6_3/mmc", Lattice.hexagonal(6.1, 5.0), [0.1235, 0.247, 0.25]),
    ):
        structure = Structure.from_spacegroup(symbol, lattice, ["Si"], [place])
        found = read(tmp_path, str(CifWriter(structure, symprec=0.01)))
        assert len(found) == len(structure)
        assert abs(found.volume - structure.volume) < 1e-3
