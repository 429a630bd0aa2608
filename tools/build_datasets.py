"""Turn the collected tables of crystals into the folders of ``datasets/``, each with its card.

    python tools/build_datasets.py SOURCE datasets

SOURCE holds ``corpus.parquet``, ``known_nbo.parquet`` and ``mp_dft_hull_nbo.json``. The written part of the cards is
``dataset_cards.toml`` beside this file; the figures are counted here. The same tables give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crystalgraph.crystals import Crystals
from crystalgraph.io.atomic import write_bytes, write_json, write_text
from crystalgraph.io.counts import count_crystals
from crystalgraph.io.datasets import CARD, CRYSTALS, DFT_HULL

Arrays = dict[str, NDArray[Any]]

#: Columns of the tables that the arrays already say, or that say the structure a second time.
DERIVED = {"n_sites", "lattice", "species", "frac_coords", "structure", "cif", "duplicates", "n_duplicates"}
RENAMED = {"spacegroup_number": "space_group_number", "spacegroup_symbol": "space_group_symbol"}
#: The oldest time stamp a zip file can hold; a fixed one keeps the bytes the same.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Read the command line and write both datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the collected tables")
    parser.add_argument("out", type=Path, help="folder that gets one folder a dataset")
    options = parser.parse_args()
    texts = tomllib.loads(Path(__file__).with_name("dataset_cards.toml").read_text(encoding="utf-8"))

    corpus = pd.read_parquet(options.source / "corpus.parquet")
    lattice = np.stack(corpus["lattice"].to_list()).reshape(-1, 3, 3)
    sites = [np.concatenate(corpus[name].to_list()) for name in ("frac_coords", "species")]
    arrays = structure_arrays(corpus["n_sites"], lattice, sites[0].reshape(-1, 3), sites[1]) | columns(corpus)
    write_dataset(options.out / "corpus", arrays, texts, {})

    known = pd.read_parquet(options.source / "known_nbo.parquet")
    lattice, frac_coords, species = parse_structures(known["structure"])
    arrays = structure_arrays(known["n_sites"], lattice, frac_coords, species) | columns(known)
    hull = (options.source / "mp_dft_hull_nbo.json").read_bytes()
    write_dataset(options.out / "nbo", arrays, texts, {DFT_HULL: hull})


def parse_structures(texts: pd.Series) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Lattices, fractional coordinates and atomic numbers of structures given as pymatgen JSON."""
    from pymatgen.core import Structure

    structures = [Structure.from_dict(json.loads(text)) for text in texts]
    return (
        np.stack([s.lattice.matrix for s in structures]),
        np.concatenate([s.frac_coords for s in structures]),
        np.concatenate([s.atomic_numbers for s in structures]),
    )


def structure_arrays(num_atoms: Any, lattice: Any, frac_coords: Any, atomic_numbers: Any) -> Arrays:
    """The arrays that make up the crystals, in the smallest types that hold them exactly."""
    if not (frac_coords.min() >= 0 and frac_coords.max() <= 1):
        frac_coords = frac_coords % 1
    return {
        "num_atoms": np.asarray(num_atoms, np.uint8),
        "lattice": lattice,
        "frac_coords": frac_coords,
        "atomic_numbers": atomic_numbers.astype(np.uint8),
    }


def columns(table: pd.DataFrame) -> Arrays:
    """One array a column: text as unicode, a missing text empty, a missing flag -1, a missing number NaN."""
    arrays: Arrays = {}
    for name in table.columns:
        if name in DERIVED:
            continue
        values = table[name]
        if name == "theoretical":
            array = values.map({None: -1, False: 0, True: 1}).to_numpy(np.int8)
        elif values.dtype == object:
            array = values.fillna("").to_numpy(dtype=str)
        else:
            array = values.to_numpy()
        arrays[RENAMED.get(name, name)] = array
    arrays["n_duplicates"] = table["duplicates"].map(len).to_numpy(np.uint8)
    arrays["duplicates"] = np.array([text for merged in table["duplicates"] for text in merged], dtype=str)
    return arrays


def write_dataset(folder: Path, arrays: Arrays, texts: dict[str, Any], files: dict[str, bytes]) -> None:
    """Write the arrays, further files and both forms of the card."""
    contents = {CRYSTALS: npz_bytes(arrays), **files}
    crystals = Crystals(
        lattice=torch.from_numpy(arrays["lattice"]),
        frac_coords=torch.from_numpy(arrays["frac_coords"]),
        atomic_numbers=torch.from_numpy(arrays["atomic_numbers"].astype(np.int64)),
        num_atoms=torch.from_numpy(arrays["num_atoms"].astype(np.int64)),
    )
    text = texts[folder.name]
    described = texts["columns"] | text["columns"]
    card = {
        "name": folder.name,
        "title": text["title"],
        "description": f"{text['description']} {texts['units']}",
        "licences": sorted({source["licence"] for source in texts["sources"]}),
        "sources": texts["sources"],
        "exclusions": texts["exclusions"],
        "counts": count_crystals(crystals, arrays),
        "columns": {name: {"type": type_name(array), "meaning": described[name]} for name, array in arrays.items()},
        "made": [*text["made"], texts["storage"]],
        "gaps": text["gaps"],
        "citation": texts["citation"],
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    write_json(folder / CARD, card)
    write_text(folder / "README.md", readme(card))


def type_name(array: NDArray[Any]) -> str:
    """What a reader calls the type of an array; the width of a text says nothing."""
    return "text" if array.dtype.kind == "U" else array.dtype.name


def npz_bytes(arrays: Arrays) -> bytes:
    """What ``np.savez_compressed`` writes, without the time of day in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", ZIP_EPOCH)
            entry.create_system = 3
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def readme(card: dict[str, Any]) -> str:
    """The card for people, in Markdown."""
    counts = [
        f"| {group} | {name} | {count:,} |" for group, names in card["counts"].items() for name, count in names.items()
    ]
    sources = [f"| {s['name']} | {s['licence']} | {s['taken_from']} | {s['attribution']} |" for s in card["sources"]]
    described = [f"| `{name}` | {column['type']} | {column['meaning']} |" for name, column in card["columns"].items()]
    sections = {
        card["title"]: [card["description"]],
        "Counts": [table("group", "crystals with", "how many", rows=counts)],
        "Sources, licences, attribution": [
            table("source", "licence", "taken from", "attribution", rows=sources),
            card["exclusions"],
            card["citation"],
        ],
        "Columns": [table("column", "type", "meaning", rows=described)],
        "How it was made": card["made"],
        "Known gaps": ["\n".join(f"- {gap}" for gap in card["gaps"])],
    }
    blocks = [
        f"{'#' if depth == 0 else '##'} {title}\n\n" + "\n\n".join(paragraphs)
        for depth, (title, paragraphs) in enumerate(sections.items())
    ]
    note = f"Written by `tools/build_datasets.py`; `{CARD}` says the same to programs."
    return "\n\n".join([*blocks, note]) + "\n"


def table(*header: str, rows: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *rows])


if __name__ == "__main__":
    main()
