"""CIFs of other hands: whatever they hold, they give a crystal or one line of reason."""

import pytest

from crystalgraph.io.reading import read_structures

AXES = ("a", "b", "c", "alpha", "beta", "gamma")
RUTILE_OPERATIONS = (
    *("x,y,z", "-x,-y,z", "-y+1/2,x+1/2,z+1/2", "y+1/2,-x+1/2,z+1/2", "-x+1/2,y+1/2,-z+1/2", "x+1/2,-y+1/2,-z+1/2"),
    *("y,x,-z", "-y,-x,-z", "-x,-y,-z", "x,y,-z", "y+1/2,-x+1/2,-z+1/2", "-y+1/2,x+1/2,-z+1/2"),
    *("x+1/2,-y+1/2,z+1/2", "-x+1/2,y+1/2,z+1/2", "-y,-x,z", "y,x,z"),
)


def cif(*atoms, cell="3 3 3 90 90 90", header="", columns="label fract_x fract_y fract_z", name="data_1"):
    """One block: cell lengths and angles, anything that comes before the atoms, and a loop of atoms."""
    lines = [name]
    lines += [
        f"_cell_{'length' if axis in 'abc' else 'angle'}_{axis} {value}"
        for axis, value in zip(AXES, cell.split(), strict=True)
    ]
    lines += [header, "loop_", *(f"_atom_site_{column}" for column in columns.split()), *atoms, ""]
    return "\n".join(lines)


OPERATIONS = "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(
    f"{number} '{operation}'" for number, operation in enumerate(RUTILE_OPERATIONS, start=1)
)
TITLE = "_publ_section_title\n;\n A title about loop_ and\n  its data in words\n;"
EXACT = {
    "operations listed, errors in brackets": (
        cif(
            "Ti1 0. 0. 0. 0.005(1)",
            "O1 0.3053(2) 0.3053(2) 0. ?",
            cell="4.594(3) 4.594(3) 2.959(2) 90. 90. 90.",
            header=OPERATIONS,
            columns="label fract_x fract_y fract_z U_iso_or_equiv",
        ),
        6,
    ),
    "symbol only, charges": (
        cif(
            "Na1 Na1+ 0 0 0",
            "Cl1 Cl1- 0.5 0.5 0.5",
            cell="5.64 5.64 5.64 90 90 90",
            header="_symmetry_space_group_name_H-M 'F m -3 m'",
            columns="label type_symbol fract_x fract_y fract_z",
        ),
        8,
    ),
    "unknown extras, a text field": (
        cif("Nb1 0 0 0 ? .", header=TITLE, columns="label fract_x fract_y fract_z U_iso_or_equiv calc_flag"),
        1,
    ),
    "Windows line ends": (cif("Nb1 0 0 0", "O1 .5 .5 .5").replace("\n", "\r\n"), 2),
    "comments and a blank start": ("\n\n# by hand\n" + cif("Nb1 0 0 0 # here"), 1),
}


@pytest.mark.parametrize("name", EXACT)
def test_other_ways_to_write_a_crystal(tmp_path, name):
    text, n_atoms = EXACT[name]
    (tmp_path / "a.cif").write_bytes(text.encode())
    result = read_structures(tmp_path)
    assert not result.failures
    assert result.crystals.num_atoms.tolist() == [n_atoms]


FAULTY = {
    "unknown length": (cif("Nb1 0 0 0", cell="? 3 3 90 90 90"), "six numbers"),
    "unknown coordinates": (cif("Nb1 0 0 0", "O1 ? ? ?"), "the place of O1 is not given"),
    "mixed occupancy": (
        cif("Nb1 0.5 0 0 0", "Ti1 0.5 0 0 0", columns="label occupancy fract_x fract_y fract_z"),
        "disordered",
    ),
    "partial occupancy": (cif("Nb1 0.5 0 0 0", columns="label occupancy fract_x fract_y fract_z"), "disordered"),
    "occupancy above one": (
        cif("Nb1 1.4 0 0 0", columns="label occupancy fract_x fract_y fract_z"),
        "occupancy of Nb1 is 1.4",
    ),
    "no cell": ("data_1\nloop_\n_atom_site_label\n_atom_site_fract_x\nNb1 0\n", "six numbers"),
    "zero volume": (cif("Nb1 0 0 0", cell="3 3 0 90 90 90"), "no volume"),
    "angles that close no cell": (cif("Nb1 0 0 0", cell="3 3 3 30 30 120"), "no volume"),
    "a cell that is no number": (cif("Nb1 0 0 0", cell="nan 3 3 90 90 90"), "six numbers"),
    "an element nobody knows": (cif("Zz1 0 0 0"), "not an element"),
    "an unknown space group": (
        cif("Nb1 0 0 0", header="_symmetry_space_group_name_H-M 'Z 9 9'"),
        "space group Z 9 9 is not known",
    ),
    "columns short of a value": (cif("Nb1 0 0"), ""),
    "no atoms": ("data_1\n_cell_length_a 3\n", ""),
    "dots for names": ("data_1\n_cell.length_a 3\n_cell.length_b 3\n_cell.length_c 3\n", ""),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_gives_no_crystal_gives_one_line(tmp_path, name):
    text, reason = FAULTY[name]
    (tmp_path / "a.cif").write_text(text)
    result = read_structures(tmp_path)
    assert result.order == ["a"]
    assert reason in result.failures["a"]
    assert "\n" not in result.failures["a"]


def test_many_blocks_good_and_bad_in_one_file(tmp_path):
    good, bad = cif("Nb1 0 0 0"), FAULTY["mixed occupancy"][0].replace("data_1", "data_bad")
    (tmp_path / "a.cif").write_text(good + bad + good.replace("data_1", "data_2") + "data_empty\n")
    result = read_structures(tmp_path / "a.cif")
    assert result.ids == ["a#1", "a#2"]
    assert list(result.failures) == ["a#bad"]
    assert result.order == ["a#1", "a#bad", "a#2"]
