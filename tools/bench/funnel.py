"""What the funnel's rules lose and save, measured on crystals that are all relaxed to the end.

    python -m tools.bench funnel --system Nb-O --num 300 --workers 2 --out tools/results/funnel.json

Screened samples are relaxed without giving any up, and the energy of every step is kept. Then the rules of
`crystalgraph.screening.funnel_settings` are applied on paper: how many of the crystals that end at most 0.1 eV/atom
above the hull would the choice by single points and the abort thresholds have lost, and which share of the energy
evaluations would they have saved? The rules were chosen on other crystals, so that these figures are fair. Finished
relaxations are kept under ``--work``; the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.rates import Rate
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.hull import METASTABLE, Hull
from crystalgraph.relax.potentials import DEFAULT, potential_identity
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key
from crystalgraph.screening.choice import Expectation, choose
from crystalgraph.screening.funnel_settings import ABORT
from tools.bench.arms import make_arm
from tools.bench.record import command_line, record_head, write_result
from tools.bench.trajectories import follow

SCALES = (0.5, 0.75, 1.0, 1.5, 2.0)
"""The abort thresholds are also tried with these factors."""

CHOSEN_SHARE = 0.4
"""Of the crystals, chosen for relaxation."""

RANDOM_CHOICES = 20
"""Seeds over which the random part of the choice is averaged."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A relaxation step by step.

    Attributes:
        formula: reduced.
        e_hull: energy above the hull before the first step and after each, eV/atom.
        status: how it ended.
    """

    formula: str
    e_hull: list[float]
    status: str

    @property
    def is_metastable(self) -> bool:
        """Whether it ended at most 0.1 eV/atom above the hull."""
        return self.status in {"converged", "step limit"} and self.e_hull[-1] <= METASTABLE

    def steps_until_abort(self, rules: Sequence[tuple[int, float]]) -> int | None:
        """The first step at which a rule gives it up; None if none does."""
        return next((s for s, limit in sorted(rules) if s < len(self.e_hull) and self.e_hull[s] > limit), None)


def figures(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """What the rules lose and save, each alone and together."""
    started = [t for t in trajectories if t.e_hull]
    good = {k for k, t in enumerate(started) if t.is_metastable}
    if not good:
        return {"relaxed": len(started), "metastable": 0}
    steps = np.array([len(t.e_hull) for t in started])
    found: dict[str, Any] = {
        "relaxed": len(started),
        "metastable": len(good),
        "evaluations": int(steps.sum()),
        "abort": {},
    }
    for scale in SCALES:
        rules = [(step, scale * limit) for step, limit in ABORT]
        kept, used = _after_abort(started, range(len(started)), rules)
        found["abort"][f"{scale:g}"] = {
            "kept": Rate(numerator=len(good & kept), denominator=len(good)).record(),
            "evaluations_saved": float(1 - used / steps.sum()),
        }
    first, formulas = [t.e_hull[0] for t in started], [t.formula for t in started]
    shares: dict[str, list[float]] = {"relaxed": [], "kept": [], "kept_after_abort": [], "evaluations": []}
    for seed in range(RANDOM_CHOICES):
        chosen = choose(
            first,
            formulas,
            round(CHOSEN_SHARE * len(started)),
            expectation=Expectation(),
            lowest={},
            rng=np.random.default_rng(seed),
        )
        kept, used = _after_abort(started, chosen, ABORT)
        shares["relaxed"].append(len(chosen) / len(started))
        shares["kept"].append(len(good & set(chosen)) / len(good))
        shares["kept_after_abort"].append(len(good & kept) / len(good))
        shares["evaluations"].append((len(started) + used) / steps.sum())  # one single point each
    mean = {name: float(np.mean(values)) for name, values in shares.items()}
    gain = {"metastable_per_evaluation": mean["kept_after_abort"] / mean["evaluations"]}
    return found | {"choice": mean, "funnel_over_relaxing_everything": gain}


def _after_abort(
    trajectories: Sequence[Trajectory], chosen: Sequence[int], rules: Sequence[tuple[int, float]]
) -> tuple[set[int], int]:
    """Those that no rule gives up, and the evaluations until then."""
    kept, used = set(), 0
    for k in chosen:
        given_up = trajectories[k].steps_until_abort(rules)
        used += len(trajectories[k].e_hull) if given_up is None else given_up + 1
        if given_up is None:
            kept.add(k)
    return kept, used


def measure(options: argparse.Namespace, model: Model, hull: Hull, system: ChemicalSystem) -> dict[str, Any]:
    """Draw, relax everything, apply the rules."""
    structures = make_arm("screened", system, model, [], options.seed).draw(options.num)
    settings = RelaxSettings(potential=options.potential, max_steps=300, max_seconds=600.0)
    work = (options.work or Path("runs") / "funnel" / system.key).absolute()  # workers have a folder of their own
    jobs = [(s, settings, work / f"{relaxation_key(s, settings)}.json") for s in structures]
    with Workers(options.workers) as workers:
        records = list(workers.map(follow, jobs))
    trajectories = [
        Trajectory(
            formula=structure.composition.reduced_formula,
            e_hull=[hull.e_above_hull(structure.composition, energy) for energy in record["energies"]],
            status=record["status"],
        )
        for structure, record in zip(structures, records, strict=True)
    ]
    return {
        "system": str(system),
        "seed": options.seed,
        "calculator": potential_identity(options.potential),
        "rules": [list(rule) for rule in ABORT],
        "seconds_per_relaxation": float(np.mean([record["seconds"] for record in records])),
        **figures(trajectories),
    }


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("funnel", __doc__)
    parser.add_argument("--system", default="Nb-O")
    parser.add_argument("--model", default="nbo", help="name or folder")
    parser.add_argument("--num", type=int, default=300, help="screened samples, all of which are relaxed")
    parser.add_argument("--seed", type=int, default=100, help="not one of the benchmark's")
    parser.add_argument("--potential", default=DEFAULT)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder of finished relaxations [runs/funnel/SYSTEM]")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    system = ChemicalSystem.parse(options.system)
    settings = replace(REFERENCE_SETTINGS, potential=options.potential)
    hull = reference_hull(system, settings=settings, workers=options.workers)
    model = load_model(options.model)
    record = record_head("funnel", arguments, model) | measure(options, model, hull, system)
    write_result(options.out, record)
    print(json.dumps(record, indent=1))
