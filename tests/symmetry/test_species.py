"""Species in order of electronegativity, checked against pymatgen."""

import torch
from pymatgen.core import Element

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.io.datasets import load_dataset
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.species import (
    binds_its_anions,
    number_of_species,
    ranked_elements,
    species_rank,
    sum_over_atoms,
)

CRYSTALS = load_dataset("corpus").crystals[torch.arange(3, 37_855, 500)]
STRUCTURES = to_structures(CRYSTALS)


def test_elements_come_in_order_of_electronegativity() -> None:
    rows, counts = ranked_elements(CRYSTALS).tolist(), number_of_species(CRYSTALS).tolist()
    for row, count, structure in zip(rows, counts, STRUCTURES, strict=True):
        elements = structure.composition.elements
        assert {Element.from_Z(z) for z in row[:count]} == set(elements)
        assert not any(row[count:])
        values = [Element.from_Z(z).X for z in row[:count]]
        assert values == sorted(values)
    assert torch.equal(ranked_elements(CRYSTALS)[CRYSTALS.batch, species_rank(CRYSTALS)], CRYSTALS.atomic_numbers)


def test_templates_and_their_crystals_have_the_same_sums() -> None:
    data, mass = extract(CRYSTALS).parametrised, torch.arange(119, dtype=torch.float64)
    assert torch.equal(sum_over_atoms(data.templates, mass), sum_over_atoms(data.crystals(), mass))
    assert torch.equal(binds_its_anions(data.templates), binds_its_anions(data.crystals()))


def test_anions_are_bound_where_the_highest_states_suffice() -> None:
    expected = [
        sum(n * max(e.common_oxidation_states or e.oxidation_states or (0,)) for e, n in s.composition.items()) >= 0
        for s in STRUCTURES
    ]
    assert binds_its_anions(CRYSTALS).tolist() == expected
    assert set(expected) == {True, False}
