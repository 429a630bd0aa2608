"""Our crystals beside what a scientist would try without us, under one ruler: equal samples, and equal CPU time.

    python tools/bench_peers.py --system Nb-O --samples 300 --relaxed 100 --minutes 20 --workers 2 \
        --out tools/results/peers.json

*Equal samples*: every arm draws ``--samples`` crystals; of the strictly valid ones ``--relaxed``, picked at random, are
relaxed; `crystalgraph.evaluation.judge` gives the verdicts. *Equal CPU time*: every arm gets ``--minutes`` of CPU for
drawing, single points and relaxations, and the same funnel as ``cg-generate --relax``; what counts is how many distinct
metastable crystals that match no known phase it finds (*new*: as relaxed no crystal of the corpus with the system's
elements put in either, see `Reference.decorated`). Training is not charged.

The arms, for ``--arms``: pyxtal, substitution, random (random parameters in our templates), raw, screened (what
``cg-generate`` keeps, whose rates are of what is kept; how many were drawn for it is in the remarks). With --beside
arms of an earlier run that do not depend on the model are shown beside those measured now. Everything
that was drawn and relaxed is kept under ``--work``, so that the same command repeated after a kill relaxes nothing
twice. Draws and relaxations are kept by what they depend on; after a change to an arm's code, remove the folder.
Writes OUT, and beside it a Markdown table and a PNG.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crystalgraph.known.reference import Reference, default_reference, load_reference, reduced_compositions
from peers import ARMS, MAX_ATOMS, TITLES, Arm, make_arm, prototypes
from pymatgen.core import Structure
from ranking import ranking_figures

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement, judge
from crystalgraph.evaluation.rates import Absent, BudgetRate, Rate
from crystalgraph.evaluation.rows import Row, not_relaxable, pick
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.io.provenance import versions
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.calculator import CHGNET, calculator_identity
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.pool import Workers, relax_many, single_points
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, structure_from_record, structure_record
from crystalgraph.screening.funnel import SINGLE_POINT, FunnelSettings, run_funnel
from crystalgraph.screening.rank import rank_by_formula

ROUND = 100
"""Crystals that enter the funnel together in the comparison at equal CPU time."""

OURS = ("random", "raw", "screened")
"""Arms that depend on the model."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all arms share.

    Attributes:
        system: of all crystals.
        model: for our arms.
        known: known phases; a crystal that matches none of them is novel.
        learned: crystals of all chemistries; one that matches none of them re-decorated either is new.
        hull: of the known phases.
        calculator: its name.
        running: worker processes that hold it.
        work: folder of everything drawn and relaxed.
        say: told what is going on.
    """

    system: ChemicalSystem
    model: Model
    known: Reference
    learned: Reference
    hull: Hull
    calculator: str
    running: Workers
    work: Path
    say: Say

    def arm(self, name: str, seed: int) -> Arm:
        """A fresh arm."""
        return make_arm(name, self.system, self.model, self.known.structures, seed)

    def key(self, name: str, seed: int) -> str:
        """What the crystals of an arm depend on, as a file name."""
        weights = f"-{self.model.checksum[:12]}" if name in OURS else ""
        return f"{name}{weights}-seed{seed}"

    def judged(self, given: dict[str, Structure], relaxations: dict[str, Relaxation]) -> Judgement:
        """The verdicts; the same for every arm. Whether a crystal is new is asked of the MSUN ones alone."""
        found = judge(
            given,
            system=self.system,
            known=self.known,
            relaxations=relaxations,
            hull=self.hull,
            workers=self.running.number,
        )
        hits = {row.name: relaxations[row.name].structure for row in found.rows if row.msun}
        structures = [structure for structure in hits.values() if structure is not None]
        if not structures:
            return found
        decorated = self.learned.decorated(reduced_compositions(from_structures(structures)))
        equal = match_any(structures, decorated.structures, n_jobs=self.running.number)
        is_new = dict(zip(hits, (equal < 0).tolist(), strict=True))
        return replace(found, rows=[replace(row, relaxed_new=is_new.get(row.name)) for row in found.rows])


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
    eligible = [name for name, reason in not_relaxable(given, bench.system).items() if not reason]
    picked = pick(eligible, n_relaxed, "random", seed)
    settings = RelaxSettings(calculator=bench.calculator, saddle_check=True)
    found = relax_many(
        [given[k] for k in picked],
        settings,
        workers=bench.running,
        hull=bench.hull,
        folder=bench.work / "relaxations",
        progress=lambda _stage, done, total: bench.say(f"{name}, seed {seed}: {done} of {total} relaxed"),
    )
    relaxed = dict(zip(picked, found, strict=True))
    judgement = bench.judged(given, relaxed)
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
    best_first = rank_by_formula(scores, [structure.composition.reduced_formula for structure in given])
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
    strict = Rate(numerator=sum(row.valid_strict for row in rows), denominator=len(rows))
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
        bench.say(f"{name}, seed {seed}: {sum(spent.values()) / 60:.1f} of {seconds / 60:g} CPU minutes")
    finds = [find for find in finds if find.at <= seconds]
    judgement = None
    if finds:
        given = {f"{k:05d}": structure_from_record(find.given) for k, find in enumerate(finds)}
        relaxed = {f"{k:05d}": find.relaxation() for k, find in enumerate(finds)}
        judgement = bench.judged(given, relaxed)
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
    settings = FunnelSettings(calculator=bench.calculator, seed=seed)
    clock = time.process_time()
    result = run_funnel(fresh, bench.hull, settings, workers=bench.running, folder=bench.work / "relaxations")
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


def table(arms: dict[str, dict[str, Any]]) -> str:
    """All figures as Markdown."""
    parts = []
    if any("equal_samples" in arm for arm in arms.values()):
        titles = ["", "strict", "RMSD Å (matched)", "median e_hull", "MSUN of relaxed", "MSUN of budget", "of it new"]
        titles += ["s / 100", "s / relaxation"]
        parts += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        parts += [_sample_row(name, arm["equal_samples"]) for name, arm in arms.items() if "equal_samples" in arm]
        note = "95 % Wilson intervals; energies in eV/atom; CPU seconds, setup of an arm not counted."
        parts += ["", f"{note} Screened: of what is kept.", ""]
        titles = ["order of the relaxed by", "Spearman with −e_hull", "within formulas", "metastable, top tenth", "all"]
        parts += [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
        for name, arm in arms.items():
            if "equal_samples" in arm:
                parts += [_order_row(name, what, f) for what, f in arm["equal_samples"]["ranking"].items()]
        parts.append("")
    if any("equal_time" in arm for arm in arms.values()):
        minutes = next(arm["equal_time"]["cpu_minutes"] for arm in arms.values() if "equal_time" in arm)
        parts += [
            f"| {minutes:g} CPU minutes | drawn | relaxed | MSUN | SUN | MSUN, new |",
            "|---|---|---|---|---|---|",
        ]
        for name, arm in arms.items():
            if (found := arm.get("equal_time")) is not None:
                cells = [TITLES[name], f"{found['counts']['drawn']:.0f}", f"{found['counts']['relaxed']:.0f}"]
                for what in ("msun", "sun", "msun_new"):
                    each = ", ".join(map(str, found[what]["per_seed"]))
                    cells.append(f"{found[what]['mean']:.1f} ({each})")
                parts.append("| " + " | ".join(cells) + " |")
        parts += ["", "Distinct crystals, mean over seeds (each seed).", ""]
    return "\n".join(parts)


def _share(rate: dict[str, Any] | None) -> str:
    if rate is None or "absent" in rate:
        return "–"
    low, high = rate["interval"]
    return f"{rate['value']:.2f} ({low:.2f}–{high:.2f})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _sample_row(name: str, found: dict[str, Any]) -> str:
    matched = found["rmsd_matched"]
    rmsd = f"{_number(found['rmsd'], 2)} ({_number(matched and matched['value'], 2)})"
    cells = [TITLES[name], f"{found['strict']['value']:.2f}", rmsd, _number(found["e_above_hull_median"], 3)]
    cells += [_share(found[what]) for what in ("msun_of_relaxed", "msun_of_budget", "msun_new_of_budget")]
    cells += [_number(found["seconds_per_100_drawn"], 2), _number(found["seconds_per_relaxation"], 1)]
    return "| " + " | ".join(cells) + " |"


def _order_row(name: str, what: str, found: dict[str, Any]) -> str:
    cells = [TITLES[name], what, _number(found["spearman"], 2), _number(found["spearman_within_formulas"], 2)]
    cells += [_share(found["metastable_of_top_tenth"]), _share(found["metastable"])]
    return "| " + " | ".join(cells) + " |"


def plot(arms: dict[str, dict[str, Any]], title: str, path: Path) -> None:
    """MSUN of budget with intervals, and finds against CPU time, as a PNG."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in ("equal_samples", "equal_time") if any(kind in arm for arm in arms.values())]
    figure = Figure(figsize=(5.5 * len(kinds), 3.8), layout="constrained")
    colors = {name: f"C{k}" for k, name in enumerate(ARMS)}
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        shown = [name for name in arms if kind in arms[name]]
        if kind == "equal_samples":
            for place, name in enumerate(reversed(shown)):
                for offset, what, alpha in ((0.2, "msun_of_budget", 1.0), (-0.2, "msun_new_of_budget", 0.45)):
                    rate = arms[name][kind][what]
                    if "absent" in rate:
                        continue
                    low, high = rate["interval"]
                    axes.barh(place + offset, rate["value"], 0.36, color=colors[name], alpha=alpha)
                    axes.plot([low, high], [place + offset] * 2, color="0.2", linewidth=1)
            axes.set_yticks(range(len(shown)), [TITLES[name] for name in reversed(shown)])
            axes.set_xlabel("MSUN of budget (pale: new)")
        else:
            for name in shown:
                found = arms[name][kind]
                every = sorted(at / 60 for times in found["msun"]["at_seconds"] for at in times)
                n_seeds = len(found["msun"]["at_seconds"])
                heights = np.arange(len(every) + 1) / n_seeds
                ends = [0.0, *every, found["cpu_minutes"]]
                axes.step(ends, [*heights, heights[-1]], where="post", color=colors[name], label=TITLES[name])
            axes.set_xlabel("CPU minutes")
            axes.set_ylabel("distinct MSUN crystals, mean over seeds")
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=160)


def prepare(options: argparse.Namespace, running: Workers) -> Bench:
    """Everything that the arms share; the hull of a new system is relaxed once and cached."""
    system = ChemicalSystem.parse(options.system)
    say = Printer()
    if not len(prototypes(system)):
        raise InputError(f"the corpus has no prototype with as many elements as {system}")
    bench = Bench(
        system=system,
        model=load_model(options.model),
        known=default_reference(system),
        learned=load_reference("corpus"),
        hull=reference_hull(
            system,
            settings=replace(REFERENCE_SETTINGS, calculator=options.calculator),
            workers=running,
            progress=lambda _stage, done, total: say(f"known phases: {done} of {total} relaxed"),
        ),
        calculator=options.calculator,
        running=running,
        work=options.work or Path("runs") / "peers" / system.key,
        say=say,
    )
    single_points(bench.known.structures[:1], options.calculator, workers=running)  # starting is not charged
    return bench


class Printer:
    """Prints what is going on, not more often than every half minute for one subject."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Print, or not yet."""
        subject, now = text.partition(":")[0], time.monotonic()
        if now - self._last.get(subject, -60.0) > 30:
            self._last[subject] = now
            print(text, flush=True)


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All figures of all arms."""
    arms: dict[str, dict[str, Any]] = {}
    for name in options.arms:
        arms[name] = {"title": TITLES[name]}
        if options.samples:
            runs = [equal_samples(bench, name, seed, options.samples, options.relaxed) for seed in options.seeds]
            arms[name]["equal_samples"] = sample_figures(runs) | {
                "per_seed": {
                    seed: sample_figures([run]) | {"remarks": run.drawn.remarks, **run.judgement.record()}
                    for seed, run in zip(options.seeds, runs, strict=True)
                }
            }
        if options.minutes:
            races = [equal_time(bench, name, seed, 60 * options.minutes) for seed in options.seeds]
            arms[name]["equal_time"] = time_figures(races, 60 * options.minutes)
        print(table({name: arms[name]}), flush=True)
    return arms


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="Nb-O")
    parser.add_argument("--model", default="nbo", help="name or folder")
    parser.add_argument("--arms", type=_names, default=list(ARMS), help=f"any of {','.join(ARMS)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=300, help="drawn by each arm and seed; 0 leaves this out")
    parser.add_argument("--relaxed", type=int, default=100, help="of them, picked at random")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="CPU minutes of each arm and seed; 0 leaves this out"
    )
    parser.add_argument("--calculator", default=CHGNET)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder of draws and relaxations [runs/peers/SYSTEM]")
    parser.add_argument("--beside", type=Path, help="an earlier OUT, whose arms without the model are taken over")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; .md and .png go beside it")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no arm; there are {', '.join(ARMS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    options = parse(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with Workers(options.calculator, options.workers) as running:
        bench = prepare(options, running)
        conditions = conditions_of(bench, options)
        arms = earlier_arms(options.beside, conditions) if options.beside else {}
        arms |= measure(bench, options)
    arms = {name: arms[name] for name in ARMS if name in arms}
    model = bench.model
    record = {
        **conditions,
        "model": {
            "name": model.name,
            "sha256": model.checksum,
            "data": model.record["config"]["data"],
        },
        "versions": versions(),
        "arms": arms,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, record)
    write_text(options.out.with_suffix(".md"), table(arms))
    plot(arms, f"{bench.system}, seeds: {len(options.seeds)}", options.out.with_suffix(".png"))
    print(table(arms))


def conditions_of(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """What has to be equal for arms to be compared, as in the record."""
    return {
        "system": str(bench.system),
        "seeds": options.seeds,
        "samples": options.samples,
        "relaxed": options.relaxed,
        "cpu_minutes": options.minutes,
        "max_atoms": MAX_ATOMS,
        "calculator": calculator_identity(options.calculator),
        "hull": {"sha256": bench.hull.identity(), "phases": len(bench.hull.phases)},
        "known": bench.known.record(),
        "prototypes": len(bench.learned),
        "funnel": FunnelSettings(calculator=options.calculator).as_record(),
    }


def earlier_arms(path: Path, conditions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arms of an earlier run that do not depend on the model, without what its model said of them.

    Raises:
        InputError: if the run was made under other conditions.
    """
    record = json.loads(path.read_text())
    for what, value in json.loads(json.dumps(conditions)).items():
        if record.get(what) != value:
            raise InputError(
                f"{path} was made with another {what}: {record.get(what)}, not {value}; measure its arms anew"
            )
    arms = {name: arm for name, arm in record["arms"].items() if name not in OURS}
    for arm in arms.values():
        of_seeds = arm.get("equal_samples", {}).get("per_seed", {})
        for figures in (arm.get("equal_samples", {}), *of_seeds.values()):
            for of_model in ("discriminator", "rank"):
                figures.get("ranking", {}).pop(of_model, None)
    return arms


if __name__ == "__main__":
    main()
