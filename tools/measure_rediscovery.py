"""Which known phases a run found, before and after relaxation, and which of them have a template that was learned from.

    cg-generate -n 1000 --relax 300 --workers 2 --out runs/rediscovery
    python tools/measure_rediscovery.py runs/rediscovery --out tools/results/rediscovery.json

Known are the phases with all elements of the system, in the shipped data; a crystal is one of them where
`crystalgraph.crystals.matching` says so. *Learned from* are the very crystals that the run's model was trained on:
those of the config in its record, without the system, the held-out systems and the held-out prototypes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from crystalgraph.known.reference import Reference, default_reference, load_reference, templates_seen

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import match_all
from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_json
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.reading import read_structures
from crystalgraph.io.run_layout import RELAXED_FOLDER
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.funnel import RELAXED
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import prepare


def learned_from(config: Config) -> Reference:
    """The crystals that a model of this config was trained on."""
    corpus = prepare(load_dataset(config.data.dataset), config.data, n_jobs=config.threads)
    reference = load_reference(config.data.dataset)
    return reference[np.isin(reference.ids, corpus.training_ids)]


def hits(folder: Path, known: Reference) -> list[list[str]]:
    """For each known phase the files of a folder that are equal to it, in the order of their names."""
    found: list[list[str]] = [[] for _ in range(len(known))]
    if not any(folder.iterdir()):
        return found
    read = read_structures(folder)
    if read.crystals is None:
        raise InputError(f"nothing in {folder} can be read; give a folder that cg-generate --relax left")
    for name, phases in zip(
        read.names, match_all(to_structures(read.crystals), known.structures, n_jobs=2), strict=True
    ):
        for phase in phases:
            found[phase].append(Path(name).stem)
    return [sorted(names) for names in found]


def measure(folder: Path) -> dict[str, Any]:
    """What the run found and what it cost.

    Raises:
        InputError: if it is not a run with relaxation.
    """
    if not (folder / RELAXED_FOLDER).is_dir():
        raise InputError(f"{folder} holds no {RELAXED_FOLDER}; give a folder that cg-generate --relax left")
    record = json.loads((folder / "run.json").read_text())
    system = ChemicalSystem.parse(record["request"]["system"])
    known = default_reference(system).of_whole_system(system)
    config = Config.model_validate(record["model"]["record"]["config"])
    templates = templates_seen(known, learned_from(config), n_jobs=config.threads)
    drawn, relaxed = hits(folder / "structures", known), hits(folder / RELAXED_FOLDER, known)
    formulas = [structure.composition.reduced_formula for structure in known.structures]
    groups = space_groups(known.structures)
    phases = [
        {
            "id": known.ids[k],
            "formula": formulas[k],
            "space_group_number": groups[k],
            "origin": known.origin[k],
            "template": templates[k][0],
            "template_seen": templates[k][1],
            "kept": drawn[k],
            "relaxed": relaxed[k],
        }
        for k in range(len(known))
    ]
    table = pd.read_csv(folder / "candidates.csv")
    e_above_hull = table.loc[table["relax_fate"] == RELAXED, "e_above_hull"]
    return {
        "system": str(system),
        "seed": record["request"]["seed"],
        "model": {"name": record["model"]["name"], "sha256": record["model"]["sha256"]},
        "versions": record["versions"],
        "counts": record["counts"],
        "passed the funnel": len(e_above_hull),
        "of them metastable": int((e_above_hull <= METASTABLE).sum()),
        "wall_minutes": record["seconds"]["total"] / 60,
        "known": len(known),
        "found": sum(bool(phase["kept"] or phase["relaxed"]) for phase in phases),
        "found_relaxed": sum(bool(phase["relaxed"]) for phase in phases),
        "phases": phases,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = measure(options.folder)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    print(f"{found['found']} of {found['known']} found, {found['found_relaxed']} of them among the relaxed")
    for phase in found["phases"]:
        if phase["kept"] or phase["relaxed"]:
            seen = {True: "template learned from", False: "template unseen", None: ""}[phase["template_seen"]]
            where = f"kept {len(phase['kept'])}, relaxed {', '.join(phase['relaxed'][:3]) or '-'}"
            print(f"{phase['id']:24s} {phase['formula']:8s} {phase['space_group_number']:4d}  {seen:22s} {where}")


if __name__ == "__main__":
    main()
