"""Fill templates that were never trained on, with every form of the generator, and compare with the real crystals.

    python tools/bench_heldout.py --runs runs --out tools/results/heldout.json

trains what is missing under --runs (configs/nbo.toml and its two controls, about an hour on 2 cores), then measures
all arms in the same way and writes JSON and a Markdown table. With --shipped only the shipped weights are measured,
in 25 minutes, also on the compounds of the systems that were held out, and with CHGNet's energies: how much
higher than the real crystal the lowest of twelve draws lies, none of them relaxed.

Each arm fills one crystal's template for each held-out prototype that has a free parameter. Figures are also given for
the simpler ones among them, at most 16 atoms, 8 orbits and 3 elements, and for those with and without *relatives*: a
relative is a training crystal that is the same arrangement under the matcher's tolerances, whatever the elements, which
differs by a distortion such as a sub- or supergroup allows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalgraph.chemistry.membership import is_within
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.evaluation.heldout import HeldoutResult, evaluate_heldout
from crystalgraph.evaluation.rates import Rate
from crystalgraph.geometry.lattice import crystal_system, free_shape, lattice_from_code
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from crystalgraph.relax.calculator import CHGNET
from crystalgraph.relax.pool import Workers, single_points
from crystalgraph.runs.train import Silent, train
from crystalgraph.sampling.sampler import N_DRAWS, fill, steps_downhill
from crystalgraph.symmetry.expand import expand
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, species_rank
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import DataConfig, load_config, read_config
from crystalgraph.training.corpus import Corpus, held_out_checksum, prepare, systems_left_out
from crystalgraph.training.heldout import one_per_prototype

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


#: Draws of which the one with the lowest energy counts.
N_LOWEST = 12


class Printer(Silent):
    """Prints what a training run has to say, and its validity now and then."""

    def step(self, values: dict[str, float]) -> None:
        """Print the steps at which the validity was measured."""
        if "validity" in values:
            self.message(f"distance {values['distance']:.3f}, strictly valid {values['validity']:.2f}")

    def message(self, text: str) -> None:
        """Print."""
        print(text, flush=True)


def random_parameters(
    templates: Templates, element_volume: torch.Tensor, spread: torch.Tensor, rng: torch.Generator
) -> Crystals:
    """Uniform site parameters, element volumes, and lattice shapes spread like those of the training crystals.

    Args:
        templates: each is filled once.
        element_volume: (119,), Å³/atom, float64.
        spread: standard deviation of k₁…k₅, (5,), float64.
        rng: draws shapes and parameters.
    """
    system = crystal_system(templates.space_group_number)
    shape = torch.randn(len(templates), 5, generator=rng, dtype=torch.float64) * spread
    volume = element_volume[templates.atomic_numbers] * templates.multiplicity
    volume = torch.zeros(len(templates), dtype=torch.float64).index_add(0, templates.batch, volume)
    centring = wyckoff_table().centring[templates.space_group_number]
    shape = shape * free_shape(system, torch.float64)
    lattice = lattice_from_code(system, (volume / torch.linalg.det(centring)).log(), shape)
    return expand(templates, lattice, torch.rand(len(templates.position), 3, generator=rng, dtype=torch.float64))


def is_simple(templates: Templates) -> torch.Tensor:
    """At most 16 atoms, 8 orbits and 3 elements, (n,), bool."""
    return (templates.num_atoms <= 16) & (templates.num_sites <= 8) & (number_of_species(templates) <= 3)


def has_relatives(cases: ParametrisedTemplates, training: ParametrisedTemplates, n_jobs: int = 1) -> torch.Tensor:
    """Whether a training crystal is the same arrangement of atoms, (n,), bool.

    The matcher has its default tolerances and scales volumes. Elements are the same if they can be mapped one to one,
    whatever their electronegativities.
    """
    learned, asked = training.crystals(), cases.crystals()
    index = ReferenceIndex.from_crystals(learned.replace(atomic_numbers=1 + species_rank(learned)))
    rank, n_species = species_rank(asked), number_of_species(asked)
    found = torch.zeros(len(cases), dtype=torch.bool)
    for n in range(1, int(n_species.max()) + 1):
        for order in itertools.permutations(range(1, n + 1)):
            chosen = ((n_species == n) & ~found).nonzero().flatten()
            if len(chosen):
                roles = torch.tensor(order)[rank[torch.isin(asked.batch, chosen)]]
                structures = to_structures(asked[chosen].replace(atomic_numbers=roles))
                found[chosen] = torch.from_numpy(match_any(structures, index, n_jobs=n_jobs) >= 0)
    return found


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to fill the templates: ``draw`` fills all once with a random generator."""

    name: str
    draw: Callable[[torch.Generator], Crystals]


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Templates to fill, and the real crystal of each."""

    templates: Templates
    truth: Crystals


def of_held_out_systems(data: DataConfig) -> Cases:
    """The compounds of the systems that are held out, with a free parameter, within the limits of the training."""
    crystals = load_dataset(data.dataset).crystals
    inside = torch.zeros(len(crystals), dtype=torch.bool)
    for system in systems_left_out(data):
        inside |= is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    found = extract(crystals[inside & (crystals.num_atoms <= data.max_atoms) & (number_of_species(crystals) > 1)])
    templates = found.templates
    kept = ((templates.num_free > 0) & (templates.num_sites <= data.max_sites)).nonzero().flatten()
    return Cases(templates=templates[kept], truth=found.parametrised.crystals()[kept])


def shipped_arms(templates: Templates) -> list[Arm]:
    """The shipped weights, as ``cg-generate`` uses them, last, and with less; no training crystal is recalled."""
    model = load_model("nbo")

    def arm(name: str, **settings: int) -> Arm:
        return Arm(name=name, draw=lambda rng: fill(model, templates, rng, recall=False, **settings).crystals)

    return [
        arm("shipped, fast", n_passes=1),
        arm("shipped, not refined", n_draws=N_DRAWS),
        arm("shipped", n_draws=N_DRAWS, n_refine=steps_downhill(model)),
    ]


def energy_gap(arm: Arm, truth: Crystals, seed: int, workers: Workers) -> dict[str, Any]:
    """CHGNet's energy of the lowest of ``N_LOWEST`` draws above that of the real crystal, eV/atom, both unrelaxed."""
    real = np.array(single_points(to_structures(truth), CHGNET, workers=workers))
    lowest = np.full(len(truth), np.inf)
    for number in range(1, N_LOWEST + 1):
        crystals = arm.draw(step_rng(seed, 21, number))
        valid = strict_validity(crystals).valid.nonzero().flatten()
        energies = single_points(to_structures(crystals[valid]), CHGNET, workers=workers)
        lowest[valid] = np.fmin(lowest[valid], energies)
    known = np.isfinite(real)
    gaps = lowest[known] - real[known]  # infinite where no draw is valid
    shares = {f"within_{limit}": float(np.mean(gaps <= limit)) for limit in (0.03, 0.1)}
    return {"arm": arm.name, "n": len(gaps), "draws": N_LOWEST, "median": float(np.median(gaps)), **shares}


def collect_arms(corpus: Corpus, cases: ParametrisedTemplates, runs: Path) -> list[Arm]:
    """All arms but the shipped weights; what is missing is trained."""
    for name in ("nbo-plain", "nbo-raw", "nbo"):
        if not (runs / name / "model").is_dir():
            train(read_config(CONFIGS / f"{name}.toml"), runs / name, resume=(runs / name).is_dir(), watcher=Printer())
    folders = {
        "raw-coordinate MLP": (runs / "nbo-raw" / "model", cases.without_symmetry()),
        "plain MLP": (runs / "nbo-plain" / "model", cases),
        "warm start": (runs / "nbo" / "warm-start", cases),
        "+ adversarial": (runs / "nbo" / "adversarial", cases),
    }
    spread = corpus.training.shape.std(0)
    arms = [
        Arm(
            name="random parameters",
            draw=lambda rng: random_parameters(cases.templates, corpus.element_volume, spread, rng),
        )
    ]
    for name, (folder, given) in folders.items():
        model = load_model(folder)
        if name == "warm start":
            one_pass = Arm(
                name="warm start, one pass",
                draw=lambda rng, m=model: fill(m, cases.templates, rng, n_passes=1).crystals,
            )
            arms.append(one_pass)
        arms.append(Arm(name=name, draw=lambda rng, m=model, t=given.templates: fill(m, t, rng).crystals))
    critics = {f"best of {N_DRAWS} by the critic": "adversarial", f"best of {N_DRAWS} by energy": "model"}
    for name, folder in critics.items():
        model = load_model(runs / "nbo" / folder)
        arms.append(
            Arm(
                name=name,
                draw=lambda rng, m=model: (
                    fill(m, cases.templates, rng, n_draws=N_DRAWS, n_refine=steps_downhill(m)).crystals
                ),
            )
        )
    return arms


def row(
    name: str, result: HeldoutResult, groups: dict[str, torch.Tensor], num_free: torch.Tensor, seconds: float
) -> dict[str, Any]:
    """The figures of an arm, over all cases and over groups of them."""
    everything = torch.ones_like(num_free, dtype=torch.bool)
    figures: dict[str, Any] = {"arm": name, "strict": result.strict, "n_samples": len(num_free) * result.n_draws}
    for label, chosen in {"": everything, **{f"{group}_": members for group, members in groups.items()}}.items():
        for n_draws in (1, result.n_draws):
            found = int((result.found_within(n_draws) & chosen).sum())
            rate = Rate(numerator=found, denominator=int(chosen.sum()))
            figures[f"{label}match_{n_draws}"] = rate.value
            figures[f"{label}match_{n_draws}_interval"] = rate.interval
    found_at_all = result.found_within(result.n_draws)
    by_freedom = {}
    for label, chosen in (("1-5", num_free <= 5), ("6-10", (num_free > 5) & (num_free <= 10)), ("11+", num_free > 10)):
        by_freedom[label] = {"n": int(chosen.sum()), "matched": int((found_at_all & chosen).sum())}
    return figures | {
        f"match_{result.n_draws}_by_free_parameters": by_freedom,
        "volume_error": result.volume_error,
        "timed_out": result.timed_out,
        "seconds": round(seconds, 1),
    }


def table(rows: list[dict[str, Any]], cases: str, n: int, n_simple: int, n_draws: int) -> str:
    """The rows as Markdown."""
    lines = [
        f"| | strictly valid | match, 1 draw | match, {n_draws} draws | simple: 1 draw | {n_draws} draws | volume |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = [r["arm"], f"{r['strict']:.3f}"]
        for name in ("match_1", f"match_{n_draws}", "simple_match_1", f"simple_match_{n_draws}"):
            low, high = r[f"{name}_interval"]
            cells.append(f"{r[name]:.2f} ({low:.2f}–{high:.2f})")
        lines.append("| " + " | ".join([*cells, f"{r['volume_error']:.1%}"]) + " |")
    note = f"{n} {cases}, {n_simple} of them simple; 95 % Wilson intervals; volume: median error, draw 1."
    return "\n".join([*lines, "", note]) + "\n"


def relatives_table(rows: list[dict[str, Any]], n_related: int, n: int, n_draws: int) -> str:
    """The matches with and without relatives as Markdown."""
    titles = [f"{n_related} with relatives: 1 draw", f"{n_draws} draws", f"{n - n_related} without: 1 draw"]
    lines = [f"| | {' | '.join([*titles, f'{n_draws} draws'])} |", "|---|---|---|---|---|"]
    for r in rows:
        cells = [r["arm"]]
        for name in (f"{group}_match_{k}" for group in ("related", "unrelated") for k in (1, n_draws)):
            low, high = r[f"{name}_interval"]
            cells.append(f"{r[name]:.2f} ({low:.2f}–{high:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--shipped", action="store_true", help="measure the shipped weights only")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    config = load_config(CONFIGS / "nbo.toml")
    corpus = prepare(load_dataset(config.data.dataset), config.data, n_jobs=2)
    if options.shipped and load_model("nbo").record["held_out"] != held_out_checksum(corpus):
        raise SystemExit("the shipped weights were trained on another split than that of configs/nbo.toml")
    cases = one_per_prototype(corpus.heldout, options.seed)

    def measured(arm: Arm, given: Cases, related: torch.Tensor | None = None) -> dict[str, Any]:
        started = time.monotonic()
        result = evaluate_heldout(lambda k: arm.draw(step_rng(options.seed, 21, k)), given.truth, options.draws)
        groups = {"simple": is_simple(given.templates)}
        if related is not None:
            groups |= {"related": related, "unrelated": ~related}
        found = row(arm.name, result, groups, given.templates.num_free, time.monotonic() - started)
        print(json.dumps(found), flush=True)
        return found

    given = Cases(templates=cases.templates, truth=cases.crystals())
    n_simple = int(is_simple(given.templates).sum())
    arms = shipped_arms(given.templates) if options.shipped else collect_arms(corpus, cases, options.runs)
    related = has_relatives(cases, corpus.training, n_jobs=2)
    rows = [measured(arm, given, related) for arm in arms]
    record = {"seed": options.seed, "n_templates": len(cases), "n_simple": n_simple, "n_draws": options.draws}
    record["n_related"] = int(related.sum())
    record["arms"] = rows
    text = table(rows, "held-out templates", len(cases), n_simple, options.draws)
    text += "\n" + relatives_table(rows, record["n_related"], len(cases), options.draws)
    if options.shipped:
        systems = of_held_out_systems(config.data)
        own = shipped_arms(systems.templates)[-1]
        record["systems"] = measured(own, systems)
        n_own = len(systems.templates), int(is_simple(systems.templates).sum())
        text += "\n" + table([record["systems"]], "compounds of held-out systems", *n_own, options.draws)
        with Workers(CHGNET, 2) as workers:
            record["energy_gap"] = {
                "templates": energy_gap(arms[-1], given.truth, options.seed, workers),
                "systems": energy_gap(own, systems.truth, options.seed, workers),
            }
        text += "\n" + json.dumps(record["energy_gap"], indent=1) + "\n"
    write_json(options.out, record)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
