"""Fill templates that were never trained on, with every form of the generator, and compare with the real crystals.

    python tools/bench_heldout.py --runs runs --out tools/results/heldout.json

trains what is missing under --runs (configs/nbo.toml and its two controls, about an hour on 2 cores), then measures
five arms in the same way and writes JSON and a Markdown table. With --shipped only the shipped weights are measured,
in a few minutes. Each arm fills one crystal's template for each held-out prototype that has a free parameter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch

from crystalgraph.config import load_config
from crystalgraph.crystals import Crystals
from crystalgraph.evaluation.heldout import HeldoutResult, evaluate_heldout
from crystalgraph.geometry.lattice import crystal_system, free_shape, lattice_from_code
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from crystalgraph.sampling.sample import fill
from crystalgraph.symmetry.expand import expand
from crystalgraph.symmetry.wyckoff import wyckoff_table
from crystalgraph.training.batches import step_rng
from crystalgraph.training.corpus import Corpus, TemplateSet, prepare
from crystalgraph.training.run import Silent, train

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


class Printer(Silent):
    """Prints what a training run has to say, and its validity now and then."""

    def step(self, values: dict[str, float]) -> None:
        """Print the steps at which the validity was measured."""
        if "validity" in values:
            self.message(f"distance {values['distance']:.3f}, strictly valid {values['validity']:.2f}")

    def message(self, text: str) -> None:
        """Print."""
        print(text, flush=True)


def one_per_prototype(heldout: TemplateSet, seed: int) -> TemplateSet:
    """One crystal, chosen at random, of each held-out prototype with a free parameter."""
    chosen: dict[str, int] = {}
    for index in torch.randperm(len(heldout), generator=step_rng(seed, 20)).tolist():
        if heldout.templates.num_free[index] > 0:
            chosen.setdefault(heldout.prototypes[index], index)
    return heldout[torch.tensor(sorted(chosen.values()))]


def random_parameters(cases: TemplateSet, corpus: Corpus, rng: torch.Generator) -> Crystals:
    """Uniform site parameters, element volumes, and lattice shapes spread like those of the training crystals."""
    templates = cases.templates
    system = crystal_system(templates.space_group_number)
    spread = corpus.training.shape.std(0)
    shape = torch.randn(len(cases), 5, generator=rng, dtype=torch.float64) * spread * free_shape(system, torch.float64)
    volume = corpus.element_volume[templates.atomic_numbers] * templates.multiplicity
    volume = torch.zeros(len(cases), dtype=torch.float64).index_add(0, templates.batch, volume)
    centring = wyckoff_table().centring[templates.space_group_number]
    lattice = lattice_from_code(system, (volume / torch.linalg.det(centring)).log(), shape)
    return expand(templates, lattice, torch.rand(len(templates.position), 3, generator=rng, dtype=torch.float64))


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share."""
    p, z = successes / n, 1.96
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to fill the templates: ``draw`` fills all once with a random generator."""

    name: str
    draw: Callable[[torch.Generator], Crystals]


def collect_arms(corpus: Corpus, cases: TemplateSet, runs: Path | None) -> list[Arm]:
    """All five arms, or the shipped weights alone if no folder of runs is given."""
    if runs is None:
        shipped = load_model("nbo").generator
        return [Arm(name="shipped weights", draw=lambda rng: fill(shipped, cases.templates, rng))]
    for name in ("nbo-plain", "nbo-raw", "nbo"):
        if not (runs / name / "model").is_dir():
            train(CONFIGS / f"{name}.toml", runs / name, resume=(runs / name).is_dir(), watcher=Printer())
    folders = {
        "raw-coordinate MLP": (runs / "nbo-raw" / "model", cases.without_symmetry()),
        "plain MLP": (runs / "nbo-plain" / "model", cases),
        "warm start": (runs / "nbo" / "warm-start", cases),
        "+ adversarial": (runs / "nbo" / "model", cases),
    }
    arms = [Arm(name="random parameters", draw=lambda rng: random_parameters(cases, corpus, rng))]
    for name, (folder, given) in folders.items():
        generator = load_model(folder).generator
        arms.append(Arm(name=name, draw=lambda rng, g=generator, t=given.templates: fill(g, t, rng)))
    return arms


def row(name: str, result: HeldoutResult, n: int, seconds: float) -> dict[str, object]:
    """The figures of an arm."""
    first, many = result.match_rate(1), result.match_rate(result.n_draws)
    return {
        "arm": name,
        "strict": result.strict,
        "n_samples": n * result.n_draws,
        "match_1": first,
        "match_1_interval": wilson(first * n, n),
        f"match_{result.n_draws}": many,
        f"match_{result.n_draws}_interval": wilson(many * n, n),
        "volume_error": result.volume_error,
        "timed_out": result.timed_out,
        "seconds": round(seconds, 1),
    }


def table(rows: list[dict[str, object]], n: int, n_draws: int) -> str:
    """The rows as Markdown."""
    lines = [
        f"| {n} held-out templates | strictly valid | match, 1 draw | match, {n_draws} draws | volume error |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["match_1_interval"]  # type: ignore[misc]
        low_many, high_many = r[f"match_{n_draws}_interval"]  # type: ignore[misc]
        lines.append(
            f"| {r['arm']} | {r['strict']:.3f} | {r['match_1']:.2f} ({low:.2f}–{high:.2f}) | "
            f"{r[f'match_{n_draws}']:.2f} ({low_many:.2f}–{high_many:.2f}) | {r['volume_error']:.1%} |"
        )
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
    torch.set_num_threads(2)
    corpus = prepare(load_dataset("corpus"), load_config(CONFIGS / "nbo.toml").data, n_jobs=2)
    cases = one_per_prototype(corpus.heldout, options.seed)
    truth, rows = cases.crystals(), []
    for arm in collect_arms(corpus, cases, None if options.shipped else options.runs):
        started = time.monotonic()
        result = evaluate_heldout(lambda k, arm=arm: arm.draw(step_rng(options.seed, 21, k)), truth, options.draws)
        rows.append(row(arm.name, result, len(cases), time.monotonic() - started))
        print(json.dumps(rows[-1]), flush=True)
    write_json(options.out, {"seed": options.seed, "n_templates": len(cases), "n_draws": options.draws, "arms": rows})
    text = table(rows, len(cases), options.draws)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
