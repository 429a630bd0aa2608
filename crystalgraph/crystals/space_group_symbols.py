"""Space groups by their Hermann-Mauguin symbols, in any of the notations that people write."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

from crystalgraph.errors import InputError

N_NEAREST = 3
"""Symbols that are named where one is not known."""

_OVERLINED = re.compile("(\\d)[\u0304\u0305]")


def group_symbol(number: int) -> str:
    """The short international symbol in the standard setting, such as "P4_2/mnm".

    Args:
        number: 1 to 230.
    """
    return _symbols()[number]


def space_group_number(text: str | int) -> int:
    """The number of a space group.

    Args:
        text: a number, 1 to 230, or a Hermann-Mauguin symbol, short or full, in any setting and with or without spaces
            and underscores: "R-3c", "P2_1/c", "P 1 21/c 1", "Pbnm", "Fd-3m:2".

    Raises:
        InputError: if it is neither; symbols that come near are named.
    """
    if re.fullmatch(r"\s*[+-]?[0-9]{1,99}\s*", str(text)):
        number = int(text)
        if not 1 <= number <= 230:
            raise InputError(f"space group {number} is not in 1 to 230; choose one of the 230 groups")
        return number
    wanted = _normal(str(text))
    if number := numbers_by_symbol().get(wanted, 0):
        return number
    import gemmi

    if wanted.isascii() and (group := gemmi.find_spacegroup_by_name(wanted)) is not None:
        return int(group.number)
    shown = {_normal(symbol): symbol for symbol in _symbols().values()}
    near = [shown[name] for name in get_close_matches(wanted, shown, n=N_NEAREST, cutoff=0.0)]
    raise InputError(
        f"space group {str(text)[:40]!r} is no number from 1 to 230 and no Hermann-Mauguin symbol; near it are "
        f"{', '.join(near)}"
    )


def _normal(symbol: str) -> str:
    """A symbol without what only its writing adds."""
    plain = _OVERLINED.sub(r"-\1", symbol.replace("\u2212", "-"))
    return re.sub(r"[\s_]", "", plain).lower().capitalize()


@lru_cache(maxsize=1)
def _symbols() -> dict[int, str]:
    """Number -> short symbol in the standard setting."""
    import spglib

    settings = (spglib.get_spacegroup_type(hall) for hall in range(530, 0, -1))  # the standard one is the first
    return {setting.number: setting.international_short for setting in settings if setting is not None}


@lru_cache(maxsize=1)
def numbers_by_symbol() -> dict[str, int]:
    """Short and full Hermann-Mauguin symbols of all settings, without spaces and underscores -> number."""
    import spglib

    numbers: dict[str, int] = {}
    for hall in range(1, 531):
        setting = spglib.get_spacegroup_type(hall)
        if setting is not None:
            for symbol in (setting.international_short, setting.international_full):
                numbers.setdefault(_normal(symbol), int(setting.number))
    return numbers
