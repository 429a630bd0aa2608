"""The sites that a CIF lists: their elements, and their places with the error that the digits leave.

A site lies on a special position where an operation moves it by no more than this error; it is put there exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition
from scipy.spatial import cKDTree

from crystalgraph.crystals.conversion import elements
from crystalgraph.io.bounds import MAX_SITES, too_many_sites
from crystalgraph.io.cif_statements import Tags
from crystalgraph.io.cif_symmetry import Setting

_NUMBER = re.compile(r"([+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d{1,3}))?)(?:\((\d+)\))?")
_FRACTION = re.compile(r"([+-]?\d{1,3})/(\d{1,3})")

#: Units in the last digit that a coordinate may be wrong by, for each number of decimals: 0.67 and 0.66 are both meant
#: for 2/3, but 0.5 is not meant for 0.4.
_UNITS = {0: 0.0, 1: 0.5, 2: 0.7}

#: Images of one atom nearer than this (Å) are the atom itself, whatever the digits.
_SAME_PLACE = 0.01

#: Images of one atom nearer than this (Å) are one atom or a mistake; no two atoms come as near.
_TOO_NEAR = 0.3

#: Two sites of a whole cell nearer than this (Å) are one, listed twice.
_LISTED_TWICE = 1e-3

#: Tags of waves, and of space groups of more than three dimensions.
_MODULATED = ("_cell_wave_vector_", "_space_group_ssg_", "_space_group_symop_ssg_")

#: Elements in capitals that are more often groups of atoms.
_GROUPS_OF_ATOMS = {"CF", "CN", "CO", "HF", "HO", "HS", "NH", "NO"}

#: A label that names two elements, such as Fe_Mg or Si/Al, or a molecule of water; O_B is an O.
_SEVERAL_ATOMS = re.compile(r"[A-Z][a-z]?\d*(?:[^A-Za-z0-9]+\d*([A-Z][a-z])|[,/+&]\s*([A-Z][a-z]?))(?![a-z])|[HD][23]O")

_SYMBOLS = {element.symbol: element.symbol for element in elements().values()} | {"D": "H", "T": "H"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A row of the list of sites.

    Attributes:
        label: as the file has it.
        symbol: of its element.
        occupancy: in (0, 1].
        frac_coords: (3,).
        error: how far each coordinate may be off, (3,).
    """

    label: str
    symbol: str
    occupancy: float
    frac_coords: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Orbits:
    """A site with all its images.

    Attributes:
        labels: of the rows that are this site.
        shares: how much of each element every place holds.
        frac_coords: places, (multiplicity, 3), in [0, 1).
        error: see `Site`.
        repeated: rows that say the same, in words; empty where there are none.
    """

    labels: tuple[str, ...]
    shares: dict[str, float] = field(default_factory=dict)
    frac_coords: NDArray[np.float64]
    error: NDArray[np.float64]
    repeated: str = ""


def number_with_error(text: str) -> tuple[float, float]:
    """A number of a CIF, such as 0.333(3) or 1/3, and how far it may be off.

    Raises:
        ValueError: if it is none.
    """
    if fraction := _FRACTION.fullmatch(text):
        if int(fraction[2]) == 0:
            raise ValueError(f"{text!r} is not a number")
        return int(fraction[1]) / int(fraction[2]), 0.0
    match = _NUMBER.fullmatch(text)
    if match is None or not np.isfinite(value := float(match[1])):
        raise ValueError(f"{text[:40]!r} is not a number")
    decimals = len(match[2] or match[3] or "")
    unit = 10.0 ** (int(match[4] or 0) - decimals)
    error = _UNITS.get(decimals, 1.0) * unit
    return value, max(error, float(match[5]) * unit) if match[5] else error


def listed_sites(tags: Tags) -> list[Site]:
    """The sites of a block, without what it calls dummies.

    Raises:
        ValueError: if the list is not one of whole atoms at known places, saying what is wrong.
    """
    if not (all(f"_atom_site_fract_{axis}" in tags for axis in "xyz")):
        if "_atom_site_cartn_x" not in tags:
            raise ValueError("it lists no atoms with fractional coordinates (_atom_site_fract_x, _y, _z)")
        kind = "a macromolecular CIF (mmCIF)" if "_atom_site_label_asym_id" in tags else "a CIF"
        raise ValueError(
            f"it is {kind} whose atoms have Cartesian coordinates only (_atom_site_Cartn_x); write fractional ones"
        )
    if _is_modulated(tags):
        raise ValueError("it is a modulated structure, which is no crystal with one cell")
    types, labels = tags.get("_atom_site_type_symbol"), tags.get("_atom_site_label")
    if types is None and labels is None:
        raise ValueError("its atoms have neither labels nor type symbols")
    n_sites = len(tags["_atom_site_fract_x"])
    if n_sites > MAX_SITES:
        raise ValueError(too_many_sites(n_sites))
    flags = tags.get("_atom_site_calc_flag", [""] * n_sites)
    atoms = [k for k in range(n_sites) if flags[k].lower() != "dum"]
    _refuse_incomplete(tags, labels or [str(k) for k in range(n_sites)], atoms)
    if not atoms:
        raise ValueError("it lists no atoms")
    stated = _stated_elements(tags)
    occupancies = tags.get("_atom_site_occupancy", [""] * n_sites)
    sites = []
    for k in atoms:
        label = labels[k] if labels else str(k + 1)
        symbol = _symbol_of_type(types[k], label, stated) if types else _symbol_of_label(label, stated)
        places = [_number(tags[f"_atom_site_fract_{axis}"][k], axis, label) for axis in "xyz"]
        sites.append(
            Site(
                label=label or f"{symbol}{k + 1}",
                symbol=symbol,
                occupancy=_occupancy(occupancies[k], label),
                frac_coords=np.array([place for place, _ in places]),
                error=np.array([error for _, error in places]),
            )
        )
    return sites


def _is_modulated(tags: Tags) -> bool:
    if any(text not in ("", "0") for text in tags.get("_cell_modulation_dimension", ())):
        return True
    return any(tag.startswith(_MODULATED) and any(texts) for tag, texts in tags.items())


def _refuse_incomplete(tags: Tags, labels: Sequence[str], atoms: Sequence[int]) -> None:
    """Raise where the list says of itself that it is not all of the atoms, or more than they are."""
    hydrogens = tags.get("_atom_site_attached_hydrogens", [""] * len(labels))
    if bearing := [labels[k] for k in atoms if hydrogens[k] not in ("", "0")]:
        raise ValueError(f"hydrogens are attached to {_listed(bearing)} without places of their own")
    groups = tags.get("_atom_site_disorder_group", [""] * len(labels))
    if alternatives := [labels[k] for k in atoms if groups[k] not in ("", "0")]:
        raise ValueError(f"it is disordered: {_listed(alternatives)} belong to disorder groups, of which one is there")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _number(text: str, axis: str, label: str) -> tuple[float, float]:
    if not text:
        raise ValueError(f"the place of {label} is not given (its {axis} is unknown)")
    try:
        value, error = number_with_error(text)
    except ValueError as fault:
        raise ValueError(f"the {axis} of {label}: {fault}") from None
    if abs(value) > 1e6:
        raise ValueError(f"the {axis} of {label} is {value:g}, far outside the cell")
    return value, error


def _occupancy(text: str, label: str) -> float:
    """Part of the places that the atom is at; 1 where it is not stated, or 1 within its error."""
    if not text:
        return 1.0
    try:
        value, error = number_with_error(text)
    except ValueError as fault:
        raise ValueError(f"the occupancy of {label}: {fault}") from None
    if abs(value - 1) <= max(1e-3, min(error if "(" in text else 0.0, 0.01)):
        return 1.0
    if not 0 < value < 1:
        raise ValueError(f"the occupancy of {label} is {value:g}; it must be above 0 and up to 1")
    return value


def _symbol_of_type(text: str, label: str, stated: frozenset[str]) -> str:
    """The element of a type symbol such as Nb, NB, Nb5+ or O2-; CO is cobalt where the formula names it.

    Raises:
        ValueError: if it is none.
    """
    isotope = re.fullmatch(r"[23]H", text)
    match = re.fullmatch(r"([A-Za-z]{1,2})\s*(?:[+-]?\d{0,2}(?:\.\d+)?[+-]?)", text)
    symbol = "H" if isotope else match[1] if match else ""
    if symbol not in _SYMBOLS and (symbol.isupper() or symbol.islower()):
        element = symbol.capitalize()
        symbol = element if symbol.upper() not in _GROUPS_OF_ATOMS or element in stated else ""
    if symbol not in _SYMBOLS:
        raise ValueError(_why_no_element(text, label))
    return _SYMBOLS[symbol]


def _why_no_element(text: str, label: str) -> str:
    if not text:
        return f"the type symbol of {label} is unknown (. or ?)"
    atoms = re.findall(r"[A-Z][a-z]?", text) if re.fullmatch(r"(?:[A-Z][a-z]?-?\d*)+", text) else []
    if len(atoms) > 1 and all(symbol in _SYMBOLS for symbol in atoms):
        return f"{text[:40]!r} ({label}) stands for more than one atom"
    return f"{text[:40]!r} ({label}) is not an element"


def _symbol_of_label(label: str, stated: frozenset[str]) -> str:
    """The element at the beginning of a label such as Nb1 or O_2.

    Letters that go on after the element (OW1, CaM1) or are all capitals (NB1) are understood where the formula names
    the element; so is T, which is more often a tetrahedral site than tritium.

    Raises:
        ValueError: if it begins with none.
    """
    letters = re.match(r"[A-Za-z]*", label)[0]  # type: ignore[index]
    if not stated and (several := _SEVERAL_ATOMS.match(label)) and (several[1] or several[2] or "O") in _SYMBOLS:
        raise ValueError(f"{label[:40]!r} may be more than one atom; add its type symbol")
    if letters in _SYMBOLS and letters != "T":
        return _SYMBOLS[letters]
    for symbol in (letters[:2].capitalize(), letters[:1].upper()):
        is_whole = len(symbol) == len(letters) and not (
            len(letters) == 2 and letters.isupper() and letters[0] in _SYMBOLS
        )
        if symbol in _SYMBOLS and (_SYMBOLS[symbol] in stated or (is_whole and symbol != "T")):
            return _SYMBOLS[symbol]
    raise ValueError(f"{label[:40]!r} is not an element with a number; add its type symbol")


def _stated_elements(tags: Tags) -> frozenset[str]:
    text = re.sub(r"\b[DT](?=[\d\s]|$)", "H", tags.get("_chemical_formula_sum", [""])[0])
    try:
        return frozenset(element.symbol for element in Composition(text).elements)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return frozenset()


def orbits_of(sites: Sequence[Site], setting: Setting, lattice: NDArray[np.float64]) -> list[Orbits]:
    """Each site with its images.

    Args:
        sites: as they are listed.
        setting: the operations.
        lattice: rows, Å, (3, 3).

    Raises:
        ValueError: if the images of a site are too near to be several atoms and too far apart to be one.
    """
    orbits, n_atoms = [], 0
    for site in sites:
        places = _places(site, setting, lattice)
        n_atoms += len(places)
        if n_atoms > MAX_SITES:
            raise ValueError(too_many_sites(n_atoms))
        orbits.append(
            Orbits(labels=(site.label,), shares={site.symbol: site.occupancy}, frac_coords=places, error=site.error)
        )
    return orbits


def _places(site: Site, setting: Setting, lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """All places of a site, (multiplicity, 3), in [0, 1); the first is the site's own."""
    rotations, translations, place = setting.rotations, setting.translations, site.frac_coords
    if len(rotations) == 1:
        return _wrapped(place[None])
    moved = _nearest(rotations @ place + translations - place)
    distance = np.linalg.norm(moved @ lattice, axis=1)
    within_digits = (np.abs(moved) <= np.abs(rotations - np.eye(3)) @ site.error + 1e-9).all(1)
    fixes = (within_digits & (distance < 2 * _TOO_NEAR)) | (distance < _SAME_PLACE)
    if site.occupancy == 1 and (distance[~fixes] < _TOO_NEAR).any():
        raise ValueError(
            f"images of {site.label} are {distance[~fixes].min():.3f} Å apart, more than its digits leave open"
        )
    place = place + moved[fixes].mean(0)
    images = rotations @ place + translations
    multiplicity, rest = divmod(len(rotations), int(fixes.sum()))
    _, first = np.unique(np.round(images * 1e6).astype(np.int64) % 10**6, axis=0, return_index=True)
    if rest or len(first) != multiplicity:
        # Rounding may cut through a place; distances do not.
        first = _distinct(images)
    if rest or len(first) != multiplicity or np.abs(_nearest(images[fixes] - place)).max() > 1e-6:
        raise ValueError(f"the digits of {site.label} leave open on which special position it lies")
    return _wrapped(images[np.sort(first)])


def _distinct(images: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position of the first of each group of images that coincide."""
    chosen: list[int] = []
    for position, image in enumerate(images):
        if not chosen or np.abs(_nearest(images[chosen] - image)).max(1).min() > 1e-6:
            chosen.append(position)
    return np.array(chosen)


def _nearest(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    return difference - np.round(difference)


def _wrapped(frac_coords: NDArray[np.float64]) -> NDArray[np.float64]:
    wrapped = frac_coords % 1
    return np.where(wrapped >= 1, 0.0, wrapped)


def merged(orbits: Sequence[Orbits], lattice: NDArray[np.float64], *, is_whole_cell: bool) -> list[Orbits]:
    """The same with rows joined that are one site: copies of it, or the elements that share it.

    Args:
        orbits: of each row.
        lattice: rows, Å, (3, 3).
        is_whole_cell: whether every atom of the cell has a row, so that rows are taken as they are written.

    Raises:
        ValueError: if more than one atom is at a place, or rows overlap in part.
    """
    if len(orbits) == 1:
        return list(orbits)
    owner = np.repeat(np.arange(len(orbits)), [len(orbit.frac_coords) for orbit in orbits])
    places = np.concatenate([orbit.frac_coords for orbit in orbits])
    errors = np.stack([orbit.error for orbit in orbits])
    reach = 1e-3 if is_whole_cell else min(0.05, max(2 * float(errors.max()), 1e-3))
    tree = cKDTree(places % 1, boxsize=1)
    leader = np.arange(len(orbits))
    joined: dict[int, Orbits] = {}
    for position, orbit in enumerate(orbits):
        near = np.array(tree.query_ball_point(orbit.frac_coords[0] % 1, reach, p=np.inf))
        near = near[owner[near] < position]
        moved = _nearest(places[near] - orbit.frac_coords[0])
        distance = np.linalg.norm(moved @ lattice, axis=1)
        if is_whole_cell:
            same = distance < _LISTED_TWICE
        else:
            within_digits = (np.abs(moved) <= errors[owner[near]] + orbit.error + 1e-9).all(1)
            same = (distance < _SAME_PLACE) | (within_digits & (distance < _TOO_NEAR))
        if not same.any():
            joined[position] = orbit
            continue
        leader[position] = leader[owner[near[same][0]]]
        joined[int(leader[position])] = _join(joined[int(leader[position])], orbit)
    return list(joined.values())


def _join(first: Orbits, other: Orbits) -> Orbits:
    names = f"{', '.join(first.labels)} and {other.labels[0]}"
    if len(first.frac_coords) != len(other.frac_coords):
        raise ValueError(f"{names} overlap, but lie on special positions of different multiplicity")
    ((symbol, share),) = other.shares.items()
    if first.shares == {symbol: 1.0} and share == 1:
        return replace(first, labels=(*first.labels, *other.labels), repeated=names)
    shares = first.shares | {symbol: first.shares.get(symbol, 0.0) + share}
    total = sum(shares.values())
    if total > 1.01:
        raise ValueError(f"{names} share one place, with the occupancy {total:g} together")
    if list(shares) == [symbol] and total > 0.99:
        shares = {symbol: 1.0}
    return replace(first, labels=(*first.labels, *other.labels), shares=shares)
