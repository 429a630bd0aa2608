"""What counts as the ground state of a textbook compound."""

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystalgraph.chemistry.system import Formula
from tools.bench.search import TEXTBOOK, ground_states


@pytest.mark.slow
def test_ground_states_have_the_formula_and_the_group():
    without = []
    for case in TEXTBOOK:
        found = ground_states(case)
        for structure in found:
            assert Formula.from_atomic_numbers(structure.atomic_numbers) == Formula.parse(case.formula)
            assert structure.get_space_group_info(0.1)[1] in case.groups
        if not found:
            without.append(case.formula)
    assert without == ["MgMn2O4", "Ni3Al"], "found by their groups"


@pytest.mark.slow
def test_olivine_is_no_other_crystal_of_its_formula_and_group():
    """The corpus has LiFePO4 in Pnma, 0.056 eV/atom above the hull; the ground state is that of LiFeAsO4."""
    from crystalgraph.io.datasets import load_dataset

    corpus = load_dataset("corpus")
    other = corpus[[list(corpus.ids).index("mp-757019")]].structures[0]
    (olivine,) = ground_states(next(case for case in TEXTBOOK if case.formula == "LiFePO4"))
    assert not StructureMatcher().fit(olivine, other)
