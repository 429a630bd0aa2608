"""A search around a given crystal: what it knows, what it draws, and what it refuses."""

import json

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.groups import SpaceGroup

from crystalgraph.errors import InputError
from crystalgraph.models.bundle import load_model
from crystalgraph.runs.generate import generate
from crystalgraph.runs.near import given_crystal, model_around

pytestmark = pytest.mark.slow

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
CUBIC = Structure.from_spacegroup(221, Lattice.cubic(4), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])


def test_templates_are_the_crystal_s_own_and_those_of_subgroups():
    groups = set(
        model_around(load_model("nbo"), RUTILE, 6, 0).library.parametrised.templates.space_group_number.tolist()
    )
    assert 136 in groups
    assert len(groups) > 3
    whole = SpaceGroup.from_int_number(136)
    assert all(SpaceGroup.from_int_number(n).is_subgroup(whole) for n in groups - {136})


def test_a_supergroup_comes_from_small_distortions():
    distorted = CUBIC.copy()
    distorted.translate_sites([1], [0, 0, 0.03])
    assert 221 in model_around(load_model("nbo"), distorted, 5, 0).library.parametrised.templates.space_group_number


@pytest.mark.usefixtures("quick_draws")
def test_its_own_formula_is_searched_for_and_others_by_exchange(tmp_path):
    own = generate(near=RUTILE, num=2, max_atoms=6)
    assert str(own.request.formula) == "TiO2"
    assert {sample.formula for sample in own.samples} == {"TiO2"}
    matcher = StructureMatcher()
    assert any(matcher.fit_anonymous(RUTILE, structure) for structure in own.structures)
    other = generate(near=RUTILE, formula="NbO2", num=2, max_atoms=6, out=tmp_path / "run")
    assert {structure.composition.reduced_formula for structure in other.structures} == {"NbO2"}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("given and do not count as found" in caveat for caveat in record["caveats"])
    assert record["near"] == {"formula": "Ti2 O4", "space_group": 136, "sha256": record["near"]["sha256"]}


def test_a_formula_that_cannot_take_its_places_is_refused():
    with pytest.raises(InputError, match="no template for Nb2O5"):
        generate(near=RUTILE, formula="Nb2O5", num=3)


def test_too_small_a_largest_cell_is_refused():
    with pytest.raises(InputError, match="6 atoms in its primitive cell, but at most 5 are allowed; set --max-atoms 6"):
        generate(near=RUTILE, num=3, max_atoms=5)


def test_a_search_needs_one_crystal(tmp_path):
    with pytest.raises(InputError, match="holds 2 readable crystals; a search around a crystal needs one"):
        given_crystal([RUTILE, CUBIC])
    RUTILE.to(filename=str(tmp_path / "rutile.cif"))
    assert given_crystal(tmp_path / "rutile.cif").composition == Composition("Ti2O4")
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    with pytest.raises(InputError, match=r"broken.*holds 0 readable crystals \(broken: .*\); a search"):
        given_crystal(tmp_path / "broken.cif")
