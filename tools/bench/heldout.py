"""Fill templates that were never trained on, with every form of the generator, and compare with the real crystals.

    python -m tools.bench heldout --runs runs --out tools/results/heldout.json

trains what is missing under --runs (configs/nbo.toml and its two controls, about an hour on 2 cores), then measures
all arms in the same way and writes JSON. With --shipped only the shipped weights are measured,
in 25 minutes, also on the compounds of the systems that were held out, and with CHGNet's energies: how much
higher than the real crystal the lowest of twelve draws lies, none of them relaxed.

Each arm fills one crystal's template for each held-out prototype that has a free parameter. Figures are also given for
the simpler ones among them, at most 16 atoms, 8 orbits and 3 elements, and for those with and without *relatives*: a
relative is a training crystal that is the same arrangement under the matcher's tolerances, whatever the elements, which
differs by a distortion such as a sub- or supergroup allows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.evaluation.heldout import HeldoutResult, evaluate_heldout
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.many import single_points
from crystalgraph.relax.potentials import CHGNET
from crystalgraph.sampling.filling import fill
from crystalgraph.sampling.sampler import resolve_surrogate_steps
from crystalgraph.sampling.settings import USUAL_SAMPLING
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import load_config, read_config
from crystalgraph.training.corpus import Corpus, held_out_checksum, prepare
from crystalgraph.training.heldout import one_per_prototype
from tools.bench import tables
from tools.bench.record import CONFIGS, command_line, record_head, write_result
from tools.bench.templates import Cases, has_relatives, is_simple, of_held_out_systems, random_parameters
from tools.bench.trainings import train_once

N_DRAWS = USUAL_SAMPLING.n_draws
"""Ways to fill a template, of which the score chooses one, as in ``cg-generate``."""

N_LOWEST = 12
"""Draws of which the one with the lowest energy counts."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to fill the templates: ``draw`` fills all once with a random generator, ``model`` is whose weights do."""

    name: str
    draw: Callable[[torch.Generator], Crystals]
    model: Model | None = None


def arm_of(name: str, model: Model, templates: Templates, **options: Any) -> Arm:
    """What a model makes of templates; the options are those of `crystalgraph.sampling.filling.fill`."""
    return Arm(name=name, draw=lambda rng: fill(model, templates, rng, **options).crystals, model=model)


def shipped_arms(templates: Templates) -> list[Arm]:
    """The shipped weights, as ``cg-generate`` uses them, last, and with less; no training crystal is put in."""
    model = load_model("nbo")
    usual: dict[str, Any] = {"n_draws": N_DRAWS, "surrogate_steps": resolve_surrogate_steps(model)}
    forms: dict[str, dict[str, Any]] = {
        "shipped, fast": {"n_passes": 1},
        "shipped, not refined": {"n_draws": N_DRAWS},
        "shipped": usual,
    }
    return [arm_of(name, model, templates, use_prototypes=False, **form) for name, form in forms.items()]


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
        train_once(read_config(CONFIGS / f"{name}.toml"), runs / name)
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
            arms.append(arm_of("warm start, one pass", model, cases.templates, n_passes=1))
        arms.append(arm_of(name, model, given.templates))
    critics = {f"best of {N_DRAWS} by the critic": "adversarial", f"best of {N_DRAWS} by energy": "model"}
    for name, phase in critics.items():
        model = load_model(runs / "nbo" / phase)
        steps = resolve_surrogate_steps(model)
        arms.append(arm_of(name, model, cases.templates, n_draws=N_DRAWS, surrogate_steps=steps))
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


def show(record: dict[str, Any]) -> str:
    """All tables of a result."""
    n, n_draws = record["n_templates"], record["n_draws"]
    parts = [tables.heldout(record["arms"], n_draws), tables.relatives(record["arms"], record["n_related"], n, n_draws)]
    if "systems" in record:
        parts += [tables.heldout([record["systems"]], n_draws), json.dumps(record["energy_gap"], indent=1)]
    return "\n".join(parts)


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("heldout", __doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--shipped", action="store_true", help="measure the shipped weights only")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    config = load_config(CONFIGS / "nbo.toml")
    corpus = prepare(load_dataset(config.data.dataset), config.data, workers=2)
    if options.shipped and load_model("nbo").record["held_out"] != held_out_checksum(corpus):
        raise InputError(
            "the shipped weights were trained on another split than that of configs/nbo.toml; train again with"
            " --runs and without --shipped"
        )
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
    arms = shipped_arms(given.templates) if options.shipped else collect_arms(corpus, cases, options.runs)
    if options.shipped:
        head = record_head("heldout", arguments, arms[-1].model)
    else:
        head = record_head("heldout", arguments, models={arm.name: arm.model for arm in arms if arm.model})
    related = has_relatives(cases, corpus.training, workers=2)
    record = head | {
        "seed": options.seed,
        "n_templates": len(cases),
        "n_simple": int(is_simple(given.templates).sum()),
        "n_draws": options.draws,
        "n_related": int(related.sum()),
        "arms": [measured(arm, given, related) for arm in arms],
    }
    if options.shipped:
        systems = of_held_out_systems(config.data)
        own = shipped_arms(systems.templates)[-1]
        record["systems"] = measured(own, systems)
        with Workers(2) as workers:
            record["energy_gap"] = {
                "templates": energy_gap(arms[-1], given.truth, options.seed, workers),
                "systems": energy_gap(own, systems.truth, options.seed, workers),
            }
    write_result(options.out, record)
    print(show(record))
