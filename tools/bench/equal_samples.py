"""An arm at equal samples: draw, relax a random part of what is strictly valid, judge."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from pymatgen.core import Structure

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.evaluation.rates import Absent, BudgetRate, Rate
from crystalgraph.evaluation.rows import Row, Verdicts, first_verdicts, pick
from crystalgraph.io.atomic import write_json
from crystalgraph.io.load import load
from crystalgraph.progress import relabelled
from crystalgraph.relax.hull import METASTABLE, Hull
from crystalgraph.relax.many import relax_many, single_points
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, structure_from_record, structure_record
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.rank import rank_by_formula
from tools.bench.arms import CHOSEN
from tools.bench.ranking import ranking_figures
from tools.bench.ruler import Bench


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What an arm drew.

    Attributes:
        structures: in draw order.
        setup_seconds: CPU seconds until it could draw.
        seconds: CPU seconds of the drawing, those of the workers included.
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
    started = cpu_seconds()
    arm = bench.arm(name, seed)
    ready = cpu_seconds()
    structures = arm.draw(n)
    found = Drawn(
        structures=structures,
        setup_seconds=ready - started,
        seconds=cpu_seconds() - ready,
        remarks=arm.remarks(),
    )
    write_json(path, vars(found) | {"structures": [structure_record(s) for s in structures]})
    return found


def cpu_seconds() -> float:
    """CPU seconds of this process and of its workers so far."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(used.user + used.system for used in times)


AGREED = "agreed"
"""By all potentials; copies are looked for among the crystals as the one that ranks relaxed them."""


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Names of crystals.

    Attributes:
        sun: stable, unique, novel.
        msun: metastable, unique, novel.
        msun_new: of them, those that match no crystal of the corpus with the system's elements put in.
    """

    sun: frozenset[str] = frozenset()
    msun: frozenset[str] = frozenset()
    msun_new: frozenset[str] = frozenset()

    @classmethod
    def of(cls, judgement: Judgement) -> Hits:
        """Those of a judgement."""
        rows = judgement.rows
        return cls(
            sun=frozenset(row.name for row in rows if row.sun),
            msun=frozenset(row.name for row in rows if row.msun),
            msun_new=frozenset(row.name for row in rows if row.msun and row.relaxed_new),
        )


@dataclass(frozen=True, kw_only=True)
class SampleRun:
    """One arm with one seed at equal samples.

    Attributes:
        rows: verdicts on all samples.
        relaxed: how each of the picked ones ended.
        judgement: its metrics, for the record, by the potential that relaxed.
        hits: potential, or `AGREED` -> the names of its SUN, MSUN and new MSUN crystals.
        drawn: the samples and their cost.
        orders: what could rank the relaxed ones beforehand -> its number for each, higher is better.
        above: each potential -> eV/atom above its hull of each of the relaxed ones, as the first potential left it.
    """

    rows: list[Row]
    relaxed: dict[str, Relaxation]
    judgement: Judgement
    hits: dict[str, Hits]
    drawn: Drawn
    orders: dict[str, list[float]]
    above: dict[str, list[float]]


def equal_samples(bench: Bench, name: str, seed: int, n_samples: int, n_relaxed: int) -> SampleRun:
    """Draw, relax a random part of what is strictly valid, judge; of an arm that chooses what is relaxed, all of it."""
    drawn = draw(bench, name, seed, n_relaxed if name in CHOSEN else n_samples)
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
    hits = {bench.potential: Hits.of(judgement)} | confirmed(bench, verdicts, relaxed)
    return SampleRun(
        rows=judgement.rows,
        relaxed=relaxed,
        judgement=judgement,
        hits=hits,
        drawn=drawn,
        orders=orders,
        above=heights(bench, found),
    )


def confirmed(bench: Bench, verdicts: Verdicts, relaxed: dict[str, Relaxation]) -> dict[str, Hits]:
    """What the other potentials say, and all together, of what may be metastable by the first one."""
    first, *others = bench.hulls
    if not others:
        return {}
    settings = FunnelSettings(potential=first, confirm=tuple(others))
    near = [k for k, found in relaxed.items() if _above(bench, found, first) <= settings.finalists_below]
    by_potential = {first: {k: relaxed[k] for k in near}}
    for potential in others:
        found = relax_many(
            [structure for k in near if (structure := relaxed[k].structure) is not None],
            settings.confirmation(potential),
            workers=bench.running,
            hull=bench.hulls[potential],
            folder=bench.work / "relaxations",
            progress=relabelled(bench.progress, f"confirmation, {potential}"),
        )
        by_potential[potential] = dict(zip(near, found, strict=True))
    ranked = by_potential[others[0]]
    agreed = {
        k: ranked[k]
        for k in near
        if all(_above(bench, by_potential[potential][k], potential) <= METASTABLE for potential in bench.hulls)
    }

    def hits(relaxations: dict[str, Relaxation], potential: str) -> Hits:
        return Hits.of(bench.judged(verdicts, relaxations, potential)) if relaxations else Hits()

    return {potential: hits(by_potential[potential], potential) for potential in others} | {
        AGREED: hits(agreed, others[0])
    }


def _above(bench: Bench, relaxation: Relaxation, potential: str) -> float:
    """eV/atom above the hull of a potential; infinite where there is no energy."""
    if not relaxation.usable or relaxation.structure is None:
        return math.inf
    return bench.hulls[potential].e_above_hull(relaxation.structure.composition, relaxation.enthalpy)


def heights(bench: Bench, relaxations: list[Relaxation]) -> dict[str, list[float]]:
    """eV/atom above each potential's hull: relaxed by the first, single points there by the others."""
    first, *others = bench.hulls
    ended = {k: found.structure for k, found in enumerate(relaxations) if found.usable and found.structure is not None}
    above = {first: [_above(bench, found, first) for found in relaxations]}
    for potential in others:
        points = above_hull(bench, list(ended.values()), potential, bench.hulls[potential])
        by_place = dict(zip(ended, points, strict=True))
        above[potential] = [by_place.get(k, math.inf) for k in range(len(relaxations))]
    return above


def above_hull(bench: Bench, structures: list[Structure], potential: str, hull: Hull) -> list[float]:
    """eV/atom of crystals as they are above the hull of a potential; NaN where it has no answer."""
    energies = single_points(structures, potential, workers=bench.running, progress=bench.progress)
    return [
        energy - hull.energy_at(structure.composition) for structure, energy in zip(structures, energies, strict=True)
    ]


def rankings(bench: Bench, given: list[Structure], relaxations: list[Relaxation]) -> dict[str, list[float]]:
    """What orders crystals as drawn, higher is better.

    The discriminator's score, the rank that it gives as in ``cg-generate``, from 1 down to 0, and single points below
    the hull: of the potential that relaxes, and of the teachers, by name.
    """
    if not given:
        return {order: [] for order in ("discriminator", "rank", "single point", *bench.teachers)}
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
    return {"discriminator": scores, "rank": ranks, "single point": points} | {
        teacher: [-above for above in above_hull(bench, given, teacher, hull)]
        for teacher, hull in bench.teachers.items()
    }


def _rates(hits: Sequence[Hits], n_relaxed: int, strict: Rate) -> dict[str, Any]:
    """Of what was relaxed, and of all samples."""
    rates: dict[str, Any] = {}
    for what in ("sun", "msun", "msun_new"):
        if n_relaxed:
            found = Rate(numerator=sum(len(getattr(own, what)) for own in hits), denominator=n_relaxed)
            rates[f"{what}_of_relaxed"] = found.record()
            rates[f"{what}_of_budget"] = BudgetRate(of_sample=found, eligible=strict).record()
        else:
            absent = Absent("no sample could be relaxed").record()
            rates[f"{what}_of_relaxed"] = rates[f"{what}_of_budget"] = absent
    return rates


def sample_figures(runs: Sequence[SampleRun]) -> dict[str, Any]:
    """The figures of one or several seeds together; copies are looked for inside each seed."""
    rows = [row for run in runs for row in run.rows]
    relaxed = [row for run in runs for row in run.rows if row.name in run.relaxed]
    relaxations = [relaxation for run in runs for relaxation in run.relaxed.values()]
    rows_of = [{row.name: row for row in run.rows} for run in runs]
    picked = [(by_name, k) for run, by_name in zip(runs, rows_of, strict=True) for k in run.relaxed]
    strict = Rate(numerator=sum(row.strictly_valid for row in rows), denominator=len(rows))
    figures: dict[str, Any] = {"samples": len(rows), "relaxed": len(relaxed), "strict": strict.record()}
    figures["by_judge"] = {
        judge: _rates([run.hits[judge] for run in runs], len(relaxed), strict) for judge in runs[0].hits
    }
    figures |= next(iter(figures["by_judge"].values()))
    distances = [row.rmsd for row in relaxed if row.rmsd is not None]
    energies = [row.e_above_hull for row in relaxed if np.isfinite(row.e_above_hull)]
    first, *others = runs[0].above
    rankings_by = {
        potential: {
            order: ranking_figures(
                [number for run in runs for number in run.orders[order]],
                [above for run in runs for above in run.above[potential]],
                [by_name[k].formula for by_name, k in picked],
            )
            for order in runs[0].orders
        }
        for potential in (first, *others)
    }
    return figures | {
        "rmsd": float(np.mean(distances)) if distances else None,
        "rmsd_matched": Rate(numerator=len(distances), denominator=len(relaxed)).record() if relaxed else None,
        "e_above_hull_median": float(np.median(energies)) if energies else None,
        "ended": {s: sum(r.status == s for r in relaxations) for s in sorted({r.status for r in relaxations})},
        "seconds_per_100_drawn": 100 * sum(run.drawn.seconds for run in runs) / len(rows),
        "setup_seconds": float(np.mean([run.drawn.setup_seconds for run in runs])),
        "seconds_per_relaxation": float(np.mean([r.seconds for r in relaxations])) if relaxations else None,
        "steps_per_relaxation": float(np.mean([r.n_steps for r in relaxations])) if relaxations else None,
        "ranking": rankings_by[first],
        "ranking_by": {potential: rankings_by[potential] for potential in others},
    }
