"""One crystal in JSON, as pymatgen or JARVIS writes it; nothing that it names is imported or called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element, Lattice, Structure

from crystalgraph.crystals.conversion import elements
from crystalgraph.io.bounds import MAX_SITES, too_many_sites

_SYMBOLS = {element.symbol: element for element in elements().values()}
_HYDROGEN = {"D": "H", "T": "H"}

NO_STRUCTURE = "it is no structure as pymatgen writes it, with lattice and sites"


def loads(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: if it is none, or nested too deeply.
    """
    try:
        content = json.loads(text)
        if "\\ud" in text.lower():  # halves of letters, which no file can hold
            content = json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
        return content
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_structure(document: Any) -> bool:
    """Whether this is, or was meant to be, a structure as pymatgen writes it."""
    return isinstance(document, Mapping) and (
        ("lattice" in document and "sites" in document)
        or (isinstance(document.get("lattice"), Mapping) and "matrix" in document["lattice"])
    )


def is_jarvis(document: Any) -> bool:
    """Whether this is a set of atoms as JARVIS writes it."""
    return isinstance(document, Mapping) and {"lattice_mat", "coords", "elements"} <= set(document)


def structure_from_document(document: Any) -> Structure:
    """The structure in a ``Structure.as_dict`` of pymatgen, without charges and what is known of single sites.

    Args:
        document: the dictionary, or its JSON.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(document, str):
        document = loads(document)
    if is_jarvis(document):
        return _structure_of_jarvis(document)
    if not is_structure(document) or not isinstance(document.get("sites"), list):
        raise ValueError(_what_it_is(document))
    sites = document["sites"]
    if len(sites) > MAX_SITES:
        raise ValueError(too_many_sites(len(sites)))
    if not all(isinstance(site, Mapping) for site in sites):
        raise ValueError(NO_STRUCTURE)
    lattice = _lattice(document["lattice"])
    species = [_species(site.get("species")) for site in sites]
    if all("abc" in site for site in sites):
        coords = _numbers([site["abc"] for site in sites], (len(sites), 3))
    elif all("xyz" in site for site in sites):
        coords = lattice.get_fractional_coords(_numbers([site["xyz"] for site in sites], (len(sites), 3)))
    else:
        raise ValueError("its sites have no coordinates (abc or xyz)")
    structure = Structure(lattice, species, coords)
    properties = document.get("properties")
    structure.properties = dict(properties) if isinstance(properties, Mapping) else {}
    return structure


def _structure_of_jarvis(document: Mapping[str, Any]) -> Structure:
    names = document["elements"]
    if not isinstance(names, list):
        raise ValueError(NO_STRUCTURE)
    if len(names) > MAX_SITES:
        raise ValueError(too_many_sites(len(names)))
    return Structure(
        _numbers(document["lattice_mat"], (3, 3)),
        [_element(name) for name in names],
        _numbers(document["coords"], (len(names), 3)),
        coords_are_cartesian=document.get("cartesian") is True,
    )


def _what_it_is(document: Any) -> str:
    """Why this is no structure, by the name of what it is where it says so."""
    kind = str(document.get("@class", ""))[:40] if isinstance(document, Mapping) else ""
    if "Molecule" in kind or (isinstance(document, Mapping) and "sites" in document and "lattice" not in document):
        return f"it is a {kind or 'molecule'}, which has no lattice"
    return f"it is a {kind}, not a Structure" if kind and "Structure" not in kind else NO_STRUCTURE


def _lattice(document: Any) -> Lattice:
    if isinstance(document, Mapping) and "matrix" not in document:
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        if any(name not in document for name in names):
            raise ValueError("its lattice has neither a matrix nor lengths and angles")
        return Lattice.from_parameters(*_numbers([document[name] for name in names], (6,)).tolist())
    return Lattice(_numbers(document["matrix"] if isinstance(document, Mapping) else document, (3, 3)))


def _species(shares: Any) -> Element | Composition:
    """What is at a site: an element, or parts of several."""
    if not isinstance(shares, list) or not shares or not all(isinstance(share, Mapping) for share in shares):
        raise ValueError("a site names no species")
    parts: dict[Element, float] = {}
    for share in shares:
        element = _element(share.get("element"))
        parts[element] = parts.get(element, 0.0) + float(_numbers(share.get("occu", 1), ()))
    ((element, part), *others) = parts.items()
    return element if not others and part == 1 else Composition({one.symbol: amount for one, amount in parts.items()})


def _element(name: Any) -> Element:
    symbol = _HYDROGEN.get(str(name), str(name))
    if symbol not in _SYMBOLS:
        raise ValueError(f"{str(name)[:40]} is not an element")
    return _SYMBOLS[symbol]


def _numbers(values: Any, shape: tuple[int, ...]) -> Any:
    try:
        array = np.array(values, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        raise ValueError("where numbers belong, it has something else") from None
    if array.shape != shape:
        raise ValueError(f"it has numbers of shape {array.shape} where {shape} is needed")
    return array
