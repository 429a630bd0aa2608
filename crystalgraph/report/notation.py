"""Formulas and space groups as one writes them, in HTML and in plain text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from crystalgraph.crystals.space_group_symbols import group_symbol

if TYPE_CHECKING:
    from markupsafe import Markup

_NUMBER = re.compile(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)")
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def formula_html(formula: str) -> Markup:
    """A formula with its numbers as subscripts; anything else is escaped."""
    from markupsafe import Markup, escape

    return Markup(_NUMBER.sub(r"<sub>\1</sub>", str(escape(formula))))


def formula_text(formula: str) -> str:
    """A formula with its numbers as subscripts of Unicode."""
    return _NUMBER.sub(lambda number: number[0].translate(_LOWERED), formula)


def group_html(number: int | None) -> Markup:
    """Number and symbol of a space group; empty for None."""
    from markupsafe import Markup

    if number is None:
        return Markup("")
    symbol = re.sub(r"_(\d)", r"<sub>\1</sub>", _symbol(number))
    return Markup(f'<span class="number">{number}</span> <span class="symbol">{symbol}</span>')


def group_text(number: int | None) -> str:
    """Symbol and number of a space group, such as "Fm3̅m (225)"; empty for None."""
    if number is None:
        return ""
    symbol = re.sub(r"_(\d)", lambda screw: screw[1].translate(_LOWERED), _symbol(number))
    return f"{symbol} ({number})"


@lru_cache(maxsize=230)
def _symbol(number: int) -> str:
    """The short international symbol, with overlined numbers, and ``_`` before those of screw axes."""
    return re.sub(r"-(\d)", "\\1\u0305", group_symbol(number))
