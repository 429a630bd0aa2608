"""An arm at equal samples: draw, relax a random part of what is strictly valid, judge."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pymatgen.core import Structure

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.evaluation.rates import Absent, BudgetRate, Rate
from crystalgraph.evaluation.rows import Row, first_verdicts, pick
from crystalgraph.io.atomic import write_json
from crystalgraph.io.load import load
from crystalgraph.progress import relabelled
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, structure_from_record, structure_record
from crystalgraph.screening.rank import rank_by_formula
from tools.bench.ranking import ranking_figures
from tools.bench.ruler import Bench


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What an arm drew.

    Attributes:
        structures: in draw order.
        setup_seconds: CPU seconds until it could draw.
        seconds: CPU seconds of the drawing.
        remarks: what the arm has to say about its draws.
    """

    structures: list[Structure]
    setup_seconds: float
    seconds: float
    remarks: dict[str, int]


def draw(bench: Bench, name: str, seed: int, n: int) -> Drawn:
    """The first n crystals of an arm, drawn or read from an earlier run."""
    path = bench.work / "draws" / f"{bench.key(name, seed)}-n{n}.json"
    if path.is_file():
        content = json.loads(path.read_text())
        return Drawn(structures=[structure_from_record(s) for s in content.pop("structures")], **content)
    started = time.process_time()
    arm = bench.arm(name, seed)
    ready = time.process_time()
    structures = arm.draw(n)
    found = Drawn(
        structures=structures,
        setup_seconds=ready - started,
        seconds=time.process_time() - ready,
        remarks=arm.remarks(),
    )
    write_json(path, vars(found) | {"structures": [structure_record(s) for s in structures]})
    return found


@dataclass(frozen=True, kw_only=True)
class SampleRun:
    """One arm with one seed at equal samples.

    Attributes:
        rows: verdicts on all samples.
        relaxed: how each of the picked ones ended.
        judgement: its metrics, for the record.
        drawn: the samples and their cost.
        orders: what could rank the relaxed ones beforehand -> its number for each, higher is better.
    """

    rows: list[Row]
    relaxed: dict[str, Relaxation]
    judgement: Judgement
    drawn: Drawn
    orders: dict[str, list[float]]


def equal_samples(bench: Bench, name: str, seed: int, n_samples: int, n_relaxed: int) -> SampleRun:
    """Draw, relax a random part of what is strictly valid, judge."""
    drawn = draw(bench, name, seed, n_samples)
    if not drawn.structures:
        raise InputError(f"{name} drew no crystal of {bench.system}; leave it out with --arms")
    given = {f"{k:05d}": structure for k, structure in enumerate(drawn.structures)}
    verdicts = first_verdicts(load(given), bench.system)
    picked = pick(verdicts.eligible, n_relaxed, "random", seed)
    settings = RelaxSettings(potential=bench.potential, saddle_check=True)
    found = relax_many(
        [given[k] for k in picked],
        settings,
        workers=bench.running,
        hull=bench.hull,
        folder=bench.work / "relaxations",
        progress=relabelled(bench.progress, f"{name}, seed {seed}"),
    )
    relaxed = dict(zip(picked, found, strict=True))
    judgement = bench.judged(verdicts, relaxed)
    orders = rankings(bench, [given[k] for k in picked], found)
    return SampleRun(rows=judgement.rows, relaxed=relaxed, judgement=judgement, drawn=drawn, orders=orders)


def rankings(bench: Bench, given: list[Structure], relaxations: list[Relaxation]) -> dict[str, list[float]]:
    """What orders crystals as drawn, higher is better.

    The discriminator's score, the rank that it gives as in ``cg-generate``, from 1 down to 0, and single points below
    the hull.
    """
    if not given:
        return {"discriminator": [], "rank": [], "single point": []}
    scores = bench.model.score(from_structures(given), torch.tensor(space_groups(given)).clamp_min(1)).tolist()
    best_first = rank_by_formula(
        scores, [str(Formula.from_atomic_numbers(structure.atomic_numbers)) for structure in given]
    )
    place = {k: number for number, k in enumerate(best_first)}
    points = [
        bench.hull.energy_at(structure.composition) - relaxation.initial_energy
        for structure, relaxation in zip(given, relaxations, strict=True)
    ]
    ranks = [1 - place[k] / len(given) for k in range(len(given))]
    return {"discriminator": scores, "rank": ranks, "single point": points}


def sample_figures(runs: Sequence[SampleRun]) -> dict[str, Any]:
    """The figures of one or several seeds together; copies are looked for inside each seed."""
    rows = [row for run in runs for row in run.rows]
    relaxed = [row for run in runs for row in run.rows if row.name in run.relaxed]
    relaxations = [relaxation for run in runs for relaxation in run.relaxed.values()]
    rows_of = [{row.name: row for row in run.rows} for run in runs]
    picked = [(by_name, k) for run, by_name in zip(runs, rows_of, strict=True) for k in run.relaxed]
    strict = Rate(numerator=sum(row.strictly_valid for row in rows), denominator=len(rows))
    figures: dict[str, Any] = {"samples": len(rows), "relaxed": len(relaxed), "strict": strict.record()}
    hits = {
        "sun": [row.sun is True for row in relaxed],
        "msun": [row.msun is True for row in relaxed],
        "msun_new": [row.msun is True and row.relaxed_new is True for row in relaxed],
    }
    for what, flags in hits.items():
        if relaxed:
            found = Rate(numerator=sum(flags), denominator=len(relaxed))
            figures[f"{what}_of_relaxed"] = found.record()
            figures[f"{what}_of_budget"] = BudgetRate(of_sample=found, eligible=strict).record()
        else:
            absent = Absent("no sample could be relaxed").record()
            figures[f"{what}_of_relaxed"] = figures[f"{what}_of_budget"] = absent
    distances = [row.rmsd for row in relaxed if row.rmsd is not None]
    energies = [row.e_above_hull for row in relaxed if np.isfinite(row.e_above_hull)]
    return figures | {
        "rmsd": float(np.mean(distances)) if distances else None,
        "rmsd_matched": Rate(numerator=len(distances), denominator=len(relaxed)).record() if relaxed else None,
        "e_above_hull_median": float(np.median(energies)) if energies else None,
        "ended": {s: sum(r.status == s for r in relaxations) for s in sorted({r.status for r in relaxations})},
        "seconds_per_100_drawn": 100 * sum(run.drawn.seconds for run in runs) / len(rows),
        "setup_seconds": float(np.mean([run.drawn.setup_seconds for run in runs])),
        "seconds_per_relaxation": float(np.mean([r.seconds for r in relaxations])) if relaxations else None,
        "steps_per_relaxation": float(np.mean([r.n_steps for r in relaxations])) if relaxations else None,
        "ranking": {
            what: ranking_figures(
                [number for run in runs for number in run.orders[what]],
                [by_name[k].e_above_hull for by_name, k in picked],
                [by_name[k].formula for by_name, k in picked],
            )
            for what in runs[0].orders
        },
    }
