"""Extended xyz: a number of atoms, a line of properties with the lattice, and a line an atom; frame after frame."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence

from pymatgen.core import Structure

from crystalgraph.io.bounds import MAX_SITES, too_many_sites
from crystalgraph.io.tables import structure_from_atoms

_NAME = re.compile(r'\bname=(?:"([^"]*)"|(\S+))')

#: Columns that ``Properties`` announces, such as ``species:S:1:pos:R:3``.
_WIDTHS = re.compile(r":[SRIL]:(\d+)", re.IGNORECASE)


def extxyz_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each frame: its name, and what parses it (`ValueError` says why there is no crystal)."""
    # Cut by hand, so that one broken frame does not take the others with it.
    lines = text.split("\n")
    start = frame = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        count = _count(lines[start])
        end = len(lines) if count is None else min(start + count + 2, len(lines))
        named = _NAME.search(lines[start + 1]) if start + 1 < len(lines) else None
        name = (named[1] or named[2]) if named else str(frame)
        yield name or str(frame), lambda chunk=lines[start:end], count=count: _structure_of(chunk, count)  # type: ignore[misc]
        start, frame = end, frame + 1


def _count(line: str) -> int | None:
    text = line.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _structure_of(lines: Sequence[str], count: int | None) -> Structure:
    from ase.io import iread

    if count is None:
        raise ValueError(f"a frame starts with its number of atoms, not with {lines[0][:40]!r}")
    if count > MAX_SITES:
        raise ValueError(too_many_sites(count))
    rows = [line for line in lines[2:] if line.strip()]
    if len(rows) < count:
        raise ValueError(f"{count} atoms are announced but the file ends after {len(rows)}")
    widths = [int(width[:9]) for width in _WIDTHS.findall(lines[1])]
    if rows and sum(widths) > len(rows[0].split()):
        raise ValueError(f"{sum(widths)} columns are announced but its first atom has {len(rows[0].split())}")
    (atoms,) = iread(io.StringIO("\n".join(lines) + "\n"), format="extxyz")
    return structure_from_atoms(atoms)
