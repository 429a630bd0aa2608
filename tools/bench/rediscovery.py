"""Which known phases a run found, before and after relaxation, and which of them have a template that was learned from.

    cg-generate --minutes 15 --max-atoms 24 --workers 2 --out runs/rediscovery
    python -m tools.bench rediscovery runs/rediscovery --out tools/results/rediscovery.json

Known are the phases with all elements of the system, in the shipped data; which crystal is one of them says
`crystalgraph.evaluation.judge`, of the crystals that the run kept and of those that it relaxed. *Within reach* are
those of at most as many atoms as the run drew, and at most 0.1 eV/atom above DFT's hull. *Learned from* are the very
crystals that the run's model was trained on: those of the config in its record, without the system, the held-out
systems and the held-out prototypes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import judge
from crystalgraph.evaluation.metrics import KnownPhaseFound
from crystalgraph.evaluation.rates import Rate
from crystalgraph.evaluation.rows import first_verdicts
from crystalgraph.io.columns import FORMER_NAMES
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import load
from crystalgraph.io.run_layout import CANDIDATES, RELAXED_FOLDER, RUN_RECORD, STRUCTURES_FOLDER
from crystalgraph.known.phases import known_phases
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.outcome import RELAXED
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import prepare
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import rediscovery as table

AGREED = "agreed_metastable"


def learned_from(config: Config) -> CrystalTable:
    """The crystals that a model of this config was trained on."""
    dataset = load_dataset(config.data.dataset)
    return dataset[np.isin(dataset.ids, prepare(dataset, config.data, workers=config.threads).training_ids)]


def phases_in(
    folder: Path, system: ChemicalSystem, known: CrystalTable, learned: CrystalTable | None = None, workers: int = 1
) -> list[KnownPhaseFound]:
    """The known phases of the whole system, each with the crystals of a folder that equal it; none of an empty one.

    Templates are compared with those of what was learned from, where that is given; whether a crystal is new as well
    is not looked at.
    """
    if not any(folder.iterdir()):
        return []
    read = load(folder)
    if not len(read):
        raise InputError(f"nothing in {folder} can be read; give a folder that cg-generate --relax left")
    judgement = judge(first_verdicts(read, system), known=known, training=learned, workers=workers)
    return [phase for phase in judgement.rediscovery if phase.whole_system]


def measure(folder: Path, workers: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run found and what it cost, and the model that its record names.

    Raises:
        InputError: if it is not a run with relaxation.
    """
    if not (folder / RELAXED_FOLDER).is_dir():
        raise InputError(f"{folder} holds no {RELAXED_FOLDER}; give a folder that cg-generate --relax left")
    run = json.loads((folder / RUN_RECORD).read_text())
    system = ChemicalSystem.parse(run["request"]["system"])
    known = known_phases(system).of_whole_system(system)
    atoms = known.crystals.num_atoms.tolist()
    learned = learned_from(Config.model_validate(run["model"]["record"]["config"]))
    after = {phase.name: phase.before for phase in phases_in(folder / RELAXED_FOLDER, system, known, workers=workers)}
    phases = [
        {
            "id": phase.name,
            "formula": phase.formula,
            "space_group_number": phase.space_group,
            "origin": phase.origin,
            "atoms": atoms[known.ids.index(phase.name)],
            "dft_e_above_hull": known.number("dft_e_above_hull", known.ids.index(phase.name)),
            "template": phase.template,
            "template_seen": phase.template_seen,
            "kept": _stems(phase.before),
            "relaxed": _stems(after.get(phase.name, [])),
        }
        for phase in phases_in(folder / STRUCTURES_FOLDER, system, known, learned, workers)
    ]
    reach = [
        phase
        for phase in phases
        if phase["atoms"] <= run["request"]["max_atoms"]
        and phase["dft_e_above_hull"] is not None
        and phase["dft_e_above_hull"] <= METASTABLE
    ]
    rows = pd.read_csv(folder / CANDIDATES).rename(columns=FORMER_NAMES)
    relaxed = rows[rows["funnel_status"] == RELAXED]
    n_found = sum(bool(phase["relaxed"]) for phase in reach)
    figures = {
        "system": str(system),
        "seed": run["request"]["seed"],
        "counts": run["counts"],
        "with_energy": int((rows["funnel_status"].fillna("") != "").sum()),
        "passed the funnel": len(relaxed),
        "of them metastable": int((relaxed["e_above_hull"] <= METASTABLE).sum()),
        "of them agreed": int((relaxed[AGREED] == "yes").sum()) if AGREED in relaxed else None,
        "wall_minutes": run["seconds"]["total"] / 60,
        "max_atoms": run["request"]["max_atoms"],
        "known": len(known),
        "within_reach": {
            "known": [phase["id"] for phase in reach],
            "missed": [phase["id"] for phase in reach if not phase["relaxed"]],
            "found": Rate(numerator=n_found, denominator=len(reach)).record() if reach else None,
        },
        "found": sum(bool(phase["kept"] or phase["relaxed"]) for phase in phases),
        "found_relaxed": sum(bool(phase["relaxed"]) for phase in phases),
        "phases": phases,
    }
    return figures, run["model"]


def _stems(names: Sequence[str]) -> list[str]:
    return sorted(Path(name).stem for name in names)


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("rediscovery", __doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures, model = measure(options.folder, options.workers)
    record = record_head("rediscovery", arguments, model) | figures
    write_result(options.out, record)
    reach = record["within_reach"]
    print(f"{record['found']} of {record['known']} found, {record['found_relaxed']} of them among the relaxed")
    print(f"{len(reach['known']) - len(reach['missed'])} of {len(reach['known'])} within reach are among the relaxed")
    print(table(record["phases"]))
