"""What ``cg-generate`` prints at its end: the best candidates, what became of the samples, what a reader must know."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from crystalgraph.relax.hull import METASTABLE
from crystalgraph.report.funnel import funnel_lines

if TYPE_CHECKING:
    from crystalgraph.runs.generate import GenerationResult

SHOWN = 10
"""Candidates that are printed."""

_ANSWERS = {True: "yes", False: "no", None: "–"}


def print_run(result: GenerationResult, folder: Path) -> None:
    """Print the first candidates, the funnel, the caveats, and where everything is."""
    console = Console()
    _lines(console, str(result.request))
    if not result.request.raw and len(result):
        console.print(_candidates(result))
    console.print(_funnel(result))
    remarks = (result.shortfall, *_below(result), *result.record["caveats"])
    _lines(console, *filter(None, remarks), f"written to {folder}")


def _candidates(result: GenerationResult) -> Table:
    """Rank, formula, group, energy or score, agreement, known phase and file of the first candidates."""
    is_relaxed, agreed = result.outcomes is not None, len(result.judges) > 1
    heads = ["#", "formula", "group", "e_above_hull" if is_relaxed else "score"]
    table = Table(*heads, *(["agreed"] if agreed else []), "known as", "file", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in (0, 2, 3):
        table.columns[column].justify = "right"
    table.columns[-1].no_wrap = True
    for place, row in enumerate(result.rows(result.selected[:SHOWN])):
        passed = place < len(result.relaxed)
        number = row["e_above_hull"] if is_relaxed else row["score"]
        group = (row.get("relaxed_space_group") if passed else None) or row["space_group"] or "–"
        table.add_row(
            str(place + 1),
            row["formula"],
            str(group),
            f"{number:.3f}" if isfinite(number) else "–",
            *([_ANSWERS[row["agreed_metastable"]]] if agreed else []),
            _known_as(row, passed),
            row["file"],
        )
    if len(result) > SHOWN:
        table.caption = f"the first {SHOWN} of {len(result)}"
    return table


def _known_as(row: dict[str, Any], passed: bool) -> str:
    prefix = "relaxed_" if passed else ""
    name, distance = row[f"{prefix}known_phase"], row[f"{prefix}known_rmsd"]
    return f"{name} ({distance:.2f} Å)" if name else "–"


def _funnel(result: GenerationResult) -> Table:
    table = Table("", "samples", "")
    table.columns[1].justify = "right"
    for line in funnel_lines(result, result.record):
        name, style = (f"lost: {line.name}", "") if line.is_loss else (line.name, "bold")
        table.add_row(name, str(line.count), line.meaning, style=style)
    return table


def _below(result: GenerationResult) -> list[str]:
    """What lies below the hull, and of which hull that is said."""
    if result.hull is None or result.outcomes is None:
        return []
    rows = result.rows(result.selected[: len(result.relaxed)])
    below = [row for row in rows if row["e_above_hull"] < 0]
    unknown = sum(not row["relaxed_known_phase"] for row in below)
    n_phases = len(result.hull.phases)
    agreed = sum(row["agreed_metastable"] is True for row in rows) if len(result.judges) > 1 else None
    lines = []
    if agreed is not None:
        lines.append(f"{agreed} of {len(rows)} relaxed crystals are metastable (≤ {METASTABLE:g}) by all potentials")
    if below:
        lines.append(
            f"{len(below)} lie below the hull of the {n_phases} known phases of the reference, {unknown} of them not "
            "known to it"
        )
    return lines


def _lines(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
