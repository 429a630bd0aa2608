"""Generations of an evolutionary search: of the system asked, within the size allowed, and led by fitness."""

import pytest

from crystalgraph.chemistry.system import ChemicalSystem
from tools.bench.arms import MAX_ATOMS, RandomCrystals
from tools.bench.evolution import POPULATION, Evolution


def start(seed: int) -> Evolution:
    return Evolution(ChemicalSystem.parse("Nb-O"), seed)


@pytest.mark.slow
def test_generations_are_of_the_system_and_the_same_for_the_same_seed():
    searches = [start(3), start(3)]
    for generation in range(3):
        born, again = (search.next_generation() for search in searches)
        assert born == again
        assert len(born) == POPULATION
        for crystal in born:
            assert {element.symbol for element in crystal.composition} == {"Nb", "O"}
            assert len(crystal) <= MAX_ATOMS
        heights = [(len(crystal) + generation) / 100 for crystal in born]
        for search in searches:
            search.tell(born, heights)


@pytest.mark.slow
def test_random_crystals_until_some_are_fit_to_have_children():
    search, random = start(0), RandomCrystals(ChemicalSystem.parse("Nb-O"), 0)
    born = search.next_generation()
    assert born == random.draw(POPULATION)
    search.tell([None] * len(born), [0.0] * len(born))  # nothing could be relaxed
    assert search.next_generation() == random.draw(POPULATION)
    search.tell(born, [0.1] * len(born))
    children = search.next_generation()
    left = random.draw(POPULATION)
    assert 0 < sum(child in left for child in children) < POPULATION // 2
    assert not any(child in born for child in children)
