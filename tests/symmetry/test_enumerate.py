"""Enumeration against counting by hand and against PyXtal's own compatibility check."""

import pytest
import torch

from crystalgraph.symmetry.enumerate import (
    enumerate_templates,
    is_possible,
    placements,
    possible_sizes,
    random_templates,
)
from crystalgraph.symmetry.template import Templates


@pytest.mark.parametrize(("number", "atoms"), [(225, 3), (225, 7), (136, 6), (62, 12), (194, 5), (230, 10), (15, 7)])
def test_possible_where_pyxtal_says_so(number: int, atoms: int) -> None:
    pyxtal = pytest.importorskip("pyxtal.symmetry")
    group = pyxtal.Group(number)
    centring = {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}[group.symbol[0]]
    possible, _ = group.check_compatible([atoms * centring])
    assert is_possible(number, {41: atoms}, max_sites=12) == possible


def test_fixed_positions_are_used_once() -> None:
    # P-1 has eight fixed positions of one atom: two elements cannot share one, nine single atoms cannot all be fixed.
    assert len(placements(2, 1, 8)) == 8
    assert all(len(set(rows)) == len(rows) for rows in placements(2, 3, 8) if len(rows) == 3)


def test_enumerated_templates_hold_the_composition() -> None:
    rng = torch.Generator().manual_seed(0)
    found = enumerate_templates(15, {41: 4, 8: 10}, max_sites=8, limit=200, rng=rng)
    assert found is not None
    assert len(set(found.names())) == len(found) > 20
    niobium = torch.where(found.atomic_numbers == 41, found.multiplicity, 0)
    assert torch.zeros(len(found), dtype=torch.long).index_add(0, found.batch, niobium).unique().tolist() == [4]
    assert found.num_atoms.unique().tolist() == [14]


def test_sizes_at_which_a_formula_fits() -> None:
    assert possible_sizes(230, {41: 1, 8: 1}, 15, 8) == []
    assert possible_sizes(225, {41: 1, 8: 1}, 3, 8) == [2]  # rock salt


def test_random_templates_hold_a_composition_each() -> None:
    rng = torch.Generator().manual_seed(0)
    some = enumerate_templates(15, {41: 4, 8: 10}, max_sites=8, limit=2, rng=rng)
    other = enumerate_templates(136, {41: 2, 8: 4}, max_sites=8, limit=2, rng=rng)
    assert some is not None
    assert other is not None
    found = random_templates(Templates.concatenate([some, other]), 150, rng, max_sites=8)
    assert len(set(found.names())) == len(found) == 150
    assert found.num_atoms.unique().tolist() == [6, 14]
    assert len(found.space_group_number.unique()) > 5
    only = random_templates(some, 50, rng, max_sites=8, space_group_number=62)
    assert only.space_group_number.unique().tolist() in ([62], [])
    assert len(random_templates(some, 5, rng, max_sites=8, space_group_number=230)) == 0
