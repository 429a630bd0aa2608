"""``cg-evaluate``: judge anybody's crystals against known phases, and by relaxation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.options import KNOWN_HELP, Potential, Scheduler, Version
from crystalgraph.cli.progress import stage_bars
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.report.words import METRIC_MEANING, but_for

if TYPE_CHECKING:
    from crystalgraph.runs.evaluate import Evaluation

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")

EXAMPLES = (
    "cg-evaluate runs/Nb-O-n100-seed0",
    "cg-evaluate cifs/ --system Ti-O --relax 100 --workers 2 --out judged",
    "cg-evaluate generated.extxyz --reference known/ --training corpus --coverage",
)


@app.command(epilog="\n\n".join(("Examples:", *EXAMPLES)))
def evaluate(
    path: Annotated[
        str, typer.Argument(help="Run folder, folder of CIF, POSCAR or extxyz, or one such file or pymatgen JSON.")
    ],
    system: Annotated[
        str | None,
        typer.Option(help="Chemical system, for instance Nb-O.  [default: the run's, or all elements of the inputs]"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--known", "--reference", help=KNOWN_HELP),
    ] = None,
    training: Annotated[
        str | None, typer.Option(help="What the generator learned from, for *new*: a dataset or structure files.")
    ] = None,
    relax: Annotated[int, typer.Option("--relax", help="Relax so many of the strictly valid crystals.")] = 0,
    pick: Annotated[str, typer.Option(help="Which of them: random or first.")] = "random",
    seed: Annotated[int, typer.Option(help="Of the random pick.")] = 0,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Also compute coverage of the known phases; 0.06 s an atom.")
    ] = False,
    potential: Potential = "sevennet-0",
    workers: Annotated[int, typer.Option(help="Processes; the results do not depend on it.")] = 1,
    scheduler: Scheduler = None,
    device: Annotated[str, typer.Option(help="Where SevenNet runs: cpu, cuda, cuda:1, ...")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results.  [default: runs/evaluate- and the name of PATH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout instead of the table.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Judge crystals: valid, unique, novel, new, stable, and which known phases they found.

    Leaves a folder with metrics.json, structures.csv (a row for every input, with each verdict and the reason),
    report.html to look at, timings.json, and the relaxed crystals.
    """
    if resume and out is None:
        raise InputError("--resume needs the folder of the interrupted run; name it with --out")

    from crystalgraph.io.atomic import free_name
    from crystalgraph.runs.evaluate import evaluate as run_evaluation

    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # a crystal without symmetry has its reason in the table
    folder = out or free_name(Path("runs") / f"evaluate-{Path(path).resolve().stem}")
    at_work = Workers(workers, scheduler, device=device)
    with stage_bars(show=not (quiet or as_json)) as progress, at_work as running:
        evaluation = run_evaluation(
            path,
            system=system,
            reference=reference,
            training=training,
            relax=relax,
            pick=pick,
            seed=seed,
            coverage=coverage,
            potential=potential,
            workers=running,
            out=folder,
            resume=resume,
            progress=progress,
        )
    if as_json:
        import json

        print(json.dumps(evaluation.record))
    elif not quiet:
        _report(evaluation, folder)


def main() -> None:
    """Entry point of ``cg-evaluate``."""
    run(
        app, go_on="relaxations that were finished are kept: the same command with --out and --resume goes on from them"
    )


def _report(evaluation: Evaluation, folder: Path) -> None:
    """The metrics as a table, what was lost and why, and where everything is."""
    from rich.console import Console

    console = Console()
    record = evaluation.record
    lines = [f"system {_short(record['system'])}; known phases from {_named(record['reference'])}"]
    if record["training"] is not None:
        lines.append(f"learned from {_named(record['training'])}{but_for(record['training'])}")
    _print(console, *lines)
    table, absent = _table(evaluation)
    console.print(table)
    _print(console, *absent, *_losses(evaluation), *record["caveats"], f"written to {folder}")


def _table(evaluation: Evaluation) -> tuple[Any, list[str]]:
    """The table, and the reasons of what is absent, numbered as in the table."""
    from rich.table import Table

    from crystalgraph.evaluation.rates import Absent, Number

    table = Table("", "value", "95 % interval", "counts")
    table.columns[1].justify = "right"
    table.columns[0].no_wrap = True
    reasons: dict[str, int] = {}
    for group, metrics in evaluation.judgement.metrics.items():
        said = {metric.reason if isinstance(metric, Absent) else "" for metric in metrics.values()}
        if len(said) == 1 and (reason := said.pop()):  # one line for a whole group that is absent
            table.add_row(group, "–", "", f"({reasons.setdefault(reason, len(reasons) + 1)})", style="bold")
            continue
        table.add_row(group, "", "", METRIC_MEANING[group], style="bold")
        for name, metric in metrics.items():
            if isinstance(metric, Absent):
                table.add_row(f"  {name}", "–", "", f"({reasons.setdefault(metric.reason, len(reasons) + 1)})")
            elif isinstance(metric, Number):
                digits = "" if isinstance(metric.value, int) else ".3f"
                unit = f" {metric.unit}" if metric.unit else ""
                table.add_row(f"  {name}", f"{metric.value:{digits}}{unit}", "", f"n = {metric.n}")
            else:
                low, high = metric.interval
                table.add_row(f"  {name}", f"{metric.value:.3f}", f"{low:.3f} – {high:.3f}", metric.counts)
    for name, found in evaluation.timings.get("per_cpu_hour", {}).items():
        if found["value"] is not None:
            hours = f"{found['count']} in {found['cpu_hours']:.2g} h"
            table.add_row(f"  {name}_per_cpu_hour", f"{found['value']:.1f}", "", hours)
    return table, [f"({number}) {reason}" for reason, number in reasons.items()]


def _losses(evaluation: Evaluation) -> list[str]:
    """How many inputs have each reason, the most frequent first; names and numbers are in the CSV."""
    from collections import Counter

    reasons = Counter(row.reason for row in evaluation.judgement.rows if row.reason)
    shown = [f"{count} × {reason}" for reason, count in reasons.most_common(8)]
    left = len(reasons) - len(shown)
    return [*shown, f"and {left} other reasons, see structures.csv"] if left > 0 else shown


def _short(system: str) -> str:
    n_elements = system.count("-") + 1
    return system if n_elements <= 8 else f"of {n_elements} elements"


def _named(reference: Mapping[str, Any]) -> str:
    return f"{reference['name']} ({reference['crystals']} crystals)"


def _print(console: Any, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
