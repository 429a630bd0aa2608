"""An arm at equal CPU time: rounds of drawing and the funnel of relaxations until the time is spent.

*Search* is what ``cg-generate --minutes`` hands over, all its cost charged. What any arm found is then judged by all
potentials, which is charged to none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.evaluation.rows import first_verdicts
from crystalgraph.io.atomic import write_json
from crystalgraph.io.load import load
from crystalgraph.progress import relabelled
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, structure_from_record, structure_record
from crystalgraph.runs.generate import generate
from crystalgraph.screening.funnel import run_funnel
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import SINGLE_POINT
from crystalgraph.screening.request import GenerationRequest
from tools.bench.arms import EVOLUTION, MAX_ATOMS, SEARCH
from tools.bench.equal_samples import Hits, confirmed, cpu_seconds
from tools.bench.ruler import Bench

ROUND = 100
"""Crystals that enter the funnel together."""

ROUNDS_SHARE = 0.6
"""Of the time of a search, spent on its rounds; the rest is left for its finalists."""


@dataclass(frozen=True, kw_only=True)
class Find:
    """A crystal that passed the funnel.

    Attributes:
        at: CPU seconds since the arm started when it was found; of a search, when that had ended.
        given: as drawn; of an evolutionary search, which may start from what is not valid, as relaxed.
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
        hits: potential, or `tools.bench.equal_samples.AGREED` -> what it calls SUN, MSUN and new MSUN, by place.
        rediscovered: known phases of the whole system among the finds.
        spent: CPU seconds by what they were spent on; the last round may have run over.
        counts: drawn, strictly valid and no copy of an earlier draw, relaxed.
        exhausted: whether the arm could draw no more.
    """

    finds: list[Find]
    hits: dict[str, Hits]
    rediscovered: list[str]
    spent: dict[str, float]
    counts: dict[str, int]
    exhausted: bool


def equal_time(bench: Bench, name: str, seed: int, seconds: float) -> TimeRun:
    """What an arm finds in so many CPU seconds, and what each potential says of it."""
    if name == SEARCH:
        finds, spent, counts, exhausted = _search(bench, seed, seconds)
    else:
        race = _generations(bench, seed, seconds) if name == EVOLUTION else _rounds(bench, name, seed, seconds)
        finds, spent, counts, exhausted = race
        finds = [find for find in finds if find.at <= seconds]
    hits: dict[str, Hits] = {}
    rediscovered: list[str] = []
    given = {f"{k:05d}": structure_from_record(find.given) for k, find in enumerate(finds)}
    verdicts = first_verdicts(load(given), bench.system) if given else None
    if verdicts is not None and verdicts.eligible:
        relaxed = {name: finds[int(name)].relaxation() for name in verdicts.eligible}
        judgement = bench.judged(verdicts, relaxed)
        hits = {bench.potential: Hits.of(judgement)} | confirmed(bench, verdicts, relaxed)
        rediscovered = [phase.name for phase in judgement.rediscovery if phase.whole_system and phase.after]
    return TimeRun(finds=finds, hits=hits, rediscovered=rediscovered, spent=spent, counts=counts, exhausted=exhausted)


Race = tuple[list[Find], dict[str, float], dict[str, int], bool]
"""Finds, what was spent, counts, and whether nothing more could be drawn."""


def _search(bench: Bench, seed: int, seconds: float) -> Race:
    """A run of ours with energies; its crystals are relaxed on by the first potential, to be judged as others are."""
    path = bench.work / "searches" / f"{bench.key(SEARCH, seed)}-{seconds:g}s.json"
    if not path.is_file():
        began = cpu_seconds()
        result = generate(
            GenerationRequest(system=bench.system, num=100, max_atoms=MAX_ATOMS, seed=seed),
            model=bench.model,
            minutes=ROUNDS_SHARE * seconds / 60 / bench.running.number,
            potential=bench.potential,
            confirm=[potential for potential in bench.hulls if potential != bench.potential],
            workers=bench.running,
        )
        spent, structures = cpu_seconds() - began, result.relaxed
        outcomes = result.outcomes or {}
        write_json(
            path,
            {
                "given": [structure_record(s) for s in result.structures[: len(structures)]],
                "relaxed": [structure_record(s) for s in structures],
                "spent": {"search": spent},
                "counts": {
                    "drawn": len(result.samples),
                    "entered": len(outcomes),
                    "relaxed": sum(outcome.n_steps is not None for outcome in outcomes.values()),
                },
            },
        )
    record = json.loads(path.read_text())
    relaxations = relax_many(
        [structure_from_record(s) for s in record["relaxed"]],
        RelaxSettings(potential=bench.potential, saddle_check=True),
        workers=bench.running,
        hull=bench.hull,
        folder=bench.work / "relaxations",
        progress=relabelled(bench.progress, f"{SEARCH}, seed {seed}"),
    )
    finds = [
        Find(
            at=record["spent"]["search"],
            given=given,
            relaxed=structure_record(relaxation.structure),
            energy=relaxation.energy,
            n_steps=relaxation.n_steps,
        )
        for given, relaxation in zip(record["given"], relaxations, strict=True)
        if relaxation.usable and relaxation.structure is not None
    ]
    return finds, record["spent"], record["counts"], False


def _rounds(bench: Bench, name: str, seed: int, seconds: float) -> Race:
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
    return finds, spent, counts, exhausted


def _generations(bench: Bench, seed: int, seconds: float) -> Race:
    """Generations of an evolutionary search, at least one, until the CPU time is spent; all of each is relaxed."""
    from tools.bench.evolution import Evolution

    clock = time.process_time()
    search = Evolution(bench.system, seed)
    spent = {"draw": time.process_time() - clock, "relaxations": 0.0}
    counts = {"drawn": 0, "entered": 0, "relaxed": 0}
    finds: list[Find] = []
    number = 0
    while number == 0 or sum(spent.values()) < seconds:
        path = bench.work / "rounds" / f"{bench.key(EVOLUTION, seed)}-{number:04d}.json"
        clock = time.process_time()
        born = search.next_generation()
        draw_seconds = time.process_time() - clock
        if not path.is_file():
            relaxations = relax_many(
                born,
                replace(FunnelSettings(potential=bench.potential).relaxation, hold_symmetry=False),
                workers=bench.running,
                hull=bench.hull,
                folder=bench.work / "relaxations",
                progress=relabelled(bench.progress, f"{EVOLUTION}, seed {seed}, generation {number}"),
            )
            write_json(path, {"draw": draw_seconds, "relaxations": [found.to_dict() for found in relaxations]})
        record = json.loads(path.read_text())
        relaxations = [Relaxation.from_dict(found) for found in record["relaxations"]]
        spent["draw"] += record["draw"]
        above: list[float] = []
        for found in relaxations:
            spent["relaxations"] += found.seconds
            above.append(math.inf)
            if found.usable and found.structure is not None:
                above[-1] = bench.hull.e_above_hull(found.structure.composition, found.energy)
                finds.append(
                    Find(
                        at=sum(spent.values()),
                        given=structure_record(found.structure),
                        relaxed=structure_record(found.structure),
                        energy=found.energy,
                        n_steps=found.n_steps,
                    )
                )
        search.tell([found.structure for found in relaxations], above)
        for what in counts:
            counts[what] += len(born)
        number += 1
        minutes = round(min(sum(spent.values()), seconds) / 60), round(seconds / 60)
        bench.progress(f"{EVOLUTION}, seed {seed}, CPU minutes", *minutes)
    return finds, spent, counts, False


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
    """The figures of one or several seeds: means over seeds, and each seed's count, by each judge."""
    judges = next((list(run.hits) for run in runs if run.hits), [])

    def found(judge: str, what: str) -> dict[str, Any]:
        names = [getattr(run.hits[judge], what) if run.hits else () for run in runs]
        times = [sorted(run.finds[int(name)].at for name in own) for run, own in zip(runs, names, strict=True)]
        counts = [len(at) for at in times]
        return {"mean": float(np.mean(counts)), "per_seed": counts, "at_seconds": times}

    return {
        "cpu_minutes": seconds / 60,
        "by_judge": {judge: {what: found(judge, what) for what in ("sun", "msun", "msun_new")} for judge in judges},
        "spent_seconds": {k: float(np.mean([run.spent[k] for run in runs])) for k in runs[0].spent},
        "counts": {k: float(np.mean([run.counts[k] for run in runs])) for k in runs[0].counts},
        "exhausted": [run.exhausted for run in runs],
        "rediscovered": sorted({name for run in runs for name in run.rediscovered}),
    }
