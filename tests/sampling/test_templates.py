"""Re-decorated templates hold exactly the elements of the system."""

import pytest
import torch
from pymatgen.core import Composition, Element

from crystalgraph.chemistry.elements import electronegativities
from crystalgraph.io.datasets import load_dataset
from crystalgraph.sampling.templates import atoms_in_cell, decorate, formula_groups
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.template import Templates

NIOBIUM, OXYGEN, LITHIUM = 41, 8, 3


@pytest.fixture(scope="module")
def pool() -> Templates:
    return extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 80)]).templates


@pytest.mark.parametrize("elements", [[NIOBIUM, OXYGEN], [LITHIUM, NIOBIUM, OXYGEN], [22, OXYGEN], [13, 28]])
@pytest.mark.slow
def test_every_template_has_all_elements_and_no_other(pool: Templates, elements: list[int]) -> None:
    found = decorate(pool, elements)
    assert len(found) > 50
    counts = atoms_in_cell(found)[:, elements]
    assert (counts > 0).all()
    assert (counts.sum(1) == found.num_atoms).all()
    names = found.names()
    assert len(set(names)) == len(names)


def test_niobium_binds_at_most_five_halves_of_oxygen(pool: Templates) -> None:
    found = decorate(pool, [NIOBIUM, OXYGEN])
    niobium, oxygen = atoms_in_cell(found)[:, [NIOBIUM, OXYGEN]].T
    assert (oxygen <= 2.5 * niobium).all()
    assert (oxygen == 2.5 * niobium).any()


def rutile(*species: int) -> Templates:
    from crystalgraph.symmetry.wyckoff import wyckoff_table

    table = wyckoff_table()
    rows = {table.letter[row]: row for row in table.positions(136)}
    return Templates(
        space_group_number=torch.tensor([136]),
        num_sites=torch.tensor([2]),
        position=torch.tensor([rows["a"], rows["f"]]),
        atomic_numbers=torch.tensor(species),
    )


def test_order_of_electronegativity_decides_who_becomes_what() -> None:
    assert electronegativities()[22] < electronegativities()[OXYGEN]
    for pair in ((22, OXYGEN), (12, 9), (OXYGEN, 22)):
        found = decorate(rutile(*pair), [NIOBIUM, OXYGEN])
        expected = [NIOBIUM, OXYGEN] if pair[0] != OXYGEN else [OXYGEN, NIOBIUM]
        assert found.atomic_numbers.tolist() == expected


def test_templates_that_become_equal_appear_once() -> None:
    both = Templates.concatenate([rutile(73, OXYGEN), rutile(55, 53)])
    assert len(decorate(both, [NIOBIUM, OXYGEN])) == 1


@pytest.mark.parametrize("elements", [[NIOBIUM, OXYGEN], [LITHIUM, NIOBIUM, OXYGEN]])
def test_equal_formulas_get_equal_numbers(pool: Templates, elements: list[int]) -> None:
    found = decorate(pool, elements)
    counts = atoms_in_cell(found)[:, elements].tolist()
    symbols = [Element.from_Z(z).symbol for z in elements]
    names = [Composition(dict(zip(symbols, row, strict=True))).reduced_formula for row in counts]
    numbers = formula_groups(found).tolist()
    assert len(set(zip(names, numbers, strict=True))) == len(set(names)) == len(set(numbers)) == max(numbers) + 1
