"""Chemical systems and formulas as a user writes them: read, checked, and put into one canonical order.

Elements are ordered by electronegativity, as in written formulas (Nb before O); elements without a tabulated value
come last.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from crystalgraph.errors import InputError

_TOKEN = re.compile(r"([A-Z][a-z]?)|([(\[])|([)\]])|(\d+(?:\.\d+)?)")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SEPARATORS = re.compile(r"[-–—,;\s]+")
_VALENCE = re.compile(r"(?<=[A-Za-z])[(\[]([IVX]+)[)\]]")
_ADDUCT_DOTS = "·•∙⋅*"
_EXAMPLES = "write element symbols, such as 'Nb-O' or 'Nb2O5'"


@dataclass(frozen=True)
class Formula:
    """A reduced formula, such as Nb2O5.

    Attributes:
        counts: (symbol, atoms) per formula unit, in order of electronegativity; counts have no common divisor.
    """

    counts: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> Formula:
        """Read a formula; brackets and subscript digits are understood, multiples are reduced.

        Raises:
            InputError: if the text is not a formula, names an unknown element, or has fractional counts.
        """
        return cls.from_counts(_count_elements(text))

    @staticmethod
    def units(text: str) -> int:
        """Formula units that a text names: 4 for Li4Nb4O12; 1 for an element, whatever its count.

        Raises:
            InputError: as `parse`.
        """
        counts = _count_elements(text)
        return gcd(*counts.values()) if len(counts) > 1 else 1

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> Formula:
        """Reduce and order the atoms of a cell or of a formula unit.

        Raises:
            InputError: if there are no atoms or a symbol is no element.
        """
        present = {symbol: count for symbol, count in counts.items() if count}
        if not present:
            raise InputError(f"a formula without atoms was given; {_EXAMPLES}")
        divisor = gcd(*present.values())
        return cls(tuple((symbol, present[symbol] // divisor) for symbol in _ordered(present)))

    @classmethod
    def from_atomic_numbers(cls, atomic_numbers: Iterable[int]) -> Formula:
        """Reduced formula of a cell with these atoms, each from 1 to 118."""
        symbols = _symbols()
        return cls.from_counts(Counter(symbols[int(number) - 1] for number in atomic_numbers))

    def __str__(self) -> str:
        return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in self.counts)

    @property
    def system(self) -> ChemicalSystem:
        """The elements."""
        return ChemicalSystem(tuple(symbol for symbol, _ in self.counts))

    @property
    def num_atoms(self) -> int:
        """Atoms in one formula unit."""
        return sum(count for _, count in self.counts)

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        """Atomic number of each entry of ``counts``."""
        return self.system.atomic_numbers

    def count(self, symbol: str) -> int:
        """Atoms of an element in one formula unit, 0 when it is not there."""
        return dict(self.counts).get(symbol, 0)


@dataclass(frozen=True)
class ChemicalSystem:
    """A set of elements, such as Nb-O.

    Attributes:
        elements: symbols in order of electronegativity, each once.
    """

    elements: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", _ordered(self.elements))

    @classmethod
    def parse(cls, text: str) -> ChemicalSystem:
        """Read 'Nb-O', 'NbO', 'O, Nb' or any formula of the system.

        Raises:
            InputError: if the text names an unknown element or none; what is between separators must be whole symbols.
        """
        parts = [part for part in _SEPARATORS.split(text) if part]
        if "".join(parts) != text and len(parts) > 1:
            return cls(tuple(symbol for part in parts for symbol in _count_elements(part, text)))
        return cls(tuple(_count_elements("".join(parts), text)))

    def __str__(self) -> str:
        return "-".join(self.elements)

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def key(self) -> str:
        """The name in alphabetical order, as databases write it (``chemsys``)."""
        return "-".join(sorted(self.elements))

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        """Atomic number of each element."""
        table = _elements()
        return tuple(table[symbol][0] for symbol in self.elements)

    def contains(self, other: Formula | ChemicalSystem | str) -> bool:
        """Whether something is made of these elements only; it need not use all of them."""
        return set(_as_system(other).elements) <= set(self.elements)

    def formula(self, text: str) -> Formula:
        """Read a formula that must use exactly the elements of this system.

        Raises:
            InputError: if it does not, naming what is allowed.
        """
        formula = Formula.parse(text)
        if set(formula.system.elements) != set(self.elements):
            raise InputError(
                f"formula {text!r} is outside the chemical system {self}: it must hold {_listed(self.elements)}; "
                f"change the formula or ask for the system {formula.system}"
            )
        return formula


def _as_system(value: Formula | ChemicalSystem | str) -> ChemicalSystem:
    if isinstance(value, str):
        return ChemicalSystem.parse(value)
    return value.system if isinstance(value, Formula) else value


def _listed(symbols: tuple[str, ...]) -> str:
    return symbols[0] if len(symbols) == 1 else f"{', '.join(symbols[:-1])} and {symbols[-1]}"


@lru_cache(maxsize=1)
def _elements() -> dict[str, tuple[int, float]]:
    """Atomic number and Pauling electronegativity (infinite when unknown) of each element."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns for each element without an electronegativity
        elements = [Element.from_Z(number) for number in range(1, 119)]
        return {e.symbol: (e.Z, float(e.X) if e.X > 0 else float("inf")) for e in elements}


@lru_cache(maxsize=1)
def _symbols() -> tuple[str, ...]:
    return tuple(_elements())


def _ordered(symbols: Iterable[str]) -> tuple[str, ...]:
    table, unique = _elements(), set(symbols)
    if not unique:
        raise InputError(f"a chemical system without elements was given; {_EXAMPLES}")
    for symbol in unique:
        if symbol not in table:
            raise InputError(f"unknown element {symbol!r}; {_EXAMPLES}")
    return tuple(sorted(unique, key=lambda symbol: (table[symbol][1], symbol)))


def _count_elements(text: str, shown: str | None = None) -> dict[str, int]:
    """Atoms per element in a formula text, in the order of first mention."""
    received = text if shown is None else shown
    text = text.translate(_SUBSCRIPTS).replace(" ", "")
    _refuse_valences_and_adducts(text, received)
    stack: list[Counter[str]] = [Counter()]
    last: Counter[str] | None = None  # what a number that comes now would multiply
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise InputError(f"{received!r} is not a formula or chemical system; {_meant(received)}")
        position = token.end()
        symbol, opening, closing, number = token.groups()
        if symbol:
            if symbol not in _elements():
                raise InputError(f"unknown element {symbol!r} in {received!r}; {_meant(received)}")
            last = Counter({symbol: 1})
            stack[-1] += last
        elif opening:
            stack.append(Counter())
            last = None
        elif closing and len(stack) > 1:
            last = stack.pop()
            stack[-1] += last
        elif number and last:
            if not number.isdigit() or int(number) < 1:
                raise InputError(f"{received!r} has the count {number}; write whole numbers from 1, such as 'Nb2O5'")
            for element, count in last.items():
                stack[-1][element] += count * (int(number) - 1)
            last = None
        else:
            raise InputError(f"{received!r} is not a formula or chemical system; {_EXAMPLES}")
    if len(stack) > 1 or not stack[0]:
        raise InputError(f"{received!r} is not a formula or chemical system; {_EXAMPLES}")
    return dict(stack[0])


def _refuse_valences_and_adducts(text: str, received: str) -> None:
    """Refuse what reads as a formula, but is written for something else."""
    if valence := _VALENCE.search(text):
        raise InputError(
            f"{received!r} has ({valence[1]}), which reads as an oxidation state but would count as atoms; write "
            f"{_VALENCE.sub('', received)!r}, or the atoms without brackets"
        )
    parts = re.split(f"[{re.escape(_ADDUCT_DOTS)}]", text)
    if len(parts) == 1 and re.search(r"[A-Za-z\d)]\.\d*(?:[A-Z][a-z]?\d*){2}", text):
        parts = text.split(".")  # CaSO4.2H2O, but not Nb0.5O
    if len(parts) == 1:
        return
    total: Counter[str] = Counter()
    try:
        for part in parts:
            multiple, formula = re.fullmatch(r"(\d*)(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
            for symbol, count in _count_elements(formula).items():
                total[symbol] += count * int(multiple or 1)
    except InputError:
        return
    summed = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in total.items())
    raise InputError(
        f"{received!r} is written as a sum of formulas (a hydrate or the like); write it as one, {summed!r}"
    )


def _meant(received: str) -> str:
    """What was probably meant: the same letters with other capitals or without a separator, where they are symbols."""
    parts = [part for part in _SEPARATORS.split(received) if part]
    capitals = [part.capitalize() for part in parts]
    joined = "".join(parts)
    guesses = []
    if joined.isalpha() and all(part in _elements() for part in capitals):
        guesses.append("-".join(capitals))
    if len(parts) > 1 and joined in _elements():
        guesses.append(joined)
    meant = f"did you mean {' or '.join(repr(guess) for guess in guesses)}? " if guesses else ""
    return f"{meant}{_EXAMPLES} (capitals matter)"
