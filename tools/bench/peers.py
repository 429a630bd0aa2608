"""Our crystals beside what a scientist would try without us, under one ruler: equal samples, and equal CPU time.

    python -m tools.bench peers --system Nb-O --samples 300 --relaxed 100 --minutes 20 --workers 2 \
        --out tools/results/peers.json

*Equal samples*: every arm draws ``--samples`` crystals; of the strictly valid ones ``--relaxed``, picked at random, are
relaxed; `crystalgraph.evaluation.judge` gives the verdicts. What may be metastable by the potential that relaxes is
relaxed on by those that confirm, as ``cg-generate`` does, and judged by each on its own hull, and by all. *Equal CPU
time*: every arm gets ``--minutes`` of CPU for drawing, single points and relaxations, and the same funnel as
``cg-generate --relax``; what counts is how many distinct metastable crystals that match no known phase it finds, by
each potential and by all (*new*: as relaxed no crystal of the corpus with the system's elements put in either, see
`crystalgraph.known.novelty.substituted`). Training is not charged.

The arms, for ``--arms``: pyxtal, substitution, random (random parameters in our templates), raw, screened (what
``cg-generate`` keeps, whose rates are of what is kept; how many were drawn for it is in the remarks); for equal samples
also chosen (what ``cg-generate --relax`` relaxes of all that it draws: ``--relaxed`` crystals and no more) and the same
without a part (chosen-alone, chosen-free, chosen-prototypes, chosen-drawn, chosen-by-score), for equal CPU time also
search (what ``cg-generate --minutes`` hands over) and evolution (by CrySPY's operators, with the same potential and
hull). With --files FOLDER also files: crystals that another tool made, whose making costs nothing here. With --beside
arms of an earlier run that do not depend on the model are shown beside those measured now. Everything that was drawn
and relaxed is kept under ``--work``, so that the same command repeated after a kill relaxes nothing twice. Draws and
relaxations are kept by what they depend on; after a change to an arm's code, remove the folder.
Writes OUT, and beside it a PNG.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.models.bundle import load_model
from crystalgraph.progress import relabelled
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.many import single_points
from crystalgraph.relax.potentials import DEFAULT, check_judges, potential_identity, usual_confirmation
from crystalgraph.screening.funnel_settings import FunnelSettings
from tools.bench import tables
from tools.bench.arms import (
    ARMS,
    CHOSEN,
    EVOLUTION,
    FILES,
    MAX_ATOMS,
    OF_MODEL,
    SEARCH,
    TITLES,
    prototypes,
)
from tools.bench.equal_samples import equal_samples, sample_figures
from tools.bench.equal_time import equal_time, time_figures
from tools.bench.plots import plot
from tools.bench.progress_lines import ProgressLines
from tools.bench.record import command_line, record_head, write_result
from tools.bench.ruler import Bench


def prepare(options: argparse.Namespace, running: Workers) -> Bench:
    """Everything that the arms share; the hull of a new system is relaxed once and cached."""
    system = ChemicalSystem.parse(options.system)
    progress = ProgressLines()
    if not len(prototypes(system)):
        raise InputError(f"the corpus has no prototype with as many elements as {system}")

    def hull_by(potential: str) -> Hull:
        return reference_hull(
            system,
            settings=replace(REFERENCE_SETTINGS, potential=potential),
            workers=running,
            progress=relabelled(progress, f"known phases, {potential}"),
        )

    bench = Bench(
        system=system,
        model=load_model(options.model),
        known=known_phases(system),
        learned=load_dataset("corpus"),
        hulls={potential: hull_by(potential) for potential in judges_of(options)},
        teachers={potential: hull_by(potential) for potential in options.teachers},
        files=None if options.files is None else load(options.files),
        running=running,
        work=options.work or Path("runs") / "peers" / system.key,
        progress=progress,
    )
    single_points(bench.known.structures[:1], options.potential, workers=running)  # starting is not charged
    return bench


def judges_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The potential that relaxes, and those that confirm."""
    confirm = usual_confirmation(options.potential) if options.confirm is None else options.confirm
    return check_judges(options.potential, confirm)


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All figures of all arms."""
    arms: dict[str, dict[str, Any]] = {}
    for name in options.arms:
        arms[name] = {"title": TITLES[name]}
        if name == FILES and bench.files is not None:
            arms[name] = {"title": f"files of {options.files.name}", "files": bench.files.record()}
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
        print(show({name: arms[name]}), flush=True)
    return arms


def show(arms: dict[str, dict[str, Any]]) -> str:
    """All tables of some arms."""
    parts = []
    if any("equal_samples" in arm for arm in arms.values()):
        parts += [tables.peers(arms), tables.judges(arms), tables.orders(arms)]
    if any("equal_time" in arm for arm in arms.values()):
        parts.append(tables.races(arms))
    return "\n".join(parts)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("peers", __doc__)
    parser.add_argument("--system", default="Nb-O")
    parser.add_argument("--model", default="nbo", help="name or folder")
    parser.add_argument("--arms", type=_names, default=list(ARMS), help=f"any of {','.join(TITLES)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=300, help="drawn by each arm and seed; 0 leaves this out")
    parser.add_argument("--relaxed", type=int, default=100, help="of them, picked at random")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="CPU minutes of each arm and seed; 0 leaves this out"
    )
    parser.add_argument("--potential", default=DEFAULT, help="that relaxes")
    parser.add_argument("--confirm", nargs="*", help="that judge what may be metastable too; default: as cg-generate")
    parser.add_argument(
        "--teachers", nargs="*", default=[], help="potentials whose single points are an order, too: those learned from"
    )
    parser.add_argument("--files", type=Path, help="another tool's crystals, for the arm of that name")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder of draws and relaxations [runs/peers/SYSTEM]")
    parser.add_argument("--beside", type=Path, help="an earlier OUT, whose arms without the model are taken over")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; .png goes beside it")
    options = parser.parse_args(arguments)
    if options.samples and (whole := [name for name in options.arms if name in (SEARCH, EVOLUTION)]):
        parser.error(f"{whole[0]} is a whole search, no source of samples; give --samples 0 with it")
    if (FILES in options.arms) != (options.files is not None):
        parser.error(f"the arm {FILES} and --files FOLDER belong together; give both or none")
    if options.minutes and (chosen := [name for name in options.arms if name in CHOSEN]):
        parser.error(f"{chosen[0]} has a number of relaxations, no time; leave --minutes out with it, or take {SEARCH}")
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in TITLES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no arm; there are {', '.join(TITLES)}")
    return names


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    options = parse(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with Workers(options.workers) as running:
        bench = prepare(options, running)
        conditions = conditions_of(bench, options)
        arms = earlier_arms(options.beside, conditions) if options.beside else {}
        arms |= measure(bench, options)
    arms = {name: arms[name] for name in TITLES if name in arms}
    write_result(options.out, {**conditions, **record_head("peers", arguments, bench.model), "arms": arms})
    plot(arms, f"{bench.system}, seeds: {len(options.seeds)}", options.out.with_suffix(".png"))
    print(show(arms))


def conditions_of(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """What has to be equal for arms to be compared, as in the record."""
    return {
        "system": str(bench.system),
        "seeds": options.seeds,
        "samples": options.samples,
        "relaxed": options.relaxed,
        "cpu_minutes": options.minutes,
        "max_atoms": MAX_ATOMS,
        "judges": [
            potential_identity(potential) | {"hull": {"sha256": hull.identity(), "phases": len(hull.phases)}}
            for potential, hull in bench.hulls.items()
        ],
        "teachers": [potential_identity(potential) for potential in bench.teachers],
        "known": bench.known.record(),
        "prototypes": len(bench.learned),
        "funnel": FunnelSettings(potential=options.potential).as_record(),
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
    arms = {name: arm for name, arm in record["arms"].items() if name not in OF_MODEL}
    for arm in arms.values():
        of_seeds = arm.get("equal_samples", {}).get("per_seed", {})
        for figures in (arm.get("equal_samples", {}), *of_seeds.values()):
            for ranking in (figures.get("ranking", {}), *figures.get("ranking_by", {}).values()):
                for of_model in ("discriminator", "rank"):
                    ranking.pop(of_model, None)
    return arms
