"""Symbols of space groups against gemmi's table, and what is said of a symbol that is none."""

import gemmi
import pytest

from crystalgraph.crystals.space_group_symbols import group_symbol, space_group_number
from crystalgraph.errors import InputError


def test_every_setting_of_gemmis_table_is_understood():
    for group in gemmi.spacegroup_table():
        for symbol in (group.xhm(), group.hm):
            assert space_group_number(symbol) == group.number, symbol


def test_numbers_and_short_symbols_come_back():
    for number in range(1, 231):
        assert number == space_group_number(number) == space_group_number(str(number))
        assert number == space_group_number(group_symbol(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [("P21/c", 14), ("P2_1/c", 14), ("r -3 C", 167), ("R3\u0305c", 167), ("Fd-3m:2", 227), ("P 4_2/m 2_1/n 2/m", 136)],
)
def test_notations(text, number):
    assert space_group_number(text) == number


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "0 is not in 1 to 230"),
        ("231", "231"),
        ("-3", "-3"),
        ("R-3d", "near it are .*R-3c"),
        ("", "no Hermann"),
        ("P21/q", "P2_1/c"),
        ("\udce9", "no Hermann"),
        ("\u00b2", "no Hermann"),
        ("+-5", "no Hermann"),
        ("9" * 5_000, "no Hermann"),
    ],
)
def test_what_is_no_space_group_is_refused_with_what_comes_near(text, says):
    with pytest.raises(InputError, match=says):
        space_group_number(text)
