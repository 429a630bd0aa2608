"""Figures of a raw run: how many samples are valid, distinct, new, symmetric, and of the right volume.

    cg-generate --raw 1000 --seed 2 --out runs/raw
    python tools/measure_raw.py runs/raw --out tools/results/raw.json

*New* means: matches no known phase of the system and no crystal of the corpus with the system's elements put in, in any
way that keeps the order of electronegativity, roles merged where there are more than the system has elements. Every
share is of all samples drawn unless it says otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from crystalgraph.known.reference import load_reference, reduced_compositions
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.matching import group_equal, match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_json
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.reading import read_structures


def volume_error(structures: list[Structure]) -> tuple[float, int]:
    """Median |V / V_known − 1| per atom, beside the median of the known oxides of the same formula, and the count."""
    known = load_dataset("nbo")
    columns = pd.DataFrame({name: known.columns[name] for name in ("formula", "kind", "volume_per_atom")})
    median = columns[columns["kind"] == "oxide"].groupby("formula")["volume_per_atom"].median()
    errors = [
        abs(s.volume / len(s) / median[s.composition.reduced_formula] - 1)
        for s in structures
        if s.composition.reduced_formula in median.index
    ]
    return float(np.median(errors)), len(errors)


def measure(folder: Path) -> dict[str, object]:
    """All figures of a raw run."""
    table = pd.read_csv(folder / "candidates.csv")
    read = read_structures(folder / "structures")
    if read.crystals is None or len(read.names) != len(table):
        raise InputError(f"{folder} is not a raw run: {len(table)} samples, but {len(read.names)} structures")
    structures = to_structures(read.crystals)
    valid = [s for s, fine in zip(structures, table["strictly_valid"] == "yes", strict=True) if fine]
    labels = group_equal(valid)
    known = ReferenceIndex.from_crystals(load_dataset("nbo").crystals)
    corpus, compositions = load_reference("corpus"), reduced_compositions(from_structures(valid))
    merged = corpus.decorated(compositions)
    n_elements = (corpus.compositions > 0).sum(1)
    unmerged = corpus[n_elements == (compositions > 0).sum(1).max()].decorated(compositions)
    is_known = match_any(valid, known) >= 0
    is_unmerged = match_any(valid, unmerged.structures, n_jobs=2) >= 0
    is_merged = is_unmerged.copy()
    others = np.flatnonzero(~is_unmerged)
    is_merged[others] = match_any([valid[k] for k in others], merged.structures, n_jobs=2) >= 0
    error, n_compared = volume_error(valid)
    return {
        "samples": len(table),
        "strictly valid": len(valid) / len(table),
        "unique of valid": float(np.mean(labels == np.arange(len(labels)))),
        "new": float((~is_known & ~is_merged).sum() / len(table)),
        "new, but for merged roles": float((~is_known & ~is_unmerged).sum() / len(table)),
        "equal to a known phase": float(is_known.sum() / len(table)),
        "known phases found": len(set(match_any(valid, known).tolist()) - {-1}),
        "equal to a re-decorated crystal": float(is_merged.sum() / len(table)),
        "re-decorated crystals compared with": len(merged),
        "space group above 2": float((table["space_group_found"] > 2).mean()),
        "distinct space groups": int(table["space_group_found"].nunique()),
        "distinct formulas": int(table["formula"].nunique()),
        "median volume error, known formulas": error,
        "samples of known formulas": n_compared,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    figures = measure(options.folder)
    write_json(options.out, figures)
    for name, value in figures.items():
        print(f"{name:40s} {value:.3f}" if isinstance(value, float) else f"{name:40s} {value}")


if __name__ == "__main__":
    main()
