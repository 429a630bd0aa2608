"""Templates: names that do not depend on equivalent choices, and counts that agree with the table."""

import pytest
import torch

from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table


def template(number: int, *sites: tuple[str, int]) -> Templates:
    """A template from letters and atomic numbers."""
    table = wyckoff_table()
    rows = {table.letter[row]: row for row in table.positions(number)}
    return Templates(
        space_group_number=torch.tensor([number]),
        num_sites=torch.tensor([len(sites)]),
        position=torch.tensor([rows[letter] for letter, _ in sites]),
        atomic_numbers=torch.tensor([z for _, z in sites]),
    )


RUTILE = template(136, ("a", 22), ("f", 8))


def test_rutile_counts() -> None:
    assert RUTILE.num_atoms.tolist() == [6]
    assert RUTILE.num_free.tolist() == [1]
    assert RUTILE.names() == ["136:a.Ti f.O"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (template(225, ("a", 11), ("b", 17)), template(225, ("a", 17), ("b", 11))),
        (template(136, ("a", 22), ("f", 8)), template(136, ("f", 8), ("b", 22))),
        (template(221, ("a", 38), ("b", 22), ("c", 8)), template(221, ("b", 38), ("a", 22), ("d", 8))),
    ],
)
def test_equivalent_choices_of_letters_have_one_name(one: Templates, other: Templates) -> None:
    assert one.names() == other.names()
    assert one.prototypes() == other.prototypes()


def test_prototype_forgets_the_elements_but_not_which_sites_share_one() -> None:
    sodium_chloride, silicon = template(225, ("a", 11), ("b", 17)), template(225, ("a", 14), ("b", 14))
    assert sodium_chloride.prototypes() == template(225, ("a", 12), ("b", 8)).prototypes()
    assert sodium_chloride.prototypes() != silicon.prototypes()


def test_selection_and_concatenation_keep_sites_with_their_template() -> None:
    other = template(62, ("c", 41), ("c", 8), ("d", 8))
    both = Templates.concatenate([RUTILE, other, RUTILE])
    assert both[[1]].names() == other.names()
    assert both[torch.tensor([True, False, True])].names() == RUTILE.names() * 2
    assert both.num_atoms.tolist() == [6, 16, 6]
