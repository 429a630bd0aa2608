"""Constraints against what pymatgen measures of known crystals, and what cannot be asked."""

from math import inf

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.errors import InputError
from crystalgraph.screening.constraints import NO_CONSTRAINTS, Constraints
from crystalgraph.screening.request import GenerationRequest

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.9, 2.9), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
SHORTEST = min(
    site.nn_distance for k in range(6) for site in RUTILE.get_neighbors(RUTILE[k], 3) if site.specie != RUTILE[k].specie
)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({}, ""),
        ({"num_atoms": 6}, ""),
        ({"num_atoms": 12}, "6 atoms"),
        ({"formula_units": 2}, ""),
        ({"formula_units": 4}, "2 formula units"),
        ({"density": f"{RUTILE.density - 0.1}:"}, ""),
        ({"density": f":{RUTILE.density - 0.1}"}, "density"),
        ({"volume": f"{RUTILE.volume / 6 - 0.1}:{RUTILE.volume / 6 + 0.1}"}, ""),
        ({"volume": "20:30"}, "volume"),
        ({"min_distances": [f"O-Nb={SHORTEST - 0.01}"]}, ""),
        ({"min_distances": ["O-O=1.0", f"Nb-O={SHORTEST + 0.01}"]}, f"Nb-O {SHORTEST:.2f} Å apart"),
        ({"min_distances": ["Nb-Nb=3"]}, "Nb-Nb 2.90 Å"),
        ({"cell": "4.9 4.9 2.9 90 90 90"}, ""),
        ({"cell": "2.95,4.8,5.0,91,88,90"}, ""),
        ({"cell": "4.9,4.9,2.7,90,90,90"}, "cell 4.90, 4.90, 2.90, 90.00, 90.00, 90.00"),
        ({"cell": "4.9,4.9,5.8,90,90,90"}, "cell 4.90"),
        ({"cell": "4.9,4.9,2.9,90,95,90"}, "cell 4.90"),
    ],
    ids=str,
)
def test_a_crystal_keeps_to_what_is_asked_or_has_a_fault(asked, fault):
    said = Constraints.parse(**asked).fault(RUTILE)
    assert fault in said
    assert bool(said) == bool(fault)


def test_a_centred_cell_is_told_as_primitive_or_conventional_in_any_setting():
    rock_salt = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    primitive = rock_salt.get_primitive_structure()
    side = 4.2 / 2**0.5
    for lattice in (primitive.lattice, primitive.lattice.get_niggli_reduced_lattice(), rock_salt.lattice):
        text = ",".join(str(number) for number in lattice.parameters)
        assert Constraints.parse(cell=text).fault(primitive) == ""
    for other in (f"{side},{side},4.2,90,90,90", "8.4,4.2,4.2,90,90,90", "4.5,4.5,4.5,90,90,90"):
        assert Constraints.parse(cell=other).fault(primitive)


def test_what_was_asked_can_be_asked_again():
    asked = {
        "num_atoms": 12,
        "formula_units": 4,
        "min_distances": ["O-Nb=1.8", "O-O=2"],
        "density": "4:6",
        "volume": "10:",
        "cell": "4.9,4.9,5.8,90,90,90",
    }
    constraints = Constraints.parse(**asked, excluded_groups=["R-3c", 1, "1"])
    assert constraints.excluded_groups == (1, 167)
    texts = constraints.as_texts
    assert texts == {
        "num_atoms": "12",
        "formula_units": "4",
        "min_distances": "Nb-O=1.8, O-O=2",
        "density": "4:6",
        "volume": "10:",
        "excluded_groups": "P1, R-3c",
        "cell": "4.9,4.9,5.8,90,90,90",
    }
    assert constraints.volume == (10.0, inf)
    assert NO_CONSTRAINTS.as_texts == {}
    request = GenerationRequest.parse(formula="NbO2", num=2, constraints=asked)
    assert request.as_record()["constraints"]["density"] == "4:6"
    assert "density 4:6" in str(request)
    assert "/" not in request.slug


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"constraints": {"num_atoms": 0}}, "0 atoms"),
        ({"constraints": {"cell": "4,4,4"}}, "write a,b,c,alpha,beta,gamma"),
        ({"constraints": {"cell": "4,4,4,90,90,nan"}}, "is none"),
        ({"constraints": {"cell": "4,4,4,120,120,130"}}, "angles of 10 to 170° that close a cell"),
        ({"constraints": {"cell": "0,4,4,90,90,90"}}, "lengths of 0.5 to 200"),
        ({"constraints": {"cell": "3,3,3,90,90,90"}, "formula": "Nb2O5"}, "27.0 Å³ cannot hold Nb2O5: 7 atoms need 28"),
        ({"constraints": {"cell": "4,4,4,90,90,90", "num_atoms": 18}, "formula": "NbO2"}, "18 atoms need 72"),
        ({"constraints": {"cell": "40,40,40,90,90,90"}, "formula": "NbO2"}, "raise --max-atoms"),
        ({"constraints": {"formula_units": -1}}, "-1 formula units"),
        ({"constraints": {"num_atoms": 7}, "formula": "NbO2"}, "7 atoms cannot hold NbO2"),
        ({"constraints": {"num_atoms": 6, "formula_units": 3}, "formula": "NbO2"}, "3 × NbO2 are 9 atoms, not 6"),
        ({"constraints": {"num_atoms": 30}}, "set --max-atoms 30"),
        ({"constraints": {"num_atoms": 60}}, "more than 52 atoms cannot be drawn"),
        ({"constraints": {"formula_units": 9}, "formula": "NbO2"}, "set --max-atoms 27"),
        ({"constraints": {"min_distances": ["NbO=2"]}}, "write it as Nb-O=1.8"),
        ({"constraints": {"min_distances": ["Ti-O=2"]}}, "of Ti, and the system is Nb-O"),
        ({"constraints": {"min_distances": ["Nb-O=20"]}}, "at most 10"),
        ({"constraints": {"density": "6:4"}}, "LEAST:MOST"),
        ({"constraints": {"density": "5"}}, "LEAST:MOST"),
        ({"constraints": {"volume": "a:b"}}, "LEAST:MOST"),
        ({"constraints": {"volume": "-3:5"}}, "both 0 or more"),
        ({"constraints": {"excluded_groups": ["R-3d"]}}, "R-3c"),
        ({"constraints": {"excluded_groups": [15]}, "space_group_number": "C2/c"}, "requested and excluded"),
        ({"constraints": {"density": "4:"}, "raw": True}, "drops nothing"),
        ({"space_group_number": "P21/q"}, "P2_1/c"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(asked, says):
    with pytest.raises(InputError, match=says):
        GenerationRequest.parse(**asked)


def test_space_groups_may_be_symbols():
    assert GenerationRequest.parse(space_group_number="P4_2/mnm").space_group_number == 136
    assert "P4_2/mnm (136)" in str(GenerationRequest.parse(space_group_number=136))
