import json

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.prototype_names import PROTOTYPES, prototype_name


def made(group, lattice, species, coords):
    return Structure.from_spacegroup(group, lattice, species, coords).get_primitive_structure()


@pytest.mark.parametrize(
    ("structure", "group", "name"),
    [
        (made(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 225, "Halite, Rock Salt (B1)"),
        (made(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]), 136, "Rutile (C4)"),
        (made(141, Lattice.tetragonal(3.83, 9.57), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.208]]), 141, "Anatase (C5)"),
        (made(221, Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 221, "B2"),
        (made(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]), 225, "Copper (A1)"),
    ],
    ids=["rock salt", "rutile", "anatase", "CsCl", "copper"],
)
def test_structures_of_the_textbook_have_their_names(structure, group, name):
    assert prototype_name(structure, group) == name
    assert prototype_name(structure * (2, 1, 1), group) == name


def test_what_only_shares_stoichiometry_and_group_has_no_name():
    stretched = made(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.1, 0.1, 0]])
    assert prototype_name(stretched, 136) == ""


def test_without_a_group_there_is_no_name():
    copper = made(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    assert prototype_name(copper, None) == ""


@pytest.mark.slow
def test_the_file_is_what_the_tool_makes_of_pymatgens_library():
    from tools.build_prototypes import prototypes

    assert json.loads(PROTOTYPES.read_bytes()) == prototypes()


@pytest.mark.slow
def test_prototypes_have_their_own_names():
    names = {entry["aflow"]: entry["name"] for entry in json.loads(PROTOTYPES.read_bytes())}
    for aflow, name in (("AB_cF8_216_c_a", "Zincblende, Sphalerite (B3)"), ("AB2_cF12_225_a_c", "Fluorite (C1)")):
        entry = next(one for one in json.loads(PROTOTYPES.read_bytes()) if one["aflow"] == aflow)
        structure = Structure(entry["lattice"], entry["species"], entry["coords"])
        assert prototype_name(structure, int(aflow.split("_")[2])) == name == names[aflow]
