"""The table against PyXtal, which it came from, and against the laws that any Wyckoff table obeys."""

import numpy as np
import pytest
import torch

from crystalgraph.symmetry.wyckoff import point_group_order, wyckoff_table

GROUPS = (1, 2, 15, 47, 62, 88, 136, 148, 166, 194, 216, 225, 227, 230)


def test_size_of_the_table() -> None:
    table = wyckoff_table()
    assert len(table.letter) == 1731  # International Tables: Wyckoff positions of the 230 groups
    assert table.space_group_number.unique().tolist() == list(range(1, 231))


@pytest.mark.parametrize("number", GROUPS)
def test_equals_pyxtal(number: int) -> None:
    group = pytest.importorskip("pyxtal.symmetry").Group(number)
    table = wyckoff_table()
    centring = round(1 / torch.linalg.det(table.centring[number]).item())
    for row in table.positions(number):
        position = next(p for p in group.Wyckoff_positions if p.letter == table.letter[row])
        assert int(table.multiplicity[row]) * centring == position.multiplicity
        assert int(table.free[row].sum()) == position.get_dof()
        u = np.array([0.137, 0.291, 0.423])
        first = position.ops[0].operate(u)
        np.testing.assert_allclose(table.rotation[row].numpy() @ u + table.translation[row].numpy(), first, atol=1e-12)


@pytest.mark.parametrize("number", GROUPS)
def test_operators_are_the_orbit_in_the_primitive_cell(number: int) -> None:
    group = pytest.importorskip("pyxtal.symmetry").Group(number)
    table = wyckoff_table()
    to_primitive = torch.linalg.inv(table.centring[number]).T.numpy()
    u = np.array([0.137, 0.291, 0.423])
    for row in table.positions(number):
        start, count = int(table.op_start[row]), int(table.multiplicity[row])
        rotation = table.op_rotation[start : start + count].numpy()
        made = rotation @ u + table.op_translation[start : start + count].numpy()
        position = next(p for p in group.Wyckoff_positions if p.letter == table.letter[row])
        for op in position.ops:
            offset = made - to_primitive @ op.operate(u)
            assert np.abs(offset - offset.round()).max(1).min() < 1e-9
        apart = made[:, None] - made[None]
        distance = np.abs(apart - apart.round()).max(2) + np.eye(count)
        assert distance.min() > 1e-6


def test_alternatives_are_permutations_that_keep_multiplicity() -> None:
    table = wyckoff_table()
    for number in range(1, 231):
        size = table.multiplicity[list(table.positions(number))].numpy()
        for images in table.alternatives[number]:
            assert sorted(images) == list(range(len(size)))
            assert (size[images] == size).all()


@pytest.mark.slow
def test_point_group_orders_equal_pymatgen() -> None:
    from pymatgen.symmetry.groups import PointGroup, SpaceGroup

    numbers = torch.arange(1, 231)
    for number, order in zip(numbers.tolist(), point_group_order(numbers).tolist(), strict=True):
        assert order == len(PointGroup(SpaceGroup.from_int_number(number).point_group).symmetry_ops)
