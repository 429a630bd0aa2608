"""What ``cg-generate`` says: the work to expect, and at the end the best candidates, the funnel, what one must know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from crystalgraph.relax.hull import METASTABLE
from crystalgraph.report.funnel import funnel_lines
from crystalgraph.runs.generation_result import GenerationResult, known_as
from crystalgraph.screening.descent import LOWER
from crystalgraph.screening.outcome import RELAXED

WIDE = 100
"""Columns of a terminal in which columns have their whole names and more room between them."""

_ANSWERS = {True: "yes", False: "no", None: "–"}


def summary(result: GenerationResult, folder: Path) -> dict[str, Any]:
    """What the table says, for programs.

    Returns:
        ``folder``, ``request``; ``candidates``, the first of them, see
        `crystalgraph.runs.generation_result.GenerationResult.best`; ``n_candidates``; ``funnel``; ``remarks``, one line
        each.
    """
    return {
        "folder": str(folder),
        "request": str(result.request),
        "candidates": [] if result.request.raw else result.best(),
        "n_candidates": len(result),
        "funnel": _funnel(result),
        "remarks": [
            line for line in (_order(result), result.shortfall, *_energies(result), *result.record["caveats"]) if line
        ],
    }


def _order(result: GenerationResult) -> str:
    """What decides beside the score which candidate comes first; empty where nothing does."""
    if result.request.raw or not any(sample.template_score for sample in result.selected):
        return ""
    return "ranked by the score and by what known crystals say of the template, see template_score in candidates.csv"


def print_summary(said: dict[str, Any]) -> None:
    """Print the first candidates, the funnel, the remarks, and where everything is."""
    console = Console()
    _lines(console, said["request"])
    if said["candidates"]:
        console.print(_table(said, is_wide=console.width >= WIDE))
    _lines(console, said["funnel"], *said["remarks"], f"written to {said['folder']}")


def _table(said: dict[str, Any], *, is_wide: bool) -> Table:
    """The candidates; only what they are known as may take several lines."""
    first = said["candidates"][0]
    number = "e_above_hull" if "e_above_hull" in first else "score"
    numbers = number if is_wide or number == "score" else "e_hull"
    heads = [
        "#",
        "formula",
        "group",
        numbers,
        *(["match"] if "pattern_similarity" in first else []),
        *(["agreed"] if "agreed" in first else []),
        "known as",
        "file",
    ]
    table = Table(*heads, box=SIMPLE_HEAD, padding=(0, int(is_wide), 0, 0))
    for column in table.columns:
        column.no_wrap = column.header != "known as"
        column.overflow = "fold"
        column.justify = "right" if column.header in ("#", numbers, "match") else "left"
    for row in said["candidates"]:
        distance = f" ({row['known_rmsd']:.2f} Å)" if row["known_phase"] else ""
        table.add_row(
            str(row["rank"]),
            row["formula"],
            row["symbol"] or "–",
            _number(row[number]),
            *([_number(row["pattern_similarity"])] if "pattern_similarity" in row else []),
            *([_ANSWERS[row["agreed"]]] if "agreed" in row else []),
            (known_as(row) or "–") + distance,
            row["file"],
        )
    if said["n_candidates"] > len(said["candidates"]):
        order = "" if number == "score" else "; relaxed ones first, then by energy as drawn"
        table.caption = f"the first {len(said['candidates'])} of {said['n_candidates']}{order}"
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _funnel(result: GenerationResult) -> str:
    """Samples drawn, lost and left, in one line."""
    parts: list[str] = []
    lost: list[str] = []
    for line in funnel_lines(result, result.record):
        if line.is_loss:
            lost.append(f"{line.count} {line.name}")
            continue
        parts.append(f"{line.count} {line.name}" + (f" (lost: {', '.join(lost)})" if lost else ""))
        lost = []
    return " → ".join(parts)


def _energies(result: GenerationResult) -> list[str]:
    """Why a search with energies ended, how many are metastable, and how many lie below which hull."""
    if result.hull is None or result.outcomes is None:
        return []
    rows = result.rows(result.selected[: len(result.relaxed)])
    below = [row for row in rows if row["e_above_hull"] < -LOWER]
    unknown = sum(not row["relaxed_known_phase"] for row in below)
    n_phases = len(result.hull.phases)
    relaxed = [outcome for outcome in result.outcomes.values() if outcome.funnel_status == RELAXED]
    lines = [f"the search ended: {result.record['search']['stopped']}"]
    if len(result.judges) > 1:
        agreed = sum(outcome.agreed_metastable is True for outcome in relaxed)
        lines.append(f"{agreed} of {len(relaxed)} relaxed crystals are metastable (≤ {METASTABLE:g}) by all potentials")
    if below:
        lines.append(
            f"{len(below)} lie below the hull of the {n_phases} known phases of the reference, {unknown} of them not "
            "known to it"
        )
    return lines


def _lines(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
