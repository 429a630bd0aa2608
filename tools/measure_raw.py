"""Figures of a raw run: how many samples are valid, distinct, new, symmetric, and of the right volume.

    cg-generate --raw 1000 --seed 2 --out runs/raw
    python tools/measure_raw.py runs/raw --out tools/results/raw.json

*New* means: matches no known phase of the system and no crystal the model learned from, prototypes re-decorated with
the system's elements included. Every share is of all samples drawn unless it says otherwise.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.config import DataConfig
from crystalgraph.errors import InputError
from crystalgraph.evaluation.matching import ReferenceIndex, group_equal, match_any
from crystalgraph.io.atomic import write_json
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.structures import read_structures, to_structures
from crystalgraph.models.bundle import load_model
from crystalgraph.training.corpus import prepare
from crystalgraph.training.redecorate import redecorate


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
    record = json.loads((folder / "run.json").read_text())
    read = read_structures(folder / "structures")
    if read.crystals is None or len(read.names) != len(table):
        raise InputError(f"{folder} is not a raw run: {len(table)} samples, but {len(read.names)} structures")
    structures = to_structures(read.crystals)
    valid = [s for s, fine in zip(structures, table["strictly_valid"] == "yes", strict=True) if fine]
    labels = group_equal(valid)
    system = ChemicalSystem.parse(record["request"]["system"])
    config = DataConfig(**load_model(record["model"]["name"]).record["config"]["data"])
    known = ReferenceIndex.from_crystals(load_dataset("nbo").crystals)
    learned = redecorate(prepare(load_dataset("corpus"), config).training, list(system.atomic_numbers), known)
    is_known = match_any(valid, known) >= 0
    is_learned = match_any(valid, ReferenceIndex.from_crystals(learned.data.crystals())) >= 0
    error, n_compared = volume_error(valid)
    return {
        "samples": len(table),
        "strictly valid": len(valid) / len(table),
        "unique of valid": float(np.mean(labels == np.arange(len(labels)))),
        "new": float((~is_known & ~is_learned).sum() / len(table)),
        "equal to a known phase": float(is_known.sum() / len(table)),
        "known phases found": len(set(match_any(valid, known).tolist()) - {-1}),
        "equal to a re-decorated prototype": float(is_learned.sum() / len(table)),
        "re-decorated prototypes": len(learned.data),
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
