"""How the optimisers that `cg-evaluate` and `cg-generate` use compare with FIRE alone, and with L-BFGS from the start.

    python -m tools.bench relaxer

relaxes the same crystals of Nb-O (PyXtal's, substitution's, and the model's raw samples) with each of them, within the
same limit of steps, and writes tools/results/relaxer.json. About 40 minutes on 2 cores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.rows import first_verdicts, pick
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.models.bundle import load_model
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.potentials import DEFAULT
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from tools.bench.arms import make_arm
from tools.bench.record import RESULTS, command_line, record_head, write_result
from tools.bench.tables import relaxer as table

SYSTEM = ChemicalSystem.parse("Nb-O")
ARMS = ("pyxtal", "substitution", "raw")
OPTIMISERS = {"L-BFGS": 1e9, "FIRE, then L-BFGS": RelaxSettings().fire_above, "FIRE alone": 0.0}
"""Name -> largest force above which FIRE descends, eV/Å; from where L-BFGS climbs FIRE goes on in either case."""


def figures(relaxations: list[Relaxation], floors: list[float]) -> dict[str, Any]:
    """What an optimiser came to; all rates are of all crystals, the median counts an end without energy as highest."""
    heights = [r.energy - floor if r.usable else math.inf for r, floor in zip(relaxations, floors, strict=True)]
    median = float(np.median(heights))
    return {
        "e_above_hull_median": median if math.isfinite(median) else None,
        "metastable": float(np.mean([height <= METASTABLE for height in heights])),
        "ended": {s: sum(r.status == s for r in relaxations) for s in sorted({r.status for r in relaxations})},
        "steps": float(np.mean([r.n_steps for r in relaxations])),
        "seconds": float(np.mean([r.seconds for r in relaxations])),
    }


def main(arguments: Sequence[str]) -> None:
    """Read the command line, relax, write."""
    parser = command_line("relaxer", __doc__)
    parser.add_argument("--model", default="nbo")
    parser.add_argument("--potential", default=DEFAULT)
    parser.add_argument("--samples", type=int, default=300, help="drawn by each arm; [300]")
    parser.add_argument("--relaxed", type=int, default=20, help="of them, picked at random; [20]")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/peers/Nb-O/relaxations"))
    parser.add_argument("--out", type=Path, default=RESULTS / "relaxer.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load_model(options.model)
    hull = reference_hull(SYSTEM, settings=replace(REFERENCE_SETTINGS, potential=options.potential))
    known = known_phases(SYSTEM).structures
    found: dict[str, Any] = {}
    with Workers(options.workers) as workers:
        for name in ARMS:
            drawn = make_arm(name, SYSTEM, model, known, 0).draw(options.samples)
            given = {f"{k:05d}": structure for k, structure in enumerate(drawn)}
            eligible = first_verdicts(load(given), SYSTEM).eligible
            structures = [given[key] for key in pick(eligible, options.relaxed, "random", 0)]
            floors = [hull.energy_at(structure.composition) for structure in structures]
            found[name] = {"crystals": len(structures)}
            for optimiser, fire_above in OPTIMISERS.items():
                settings = RelaxSettings(potential=options.potential, fire_above=fire_above, saddle_check=True)
                relaxations = relax_many(
                    structures,
                    settings,
                    workers=workers,
                    hull=hull,
                    folder=options.work,
                )
                found[name][optimiser] = figures(relaxations, floors)
                print(name, optimiser, found[name][optimiser], flush=True)
    record = record_head("relaxer", arguments, model)
    write_result(options.out, record | {"samples": options.samples, "results": found})
    print(table(found))
