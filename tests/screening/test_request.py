import json

import pytest

from crystalgraph.errors import InputError
from crystalgraph.screening.request import GenerationRequest


def test_defaults_are_niobium_and_oxygen():
    request = GenerationRequest.parse()
    assert request.system.atomic_numbers == (41, 8)
    assert (request.formula_counts, request.space_group_number, request.num, request.raw) == (None, None, 100, False)
    assert request.slug == "Nb-O-n100-seed0"


def test_everything_asked_for_is_read_and_named():
    request = GenerationRequest.parse(
        system="O-Nb",
        formula="Nb2O5",
        ranges=["O/Nb=2:2.5", "O=0.6:0.8"],
        space_group_number=15,
        max_atoms=28,
        num=20,
        raw=True,
        seed=3,
        temperature=0.5,
        explore=0.25,
        refine=8,
    )
    assert request.formula_counts == {41: 2, 8: 5}
    assert request.slug == "Nb2O5-sg15-raw20-seed3-T0.5-explore0.25-refine8"
    assert str(request).startswith(
        "20 raw samples of Nb2O5, O/Nb=2:2.5, O=0.6:0.8 in space group C2/c (15), up to 28 atoms"
    )
    assert str(request).endswith("seed 3, temperature 0.5, explore 0.25, 8 surrogate relaxation steps")
    record = json.loads(json.dumps(request.as_record()))
    assert GenerationRequest.parse(**record) == request


def test_a_multiple_of_a_formula_asks_for_that_cell():
    request = GenerationRequest.parse(formula="Li4Nb4O12")
    assert (str(request.formula), request.constraints.formula_units) == ("LiNbO3", 4)
    assert (request.num_atoms, request.max_atoms) == (20, 20)
    assert GenerationRequest.parse(formula="Nb12O30").max_atoms == 42
    assert GenerationRequest.parse(formula="Nb2O5").num_atoms is None
    assert GenerationRequest.parse(formula="C8").num_atoms is None
    assert GenerationRequest.parse(**json.loads(json.dumps(request.as_record()))) == request


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"system": "Nb-Xx"}, "Xx"),
        ({"system": ""}, "element"),
        ({"system": "Nb-O", "formula": "TiO2"}, "TiO2.*Nb-O"),
        ({"system": "Nb-O", "formula": "Nb"}, "outside"),
        ({"formula": "Xx2O3"}, "unknown element 'Xx'"),
        ({"formula": "Nb2O5)"}, "Nb2O5"),
        ({"ranges": ["O/Nb"]}, "range"),
        ({"ranges": ["O/Ti=1:2"]}, "outside Nb-O"),
        ({"formula": "NbO", "ranges": ["O/Nb=2:3"]}, "NbO has O/Nb 1"),
        ({"space_group_number": 0}, "space group 0 is not in 1 to 230"),
        ({"space_group_number": 231}, "space group 231 is not in 1 to 230"),
        ({"supergroups": True}, "supergroups of what"),
        ({"formula": "Nb4O10", "constraints": {"formula_units": 3}}, "Nb4O10 has 2 formula units, not 3"),
        ({"num": 0}, "number of crystals 0"),
        ({"num": -5}, "number of crystals -5"),
        ({"seed": -1}, "seed -1"),
        ({"temperature": 0.0}, "temperature 0.0 is not in 0.1 to 10"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"refine": -1}, "surrogate relaxation steps -1 is not in 0 to 1000"),
        ({"explore": 1.5}, "explore 1.5 is not in 0 to 1"),
        ({"seed": 2**63}, "seed"),
        ({"max_atoms": 0}, "largest cell 0"),
        ({"max_atoms": 101}, "largest cell 101"),
        ({"max_atoms": 1}, "at least 2 atoms"),
        ({"formula": "Li4Nb4O12", "max_atoms": 10}, "at least 20 atoms, not 10; set --max-atoms 20"),
        ({"formula": "Nb40O100"}, "at least 140 atoms.*cells of more than 52 atoms cannot be drawn"),
        ({"formula": "Nb12O29"}, "at least 41 atoms.*--max-atoms 41"),
    ],
)
def test_bad_values_end_in_one_line(asked, message):
    with pytest.raises(InputError, match=message) as caught:
        GenerationRequest.parse(**asked)
    assert "\n" not in str(caught.value)


def test_without_a_system_the_formula_names_it():
    assert str(GenerationRequest.parse(formula="MgMn2O4").system) == "Mg-Mn-O"
    assert str(GenerationRequest.parse(formula="NbO2").system) == "Nb-O"


def test_smallest_cell_that_holds_the_formula_is_allowed():
    assert GenerationRequest.parse(formula="Nb12O29", max_atoms=41).formula_counts == {41: 12, 8: 29}
