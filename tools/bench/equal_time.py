"""An arm at equal CPU time: rounds of drawing and the funnel of relaxations until the time is spent."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.evaluation.rows import first_verdicts
from crystalgraph.io.atomic import write_json
from crystalgraph.io.load import load
from crystalgraph.relax.relaxation import Relaxation, structure_from_record, structure_record
from crystalgraph.screening.funnel import run_funnel
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import SINGLE_POINT
from tools.bench.ruler import Bench

ROUND = 100
"""Crystals that enter the funnel together."""


@dataclass(frozen=True, kw_only=True)
class Find:
    """A crystal that passed the funnel.

    Attributes:
        at: CPU seconds since the arm started when it was found.
        given: as drawn.
        relaxed: as relaxed.
        energy: eV/atom after relaxation.
        n_steps: of its relaxations.
    """

    at: float
    given: dict[str, Any]
    relaxed: dict[str, Any]
    energy: float
    n_steps: int

    def relaxation(self) -> Relaxation:
        """As the judge takes it."""
        structure = structure_from_record(self.relaxed)
        return Relaxation(status="converged", structure=structure, energy=self.energy, n_steps=self.n_steps)


@dataclass(frozen=True, kw_only=True)
class TimeRun:
    """One arm with one seed at equal CPU time.

    Attributes:
        finds: what passed the funnel within the time.
        judgement: on these.
        spent: CPU seconds by what they were spent on; the last round may have run over.
        counts: drawn, strictly valid and no copy of an earlier draw, relaxed.
        exhausted: whether the arm could draw no more.
    """

    finds: list[Find]
    judgement: Judgement | None
    spent: dict[str, float]
    counts: dict[str, int]
    exhausted: bool


def equal_time(bench: Bench, name: str, seed: int, seconds: float) -> TimeRun:
    """Rounds of drawing and the funnel, at least one, until the CPU time is spent."""
    started = time.process_time()
    arm, index = bench.arm(name, seed), ReferenceIndex()
    spent = {"draw": time.process_time() - started, "single points": 0.0, "relaxations": 0.0}
    counts = {"drawn": 0, "entered": 0, "relaxed": 0}
    finds: list[Find] = []
    number, exhausted = 0, False
    while number == 0 or (sum(spent.values()) < seconds and not exhausted):
        path = bench.work / "rounds" / f"{bench.key(name, seed)}-{number:04d}.json"
        clock = time.process_time()
        drawn = arm.draw(ROUND)
        exhausted = not drawn
        fresh = _fresh(drawn, index)
        draw_seconds = time.process_time() - clock
        if not path.is_file():
            write_json(path, _round(bench, fresh, len(drawn), seed + number, draw_seconds))
        record = json.loads(path.read_text())
        start = sum(spent.values())
        finds += [Find(**find | {"at": start + find["at"]}) for find in record["finds"]]
        for total, part in ((spent, record["spent"]), (counts, record["counts"])):
            for what, value in part.items():
                total[what] += value
        number += 1
        minutes = round(min(sum(spent.values()), seconds) / 60), round(seconds / 60)
        bench.progress(f"{name}, seed {seed}, CPU minutes", *minutes)
    finds = [find for find in finds if find.at <= seconds]
    judgement = None
    if finds:
        given = {f"{k:05d}": structure_from_record(find.given) for k, find in enumerate(finds)}
        relaxed = {f"{k:05d}": find.relaxation() for k, find in enumerate(finds)}
        judgement = bench.judged(first_verdicts(load(given), bench.system), relaxed)
    return TimeRun(finds=finds, judgement=judgement, spent=spent, counts=counts, exhausted=exhausted)


def _fresh(drawn: list[Structure], index: ReferenceIndex) -> list[Structure]:
    """The strictly valid ones that equal no earlier one; they join the index."""
    if not drawn:
        return []
    valid = strict_validity(from_structures(drawn)).valid.tolist()
    fresh = []
    for structure, fine in zip(drawn, valid, strict=True):
        n_before = len(index)
        if fine and index.find_or_add(structure) == n_before:
            fresh.append(structure)
    return fresh


def _round(bench: Bench, fresh: list[Structure], n_drawn: int, seed: int, draw_seconds: float) -> dict[str, Any]:
    """One round of the funnel: what it found, when, and what it cost, all in CPU seconds."""
    settings = FunnelSettings(potential=bench.potential, seed=seed)
    clock = time.process_time()
    result = run_funnel(
        fresh, {bench.potential: bench.hull}, settings, workers=bench.running, folder=bench.work / "relaxations"
    )
    here = time.process_time() - clock
    by_name = {stage.name: stage for stage in result.stages}
    # The workers do nothing else then, so wall clock is CPU time but for what a busy machine adds.
    points = by_name[SINGLE_POINT].seconds * min(bench.running.number, max(len(fresh), 1))
    before = draw_seconds + here + points
    ends = before + np.cumsum(result.seconds)
    finds = []
    for k in result.order:
        relaxed, outcome = result.structures[k], result.outcomes[k]
        assert relaxed is not None
        energy = outcome.e_above_hull + bench.hull.energy_at(relaxed.composition)
        find = Find(
            at=float(ends[k]),
            given=structure_record(fresh[k]),
            relaxed=structure_record(relaxed),
            energy=energy,
            n_steps=outcome.n_steps or 0,
        )
        finds.append(asdict(find))
    return {
        "finds": finds,
        "spent": {"draw": draw_seconds + here, "single points": points, "relaxations": sum(result.seconds)},
        "counts": {
            "drawn": n_drawn,
            "entered": len(fresh),
            "relaxed": sum(outcome.n_steps is not None for outcome in result.outcomes),
        },
    }


def time_figures(runs: Sequence[TimeRun], seconds: float) -> dict[str, Any]:
    """The figures of one or several seeds: means over seeds, and each seed's count."""
    found: dict[str, list[list[float]]] = {"sun": [], "msun": [], "msun_new": []}
    for run in runs:
        rows = run.judgement.rows if run.judgement else []
        pairs = list(zip(run.finds, rows, strict=True)) if rows else []
        found["sun"].append(sorted(find.at for find, row in pairs if row.sun))
        found["msun"].append(sorted(find.at for find, row in pairs if row.msun))
        found["msun_new"].append(sorted(find.at for find, row in pairs if row.msun and row.relaxed_new))
    figures: dict[str, Any] = {"cpu_minutes": seconds / 60}
    for what, times in found.items():
        counts = [len(at) for at in times]
        figures[what] = {"mean": float(np.mean(counts)), "per_seed": counts, "at_seconds": times}
    return figures | {
        "spent_seconds": {k: float(np.mean([run.spent[k] for run in runs])) for k in runs[0].spent},
        "counts": {k: float(np.mean([run.counts[k] for run in runs])) for k in runs[0].counts},
        "exhausted": [run.exhausted for run in runs],
        "rediscovered": sorted(
            {p.name for run in runs if run.judgement for p in run.judgement.rediscovery if p.whole_system and p.after}
        ),
    }
