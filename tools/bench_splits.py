"""Fill templates that were never trained on, for several splits: how much of a figure is the split's luck.

    python tools/bench_splits.py --runs runs --out tools/results/splits.json

trains the generator of configs/splits.toml once for each split, 17 minutes on 2 cores each, and fills one
crystal's template of each held-out prototype, as tools/bench_heldout.py does, whose figures are of one split, with and
without relatives in the training crystals. What has been trained under --runs is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_heldout import CONFIGS, Printer, has_relatives

from crystalgraph.evaluation.heldout import evaluate_heldout
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from crystalgraph.runs.train import train
from crystalgraph.sampling.sampler import fill
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import parse_config, read_config
from crystalgraph.training.corpus import held_out_checksum, prepare
from crystalgraph.training.heldout import one_per_prototype

#: Which cases a rate is over.
GROUPS = ("all", "related", "unrelated")


def config_text(split: int) -> str:
    """The text of the config for a split, whose training has the same seed whatever the split."""
    text = read_config(CONFIGS / "splits.toml")
    return text.replace("[data]\n", f"[data]\nseed = {split}\n")


def measure(split: int, run: Path, n_draws: int) -> dict[str, Any]:
    """Train for a split unless that is done, and fill the templates that it holds out.

    Args:
        split: its seed.
        run: folder of the training.
        n_draws: how often every template is filled.

    Returns:
        For JSON: counts, the share of strictly valid draws, and rates of matches within one and ``n_draws`` draws.
    """
    text = config_text(split)
    if not (run / "model").is_dir():
        train(text, run, resume=run.is_dir(), watcher=Printer())
    model = load_model(run / "model")
    corpus = prepare(load_dataset("corpus"), parse_config(text, "config").data, n_jobs=2)
    if model.record["held_out"] != held_out_checksum(corpus):
        raise SystemExit(f"{run} was trained with another split; choose another --runs")
    cases = one_per_prototype(corpus.heldout, split)
    related = has_relatives(cases, corpus.training, n_jobs=2)
    found = evaluate_heldout(
        lambda draw: fill(model, cases.templates, step_rng(split, 21, draw)).crystals, cases.crystals(), n_draws
    )
    groups = dict(zip(GROUPS, (torch.ones_like(related), related, ~related), strict=True))
    record: dict[str, Any] = {"split": split, "strict": found.strict, "timed_out": found.timed_out}
    for name, chosen in groups.items():
        record[name] = {"n": int(chosen.sum())}
        for n in (1, n_draws):
            hits = int((found.found_within(n) & chosen).sum())
            rate = Rate(numerator=hits, denominator=int(chosen.sum()))
            record[name][f"match_{n}"] = {"value": rate.value, "interval": rate.interval}
    return record


def table(rows: list[dict[str, Any]], n_draws: int) -> str:
    """A row for every split, and their mean with its standard deviation, as Markdown."""
    titles = [f"{name}: {draws}" for name in GROUPS for draws in ("1 draw", f"{n_draws} draws")]
    lines = [f"| split | templates, with relatives | strictly valid | {' | '.join(titles)} |", "|---" * 9 + "|"]
    values = np.array([[row[name][f"match_{n}"]["value"] for name in GROUPS for n in (1, n_draws)] for row in rows])
    for row, rates in zip(rows, values, strict=True):
        cells = [str(row["split"]), f"{row['all']['n']}, {row['related']['n']}", f"{row['strict']:.3f}"]
        lines.append("| " + " | ".join([*cells, *(f"{rate:.2f}" for rate in rates)]) + " |")
    spread = values.std(0, ddof=1) if len(rows) > 1 else np.full(len(titles), np.nan)
    means = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in zip(values.mean(0), spread, strict=True)]
    return "\n".join([*lines, "| " + " | ".join(["mean", "", "", *means]) + " |"]) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--splits", default="1,2,3", help="seeds of the splits")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(2)
    rows = []
    for split in map(int, options.splits.split(",")):
        rows.append(measure(split, options.runs / f"split-{split}", options.draws))
        write_json(options.out, {"n_draws": options.draws, "splits": rows})
    text = table(rows, options.draws)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
