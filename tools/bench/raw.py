"""Figures of a raw run: how many samples are valid, distinct, new, symmetric, and of the right volume.

    cg-generate --raw 1000 --seed 2 --out runs/raw
    python -m tools.bench raw runs/raw --out tools/results/raw.json

The verdicts are those of `crystalgraph.evaluation.judge` with the corpus as what was learned from: *new* matches no
known phase and no crystal of the corpus with the system's elements put in, roles merged where there are more than the
system has elements; *but for merged roles* leaves these out. Every share is of all samples drawn unless it says
otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.table import CrystalTable, reduced_compositions
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import judge
from crystalgraph.evaluation.rows import first_verdicts
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import load
from crystalgraph.io.run_layout import CANDIDATES, RUN_RECORD
from crystalgraph.known.novelty import substituted
from crystalgraph.known.phases import known_phases
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import raw as table


def volume_error(structures: Sequence[Structure], known: CrystalTable) -> tuple[float | None, int]:
    """Median |V / V_known − 1| per atom, beside the median of the known phases of the same formula, and the count."""
    volumes: dict[Formula, list[float]] = {}
    for phase in known.structures:
        volumes.setdefault(Formula.from_atomic_numbers(phase.atomic_numbers), []).append(phase.volume / len(phase))
    median = {formula: float(np.median(each)) for formula, each in volumes.items()}
    formulas = [Formula.from_atomic_numbers(structure.atomic_numbers) for structure in structures]
    errors = [
        abs(structure.volume / len(structure) / median[formula] - 1)
        for structure, formula in zip(structures, formulas, strict=True)
        if formula in median
    ]
    return (float(np.median(errors)) if errors else None), len(errors)


def equal_unmerged(structures: list[Structure], learned: CrystalTable, workers: int) -> list[bool]:
    """Whether each equals a crystal learned from with as many elements, other elements put in."""
    if not structures:
        return []
    compositions = reduced_compositions(from_structures(structures))
    n_elements = (compositions > 0).sum(1).max()
    decorated = substituted(learned[(learned.compositions > 0).sum(1) == n_elements], compositions)
    return (match_any(structures, decorated.crystals, workers=workers) >= 0).tolist()


def measure(folder: Path, workers: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """All figures of a raw run, and the model that its record names.

    Raises:
        InputError: if it is not one.
    """
    if not (folder / CANDIDATES).is_file():
        raise InputError(f"{folder} holds no {CANDIDATES}; give a folder that cg-generate --raw left")
    n_samples = len(pd.read_csv(folder / CANDIDATES))
    read = load(folder)
    if not n_samples or len(read) != n_samples:
        raise InputError(f"{folder} is not a raw run: {n_samples} samples, but {len(read)} structures")
    run = json.loads((folder / RUN_RECORD).read_text())
    system = ChemicalSystem.parse(run["request"]["system"])
    known, learned = known_phases(system), load_dataset("corpus")
    verdicts = first_verdicts(read, system)
    rows = judge(verdicts, known=known, training=learned, workers=workers).rows
    valid = [row for row in rows if row.strictly_valid]
    structures = [verdicts.structures[row.name] for row in valid]
    unmerged = equal_unmerged(structures, learned, workers)
    error, n_compared = volume_error(structures, known.of_whole_system(system))
    groups = [row.space_group for row in valid if row.space_group is not None]
    figures = {
        "system": str(system),
        "samples": len(rows),
        "strictly valid": len(valid) / len(rows),
        "unique of valid": sum(row.unique is True for row in valid) / len(valid),
        "new": sum(row.new is True for row in valid) / len(rows),
        "new, but for merged roles": sum(
            row.novel is True and not equal for row, equal in zip(valid, unmerged, strict=True)
        )
        / len(rows),
        "equal to a known phase": sum(bool(row.known_phase) for row in valid) / len(rows),
        "known phases found": len({row.known_phase for row in valid} - {""}),
        "equal to a re-decorated crystal": sum(bool(row.training_crystal) for row in valid) / len(rows),
        "space group above 2": sum(group > 2 for group in groups) / len(rows),
        "distinct space groups": len(set(groups)),
        "distinct formulas": len({row.formula for row in rows}),
        "median volume error, known formulas": error,
        "samples of known formulas": n_compared,
    }
    return figures, run["model"]


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("raw", __doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    figures, model = measure(options.folder, options.workers)
    record = record_head("raw", arguments, model) | figures
    write_result(options.out, record)
    print(table({str(options.folder): record}))
