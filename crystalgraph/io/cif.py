"""CIFs, strictly: what is read is the crystal that the file states, or the reason why it states none.

Gemmi parses each block and knows the operations of space groups. Where the file leaves the setting open (an origin, the
axes), every setting is read that keeps its cell, and what the file states besides (formula, Z) must single one out.
Pymatgen, the second reader, applies the operations anew and must find the same atoms.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gemmi import cif
from numpy.typing import NDArray
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.io.cif import CifParser
from scipy.spatial import cKDTree

from crystalgraph.io.bounds import MAX_SITES, too_many_sites
from crystalgraph.io.cif_sites import Orbits, Site, listed_sites, merged, number_with_error, orbits_of
from crystalgraph.io.cif_statements import Statements, Tags
from crystalgraph.io.cif_symmetry import Setting, settings_of

_AXES = (("length", "a"), ("length", "b"), ("length", "c"), ("angle", "alpha"), ("angle", "beta"), ("angle", "gamma"))

#: A block's beginning, or a line that opens or closes a text field, in which nothing begins.
_MARKS = re.compile(r"^(?:;|[ \t]*data_(\S*))", re.MULTILINE | re.IGNORECASE)

_HAS_ATOMS = re.compile(r"_atom_site[_.]", re.IGNORECASE)

#: Most images of sites that the second reader is asked for; its time grows with their square.
_SECOND_READER_IMAGES = 5_000

#: What a block may say about cell, symmetry, atoms and formula.
_USED = ("_atom_site_", "_cell_", "_chemical_formula_", "_entry_id", "_space_group_", "_symmetry_")


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A block read in one setting."""

    setting: Setting
    orbits: Sequence[Orbits]

    @property
    def counts(self) -> dict[str, float]:
        """Atoms of each element in the cell."""
        counts: dict[str, float] = {}
        for orbit in self.orbits:
            for symbol, share in orbit.shares.items():
                counts[symbol] = counts.get(symbol, 0.0) + share * len(orbit.frac_coords)
        return counts

    @property
    def sizes(self) -> list[int]:
        """Multiplicities of the sites."""
        return [len(orbit.frac_coords) for orbit in self.orbits]

    @property
    def places(self) -> dict[str, NDArray[np.float64]]:
        """Fractional coordinates by the element that comes first at them."""
        places: dict[str, list[NDArray[np.float64]]] = {}
        for orbit in self.orbits:
            places.setdefault(next(iter(orbit.shares)), []).append(orbit.frac_coords)
        return {symbol: np.concatenate(coords) for symbol, coords in places.items()}

    @property
    def is_ordered(self) -> bool:
        return all(list(orbit.shares.values()) == [1.0] for orbit in self.orbits)

    def __str__(self) -> str:
        atoms = Composition(self.counts).formula if self.is_ordered else "partly occupied sites"
        return f"{atoms} in {self.setting.name}"


def cif_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each block with atoms: its name, and what parses it (`ValueError` says why there is no crystal)."""
    blocks = list(_blocks(text))
    # Blocks without atoms (the journal's, the powder pattern's) are not crystals that failed, unless there is no other.
    for name, body in [block for block in blocks if _HAS_ATOMS.search(block[1])] or blocks:
        yield name, partial(_structure_of_block, body)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Name and body of each block, cut here so that a broken one does not take the others with it."""
    marks, in_field = [], False
    for mark in _MARKS.finditer(text):
        if mark.group(1) is None:
            in_field = not in_field
        elif not in_field:
            marks.append(mark)
    if in_field:  # a text field that never ends; then the beginnings of lines are all there is to go by
        marks = [mark for mark in _MARKS.finditer(text) if mark[1] is not None]
    if not marks and re.search(r"^[ \t]*_cell[_.]", text, re.MULTILINE | re.IGNORECASE):
        yield "", "\n" + text
        return
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        rest = text[mark.end() : following.start() if following else None]
        # What follows the name on its line belongs to the name, unless it is a value or a comment.
        first, line_end, others = rest.partition("\n")
        yield mark[1], line_end + others if first.strip() and first.lstrip()[0] not in "#_" else rest


def _structure_of_block(body: str) -> Structure:
    tags = _tags_of(body)
    lattice = Lattice.from_parameters(*_cell_of(tags))
    sites = listed_sites(tags)
    if len(sites) > MAX_SITES:
        raise ValueError(too_many_sites(len(sites)))
    statements = Statements.of(tags)
    reading = _only_reading(_readings(sites, lattice, settings_of(tags, lattice.metric_tensor), statements), statements)
    if 1 < len(reading.setting.rotations) <= _SECOND_READER_IMAGES / len(sites) and reading.is_ordered:
        _compare(reading, _second_count(sites, lattice, reading.setting))
    species = [
        Element(symbol) if orbit.shares[symbol] == 1 else orbit.shares
        for orbit in reading.orbits
        for symbol in [next(iter(orbit.shares))]
        for _ in orbit.frac_coords
    ]
    return Structure(lattice, species, np.concatenate([orbit.frac_coords for orbit in reading.orbits]))


def _tags_of(body: str) -> Tags:
    """The values of a block by the names of their tags, in lower case and with underscores for dots.

    Raises:
        ValueError: if the block is no CIF, or says something twice.
    """
    document = cif.Document()
    try:
        document.parse_string(f"data_block{body.encode('ascii', 'backslashreplace').decode()}\n")
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"it is no CIF: line {re.sub(r'^string:', '', str(error))}") from None
    values: Tags = {}
    block: Any = document[0]
    for item in block:
        if item.pair is not None:
            named = [(item.pair[0], [item.pair[1]])]
        elif item.loop is not None and any(_is_used(tag) for tag in item.loop.tags):
            if _HAS_ATOMS.match(item.loop.tags[0]) and item.loop.length() > MAX_SITES:
                raise ValueError(too_many_sites(item.loop.length()))
            width = item.loop.width()
            named = [(tag, item.loop.values[k::width]) for k, tag in enumerate(item.loop.tags)]
        else:
            continue
        for tag, column in named:
            key = tag.lower().replace(".", "_")
            if not _is_used(key):
                continue
            texts = ["" if cif.is_null(value) else cif.as_string(value).strip() for value in column]
            if not any(texts) and key in values:
                continue
            if any(values.get(key, ())) and values[key] != texts:
                raise ValueError(f"it gives {tag} twice, with different values")
            values[key] = texts
    return values


def _is_used(tag: str) -> bool:
    return tag.lower().replace(".", "_").startswith(_USED)


def _cell_of(tags: Tags) -> list[float]:
    """Lengths and angles, Å and degrees."""
    texts = [tags.get(f"_cell_{kind}_{axis}", [""])[0] for kind, axis in _AXES]
    try:
        cell = np.array([number_with_error(text)[0] for text in texts])
    except ValueError:
        raise ValueError("its cell is not given in six numbers") from None
    cosines = np.cos(np.radians(cell[3:]))
    if cell[:3].min() <= 0 or 1 + 2 * cosines.prod() - (cosines**2).sum() <= 0:
        raise ValueError("its cell has no volume")
    if cell[:3].max() > 1e4:
        raise ValueError(f"its cell is {cell[:3].max():g} Å long")
    return cell.tolist()


def _readings(
    sites: Sequence[Site], lattice: Lattice, settings: Sequence[Setting], statements: Statements
) -> list[_Reading | str]:
    """The block in each setting, or why it cannot be read in it."""
    readings: list[_Reading | str] = []
    for setting in settings:
        try:
            orbits = merged(
                orbits_of(sites, setting, lattice.matrix), lattice.matrix, is_whole_cell=len(setting.rotations) == 1
            )
        except ValueError as error:
            readings.append(f"{error}" if len(settings) == 1 else f"{error} in {setting.name}")
            continue
        reading = _Reading(setting=setting, orbits=orbits)
        repeated = len(setting.rotations) == 1 and next((orbit.repeated for orbit in orbits if orbit.repeated), None)
        fault = statements.fault(reading.counts) if reading.is_ordered else None
        if repeated and not (statements.is_complete and fault is None):
            fault = f"{repeated} are one site, listed twice"
        readings.append(f"{fault}" if fault and len(settings) == 1 else f"{reading}: {fault}" if fault else reading)
    return readings


def _only_reading(readings: Sequence[_Reading | str], statements: Statements) -> _Reading:
    """The one crystal that the readings agree on.

    Raises:
        ValueError: if there is none, or more than one.
    """
    sound = [reading for reading in readings if isinstance(reading, _Reading)]
    faults = [reading for reading in readings if isinstance(reading, str)]
    if not sound:
        raise ValueError("; ".join(faults))
    for decides in (statements.has_exact_units, statements.has_multiplicities):
        sound = [reading for reading in sound if reading.is_ordered and decides(reading.counts, reading.sizes)] or sound
    first = sound[0]
    if others := [reading for reading in sound[1:] if not _are_one_crystal(first, reading)]:
        found = " or ".join(str(reading) for reading in (first, *others))
        raise ValueError(f"it can be read in more than one way: {found}; state its operations, or formula and Z")
    return first


def _are_one_crystal(one: _Reading, other: _Reading) -> bool:
    """Whether each atom of one reading lies on one of the other."""
    if one.counts != other.counts or not (one.is_ordered and other.is_ordered):
        return False
    places, others = one.places, other.places
    return all(
        cKDTree(others[symbol] % 1, boxsize=1).query(frac_coords % 1, p=np.inf)[0].max() < 1e-3
        for symbol, frac_coords in places.items()
    )


def _second_count(sites: Sequence[Site], lattice: Lattice, setting: Setting) -> dict[str, float]:
    """Atoms of each element in the cell as pymatgen's parser finds them."""
    lines = ["data_block"]
    lines += [f"_cell_{kind}_{axis} {value!r}" for (kind, axis), value in zip(_AXES, lattice.parameters, strict=True)]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{triplet}'" for triplet in setting.triplets)]
    lines += ["loop_", *(f"_atom_site_{column}" for column in ("label", "type_symbol", "occupancy"))]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    for position, site in enumerate(sites):
        places = " ".join(f"{value:.9f}" for value in site.frac_coords)
        lines.append(f"{site.symbol}{position} {site.symbol} {site.occupancy!r} {places}")
    # How far images of one atom may be apart: a rotation adds up to three errors, two images twice that.
    tolerance = max(0.03 / min(lattice.abc), *(6 * float(site.error.max()) for site in sites))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(
            "\n".join(lines) + "\n",
            site_tolerance=min(tolerance, 0.02),
            frac_tolerance=1e-4,
            occupancy_tolerance=200,
            check_cif=False,
        )
        (structure,) = parser.parse_structures(primitive=False)
    counts: dict[str, float] = {}
    for species in structure.species_and_occu:
        symbol = max(species, key=lambda one: species[one]).symbol
        counts[symbol] = counts.get(symbol, 0.0) + 1
    return counts


def _compare(reading: _Reading, second: dict[str, float]) -> None:
    if reading.counts != second:
        first, other = (Composition(counts).formula for counts in (reading.counts, second))
        raise ValueError(
            f"its readers disagree: gemmi finds {first} in {reading.setting.name}, pymatgen {other}; "
            "write its coordinates with more digits, or the whole cell"
        )
