"""Turn the collected tables of crystals into the folders of ``datasets/``, each with its card.

    python tools/build_datasets.py SOURCE datasets

SOURCE holds ``corpus.parquet``, ``known_nbo.parquet`` and ``mp_dft_hull_nbo.json``. The written part of the cards is
``dataset_cards.toml`` beside this file; the figures are counted here. The same tables give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalgraph.io.dataset_folder import Arrays, structure_arrays, write_dataset
from crystalgraph.io.datasets import DFT_HULL

#: Columns of the tables that the arrays already say, or that say the structure a second time.
DERIVED = {"n_sites", "lattice", "species", "frac_coords", "structure", "cif", "duplicates", "n_duplicates"}
RENAMED = {"spacegroup_number": "space_group_number", "spacegroup_symbol": "space_group_symbol"}


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
    write_dataset(options.out / "corpus", arrays, **card_texts("corpus", texts))

    known = pd.read_parquet(options.source / "known_nbo.parquet")
    lattice, frac_coords, species = parse_structures(known["structure"])
    arrays = structure_arrays(known["n_sites"], lattice, frac_coords, species) | columns(known)
    hull = (options.source / "mp_dft_hull_nbo.json").read_bytes()
    write_dataset(options.out / "nbo", arrays, **card_texts("nbo", texts), files={DFT_HULL: hull})


def parse_structures(texts: pd.Series) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Lattices, fractional coordinates and atomic numbers of structures given as pymatgen JSON."""
    from pymatgen.core import Structure

    structures = [Structure.from_dict(json.loads(text)) for text in texts]
    return (
        np.stack([s.lattice.matrix for s in structures]),
        np.concatenate([s.frac_coords for s in structures]),
        np.concatenate([s.atomic_numbers for s in structures]),
    )


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


def card_texts(name: str, texts: dict[str, Any]) -> dict[str, Any]:
    """The written part of a dataset's card, and what its arrays mean."""
    text = texts[name]
    shared = {key: texts[key] for key in ("sources", "exclusions", "citation")}
    own = {"title": text["title"], "description": f"{text['description']} {texts['units']}", "gaps": text["gaps"]}
    return {
        "texts": {**shared, **own, "made": [*text["made"], texts["storage"]]},
        "meanings": texts["columns"] | text["columns"],
        "written_by": "tools/build_datasets.py",
    }


if __name__ == "__main__":
    main()
