"""Write a dataset's folder: the arrays, and the card in two forms; `crystalgraph.io.datasets` loads it.

The same arrays give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.counts import count_crystals
from crystalgraph.io.atomic import write_bytes, write_json, write_text
from crystalgraph.io.datasets import CARD, CRYSTALS

Arrays = dict[str, NDArray[Any]]
"""What ``crystals.npz`` holds: those of the crystals, and one value a crystal in each other."""

#: The oldest time stamp a zip file can hold; a fixed one keeps the bytes the same.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def structure_arrays(num_atoms: Any, lattice: Any, frac_coords: Any, atomic_numbers: Any) -> Arrays:
    """The arrays that make up the crystals, in the smallest types that hold them exactly.

    Args:
        num_atoms: atoms per crystal, (n_crystals,).
        lattice: lattice vectors as rows, (n_crystals, 3, 3), Å.
        frac_coords: fractional coordinates of all atoms, (n_atoms, 3); wrapped into the cell where one lies outside.
        atomic_numbers: elements of all atoms, (n_atoms,).
    """
    if not (frac_coords.min() >= 0 and frac_coords.max() <= 1):
        frac_coords = frac_coords % 1
    return {
        "num_atoms": smallest(np.asarray(num_atoms)),
        "lattice": lattice,
        "frac_coords": frac_coords,
        "atomic_numbers": atomic_numbers.astype(np.uint8),
    }


def smallest(counts: NDArray[Any]) -> NDArray[Any]:
    """Counts in the smallest unsigned type that holds them all."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def write_dataset(
    folder: Path,
    arrays: Arrays,
    *,
    texts: Mapping[str, Any],
    meanings: Mapping[str, str],
    files: Mapping[str, bytes] | None = None,
    written_by: str = "cg-data import",
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the arrays, further files and both forms of the card.

    Args:
        folder: where they go; its name is the dataset's.
        arrays: see `Arrays`.
        texts: the written part of the card: ``title``, ``description``, ``sources`` (name, licence, taken_from and
            attribution of each), ``exclusions``, ``made``, ``gaps``, ``citation``.
        meanings: what each array means.
        files: name -> content of further files, with their checksums on the card.
        written_by: the program, for the last line of the card.
        record: further entries of ``card.json``.

    Returns:
        The content of ``card.json``.
    """
    contents = {CRYSTALS: npz_bytes(arrays), **(files or {})}
    crystals = Crystals(
        lattice=torch.from_numpy(arrays["lattice"]),
        frac_coords=torch.from_numpy(arrays["frac_coords"]),
        atomic_numbers=torch.from_numpy(arrays["atomic_numbers"].astype(np.int64)),
        num_atoms=torch.from_numpy(arrays["num_atoms"].astype(np.int64)),
    )
    card = {
        "name": folder.name,
        "title": texts["title"],
        "description": texts["description"],
        "licences": sorted({source["licence"] for source in texts["sources"]}),
        "sources": texts["sources"],
        "exclusions": texts["exclusions"],
        "counts": count_crystals(crystals, arrays),
        "columns": {name: {"type": type_name(array), "meaning": meanings[name]} for name, array in arrays.items()},
        "made": texts["made"],
        "gaps": texts["gaps"],
        "citation": texts["citation"],
        **(record or {}),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    write_json(folder / CARD, card)
    write_text(folder / "README.md", readme(card, written_by))
    return card


def type_name(array: NDArray[Any]) -> str:
    """What a reader calls the type of an array; the width of a text says nothing."""
    return "text" if array.dtype.kind == "U" else array.dtype.name


def npz_bytes(arrays: Arrays) -> bytes:
    """What ``np.savez_compressed`` writes, without the time of day in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            entry.create_system = 3
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def readme(card: Mapping[str, Any], written_by: str) -> str:
    """The card for people, in Markdown."""
    counts = [
        _row(group, name, f"{count:,}") for group, names in card["counts"].items() for name, count in names.items()
    ]
    sources = [
        _row(*(_prose(s[key]) for key in ("name", "licence", "taken_from", "attribution"))) for s in card["sources"]
    ]
    described = [
        _row(f"`{_prose(name).replace('`', chr(39))}`", column["type"], column["meaning"])
        for name, column in card["columns"].items()
    ]
    sections = {
        _prose(card["title"]): [_prose(card["description"])],
        "Counts": [_table("group", "crystals with", "how many", rows=counts)],
        "Sources, licences, attribution": [
            _table("source", "licence", "taken from", "attribution", rows=sources),
            _prose(card["exclusions"]),
            _prose(card["citation"]),
        ],
        "Columns": [_table("column", "type", "meaning", rows=described)],
        "How it was made": card["made"],
        "Known gaps": ["\n".join(f"- {_prose(gap)}" for gap in card["gaps"])],
    }
    blocks = [
        f"{'#' if depth == 0 else '##'} {title}\n\n" + "\n\n".join(paragraphs)
        for depth, (title, paragraphs) in enumerate(sections.items())
    ]
    note = f"Written by `{written_by}`; `{CARD}` says the same to programs."
    return "\n\n".join([*blocks, note]) + "\n"


def _table(*header: str, rows: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *rows])


def _row(*cells: str) -> str:
    """A row of a Markdown table, whatever the texts hold."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _prose(text: str) -> str:
    """A paragraph of Markdown that a stranger may have written: one line, no HTML, no links and no pictures."""
    return " ".join(text.split()).replace("<", "&lt;").replace("](", "]\\(").replace("][", "]\\[")
