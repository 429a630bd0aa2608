"""Substitution of elements, with every known phase taken out."""

import pytest
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.io.datasets import load_dataset
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.redecorate import redecorate, with_elements

NB_O = [41, 8]


def rutile(cation: str, anion: str) -> Structure:
    sites = [[0, 0, 0], [0.305, 0.305, 0]]
    return Structure.from_spacegroup(136, [[4.6, 0, 0], [0, 4.6, 0], [0, 0, 2.95]], [cation, anion], sites)


def test_elements_follow_electronegativity_whatever_their_order(as_parametrised) -> None:
    changed, _ = with_elements(as_parametrised(rutile("Ti", "O"), rutile("Mn", "F")), NB_O)
    for structure in to_structures(changed.crystals()):
        assert structure.composition.reduced_formula == "NbO2"


def test_known_phase_is_taken_out_and_stays_only_if_it_is_not_known(as_parametrised) -> None:
    data = as_parametrised(rutile("Ti", "O"))
    known = ReferenceIndex.from_crystals(load_dataset("nbo").crystals)
    assert len(redecorate(data, NB_O, known).data) == 0
    assert redecorate(data, NB_O, known).left_out["equal to a known phase"] == 1
    assert len(redecorate(data, NB_O, ReferenceIndex()).data) == 1


@pytest.mark.slow
def test_nothing_known_and_no_copies_are_left(small_corpus: Corpus) -> None:
    known = ReferenceIndex.from_crystals(load_dataset("nbo").crystals)
    training = small_corpus.training
    result = redecorate(training, NB_O, known)
    assert len(result.data) + sum(result.left_out.values()) == len(training)
    structures = to_structures(result.data.crystals())
    assert (match_any(structures, known) == -1).all()
    index = ReferenceIndex()
    assert [index.find_or_add(s) for s in structures] == list(range(len(structures)))


def test_too_many_anions_are_left_out(as_parametrised) -> None:
    molybdenum_oxide = Structure([[3.9, 0, 0], [0, 3.9, 0], [0, 0, 3.9]], ["W", "O", "O", "O"],
                                 [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])  # fmt: skip
    changed, left_out = with_elements(as_parametrised(molybdenum_oxide), NB_O)
    assert len(changed) == 0
    assert left_out["more anions than the metals can bind"] == 1
