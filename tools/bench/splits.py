"""Fill templates that were never trained on, for several splits: how much of a figure is the split's luck.

    python -m tools.bench splits --runs runs --out tools/results/splits.json

trains the generator of configs/splits.toml once for each split, 17 minutes on 2 cores each, and fills one
crystal's template of each held-out prototype, as the benchmark heldout does, whose figures are of one split, with and
without relatives in the training crystals. What has been trained under --runs is not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from crystalgraph.errors import InputError
from crystalgraph.evaluation.heldout import evaluate_heldout
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.sampling.filling import fill
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import parse_config, read_config
from crystalgraph.training.corpus import held_out_checksum, prepare
from crystalgraph.training.heldout import one_per_prototype
from tools.bench.record import CONFIGS, command_line, record_head, write_result
from tools.bench.tables import GROUPS
from tools.bench.tables import splits as table
from tools.bench.templates import has_relatives
from tools.bench.trainings import train_once


def config_text(split: int) -> str:
    """The text of the config for a split, whose training has the same seed whatever the split."""
    text = read_config(CONFIGS / "splits.toml")
    return text.replace("[data]\n", f"[data]\nseed = {split}\n")


def measure(split: int, run: Path, n_draws: int) -> tuple[dict[str, Any], Model]:
    """Train for a split unless that is done, and fill the templates that it holds out.

    Args:
        split: its seed.
        run: folder of the training.
        n_draws: how often every template is filled.

    Returns:
        For JSON: counts, the share of strictly valid draws, and rates of matches within one and ``n_draws`` draws;
        and the model.
    """
    text = config_text(split)
    train_once(text, run)
    model = load_model(run / "model")
    corpus = prepare(load_dataset("corpus"), parse_config(text, "config").data, workers=2)
    if model.record["held_out"] != held_out_checksum(corpus):
        raise InputError(f"{run} was trained with another split; choose another --runs")
    cases = one_per_prototype(corpus.heldout, split)
    related = has_relatives(cases, corpus.training, workers=2)
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
    return record, model


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("splits", __doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--splits", default="1,2,3", help="seeds of the splits")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    rows, models = [], {}
    for split in map(int, options.splits.split(",")):
        row, models[str(split)] = measure(split, options.runs / f"split-{split}", options.draws)
        rows.append(row)
        head = record_head("splits", arguments, models=models)
        write_result(options.out, head | {"n_draws": options.draws, "splits": rows})
    print(table(rows, options.draws))
