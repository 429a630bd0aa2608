"""POSCARs of VASP and of who writes like it: a comment, scale, lattice, elements, counts, coordinates.

Reference:
    https://www.vasp.at/wiki/index.php/POSCAR
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import elements
from crystalgraph.io.bounds import MAX_SITES, too_many_sites

_SYMBOLS = {element.symbol for element in elements().values()}


def poscar_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """The one crystal of a POSCAR: its empty name, and what parses it (`ValueError` says why there is none)."""
    yield "", lambda: _structure_of(text)


def _structure_of(text: str) -> Structure:
    longest = MAX_SITES + 12  # more lines than a cell that is read has
    lines = [
        re.split("[!#]", line, maxsplit=1)[0].replace(",", " ").split() for line in text.split("\n", longest)[:longest]
    ]
    if lines and not lines[0] and len(lines) > 2 and not _numbers(lines[1]) and _numbers(lines[2]):
        lines = lines[1:]  # an empty line before the comment
    if len(lines) < 7:
        raise ValueError(f"it has {len(lines)} lines, too few for a POSCAR")
    lattice, scale = _lattice(lines[1], lines[2:5])
    position = 5
    named: Sequence[str] = ()
    if not _are_counts(lines[position]):
        named, position = lines[position], position + 1
    counts = _counts(lines[position] if position < len(lines) else [])
    position += 1
    if position < len(lines) and lines[position] and lines[position][0][0] in "sS":
        position += 1
    mode = lines[position][0][0].lower() if position < len(lines) and lines[position] else ""
    if mode not in ("c", "k", "d", "f"):
        found = " ".join(lines[position])[:40] if position < len(lines) else ""
        raise ValueError(f"coordinates are announced as Direct or Cartesian, not by {found!r}")
    rows = lines[position + 1 : position + 1 + sum(counts)]
    if len(rows) < sum(counts) or any(len(row) < 3 for row in rows):
        complete = next((k for k, row in enumerate(rows) if len(row) < 3), len(rows))
        raise ValueError(f"{sum(counts)} atoms are announced but there are coordinates of {complete}")
    coords = np.array([_floats(row[:3], "coordinates") for row in rows]).reshape(-1, 3)
    species = _species(named, counts, rows)
    if mode in "ck":
        coords = coords * scale
    return Structure(Lattice(lattice), species, coords, coords_are_cartesian=mode in "ck")


def _lattice(scales: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scaled rows of the lattice (Å), and the factors of x, y and z.

    One factor scales all, three scale x, y and z; a negative one is the volume (Å³) that the cell gets.
    """
    factors = np.array(_floats(scales if len(_numbers(scales)) == 3 else scales[:1], "the scale"))
    if any(len(row) < 3 for row in rows):
        raise ValueError("its lattice is not three rows of three numbers")
    lattice = np.array([_floats(row[:3], "the lattice") for row in rows])
    if len(factors) not in (1, 3) or (len(factors) == 3 and (factors <= 0).any()) or (factors == 0).any():
        raise ValueError(f"its scale is {' '.join(scales)[:40]!r}; one number or three positive ones are allowed")
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(np.linalg.det(lattice))
        if volume == 0:
            raise ValueError("its cell has no volume")
        factors = (-factors / volume) ** (1 / 3)
    return lattice * factors, factors


def _species(named: Sequence[str], counts: Sequence[int], rows: Sequence[Sequence[str]]) -> list[str]:
    """The element of each atom: from the line for it, else as old files have it from the ends of the atoms' lines."""
    if named:
        if len(named) != len(counts):
            raise ValueError(f"it names {len(named)} elements but counts {len(counts)} kinds of atoms")
        symbols = [_symbol(name) for name in named]
        return [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    ends = [row[3] if len(row) == 4 else row[6] if len(row) == 7 else "" for row in rows]
    if all(ends) and all(_known(end) for end in ends):
        return [_symbol(end) for end in ends]
    raise ValueError("it names no elements; put a line with their symbols before the counts")


def _known(name: str) -> bool:
    try:
        _symbol(name)
    except ValueError:
        return False
    return True


def _symbol(name: str) -> str:
    """The element of a name of a potential such as Nb, Nb_pv, Nb/1a2b or H1.25.

    Raises:
        ValueError: if it is none.
    """
    text = re.sub(r"(?<=^H)[\d.]+$", "", re.split("[/_]", name, maxsplit=1)[0])
    symbol = text if text in _SYMBOLS else text.capitalize()
    if text in ("D", "T"):
        return "H"
    if symbol not in _SYMBOLS or not (text in _SYMBOLS or text.isupper() or text.islower()):
        raise ValueError(f"{name[:40]!r} is not an element")
    return symbol


def _are_counts(words: Sequence[str]) -> bool:
    return bool(words) and all(word.isascii() and word.isdigit() for word in words)


def _counts(words: Sequence[str]) -> list[int]:
    whole = [word for word in words if word.isascii() and word.isdigit()]
    if not whole or len(whole) != len(words):
        raise ValueError(f"its counts of atoms are {' '.join(words)[:40]!r}, not whole numbers")
    if max(len(word) for word in whole) > 9 or sum(map(int, whole)) > MAX_SITES:
        raise ValueError(too_many_sites(sum(int(word[:18]) for word in whole)))
    return [int(word) for word in whole]


def _floats(words: Sequence[str], what: str) -> list[float]:
    try:
        return [float(re.sub("[dD]", "e", word)) for word in words]  # Fortran writes 0.5D+00
    except ValueError:
        raise ValueError(f"{what}: {' '.join(words)[:60]!r} is not all numbers") from None


def _numbers(words: Sequence[str]) -> list[float]:
    """The numbers that a line begins with."""
    numbers: list[float] = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            break
    return numbers
