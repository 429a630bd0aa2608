"""The page itself: what it holds, and how it becomes one file that needs nothing else.

Everything that comes from files or users reaches the page escaped: as text through the template, as data through JSON
without ``<``, ``>`` and ``&``. The page's own policy allows its two scripts, by checksum, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.io.atomic import write_text
from crystalgraph.report.notation import formula_html, group_html

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from pymatgen.core import Structure

    from crystalgraph.report.distributions import Distribution

REPORT = "report.html"

MAX_CRYSTALS, MAX_ROWS = 200, 2000
"""Crystals that can be looked at, and rows of the table; what is beyond is counted in a line."""

MAX_CRYSTAL_BYTES = 5_000_000
"""Of all crystals together, so that the page stays below 12 MB."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    Attributes:
        key: of the rows' values.
        label: its header.
        meaning: one line, with the unit.
        digits: after the point; None for what is no fraction.
        kind: "number", "text", "formula", "group" or "bool".
    """

    key: str
    label: str
    meaning: str = ""
    digits: int | None = None
    kind: str = "number"


@dataclass(frozen=True, kw_only=True)
class FunnelLine:
    """A line of the funnel.

    Attributes:
        name: of the filter or stage.
        count: crystals that were lost there, or that are left.
        is_loss: which of the two.
        meaning: one line.
        reasons: the most frequent reasons, with their counts.
    """

    name: str
    count: int
    is_loss: bool = False
    meaning: str = ""
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class MetricLine:
    """A metric.

    Attributes:
        name: of the metric.
        value: as text; empty if it is absent.
        interval: 95 %, 0 to 1; None for what is no rate.
        share: the rate, 0 to 1; None for what is none.
        counts: numerator and denominator, or how many it was made from.
        absent: why there is none.
    """

    name: str
    value: str = ""
    interval: tuple[float, float] | None = None
    share: float | None = None
    counts: str = ""
    absent: str = ""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One state of a crystal: as drawn, or relaxed.

    Attributes:
        label: which.
        structure: what is drawn; None if nothing can be.
        file: its file, relative to the folder; empty if there is none.
        text: content of the file, or what it would be.
        kind: of the text, "CIF" or "POSCAR".
    """

    label: str
    structure: Structure | None
    file: str = ""
    text: str = ""
    kind: str = "CIF"


@dataclass(frozen=True, kw_only=True)
class Crystal:
    """A crystal that can be looked at.

    Attributes:
        name: of the candidate.
        formula: such as "Nb2O5".
        facts: label and text; what the table has no room for.
        versions: the one to show first in front.
    """

    name: str
    formula: str
    facts: list[tuple[str, str]]
    versions: list[Version]


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a page shows, in its order.

    Attributes:
        title: of the page; a chemical system.
        kind: what was run.
        lead: one sentence: what was asked.
        figures: the few numbers that matter, each with its words.
        unit: what the funnel counts.
        funnel: from samples to what is left.
        funnel_note: one line, empty if there is nothing to say.
        metrics: group, what its rates are of, and its lines.
        hull: see `crystalgraph.report.hull_picture.hull_picture`; None if there is none.
        hull_note: caption, or why there is no hull.
        columns: of the table.
        rows: of the table; those that can be looked at have the position of their crystal under "crystal".
        n_rows: how many there are with those that the table leaves out.
        rows_file: where all of them are.
        crystals: those that can be looked at.
        distributions: the histograms.
        missing: what is not on the page, and why.
        record: title, and pairs of label and value.
        caveats: what a reader must know.
    """

    title: str
    kind: str
    lead: str
    figures: list[tuple[str, str]]
    unit: str
    funnel: list[FunnelLine]
    funnel_note: str = ""
    metrics: list[tuple[str, str, list[MetricLine]]] = field(default_factory=list)
    hull: dict[str, Any] | None = None
    hull_note: str = ""
    columns: list[Column]
    rows: list[dict[str, Any]]
    n_rows: int
    rows_file: str
    crystals: list[Crystal]
    distributions: list[Distribution] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    record: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


def write_page(folder: Path, page: Page) -> Path:
    """Write ``report.html``, and its plots beside it, into a folder.

    Args:
        folder: that of the run.
        page: what to show.

    Returns:
        The page's path. The same page gives the same bytes.
    """
    from crystalgraph.report.plots import write_plots

    write_plots(folder, page.hull, page.distributions)
    path = folder / REPORT
    write_text(path, render(page))
    return path


def render(page: Page) -> str:
    """The page as HTML: one document with its styles, scripts and data inside."""
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _asset("report.js")
    crystals = _crystals(page.crystals)
    data = {
        "hull": page.hull,
        "distributions": [plot.record() for plot in page.distributions],
        "crystals": crystals,
    }
    return (
        _environment()
        .get_template("report.html")
        .render(
            page=page,
            columns=[column for column in page.columns if any(_known(row.get(column.key)) for row in page.rows)],
            shown=[crystal is not None for crystal in crystals],
            style=_trusted(_asset("report.css")),
            plotly=_trusted(plotly),
            script=_trusted(script),
            policy=f"{_policy(plotly)} {_policy(script)}",
            data=_trusted(_safe_json(data)),
        )
    )


def _crystals(crystals: Sequence[Crystal]) -> list[dict[str, Any] | None]:
    """For JSON; None for those that there is no room for."""
    found: list[dict[str, Any] | None] = []
    left = MAX_CRYSTAL_BYTES
    for crystal in crystals[:MAX_CRYSTALS]:
        if left < 0:
            break
        content = {
            "name": crystal.name,
            "formula": crystal.formula,
            "facts": crystal.facts,
            "versions": [_version(version) for version in crystal.versions],
        }
        left -= len(_safe_json(content))
        found.append(content if left >= 0 else None)
    return found + [None] * (len(crystals) - len(found))


def _version(version: Version) -> dict[str, Any]:
    from crystalgraph.report.drawing import MAX_ATOMS, conventional, powder_pattern, scene

    content: dict[str, Any] = {
        "label": version.label,
        "file": version.file,
        "text": version.text,
        "kind": version.kind,
        "scene": None,
        "pattern": None,
    }
    structure = version.structure
    if structure is not None and len(structure) <= MAX_ATOMS:
        cell, matrix = conventional(structure)
        content |= {"scene": scene(cell), "pattern": powder_pattern(structure, matrix), "cell": _cell_facts(cell)}
    return content


def _cell_facts(cell: Structure) -> list[tuple[str, str]]:
    a, b, c = cell.lattice.abc
    alpha, beta, gamma = cell.lattice.angles
    return [
        ("a, b, c", f"{a:.3f}, {b:.3f}, {c:.3f} Å"),
        ("α, β, γ", f"{alpha:.2f}, {beta:.2f}, {gamma:.2f}°"),
        ("cell drawn", f"{len(cell)} atoms, {cell.volume:.1f} Å³, {cell.density:.2f} g/cm³"),
    ]


def _cell_text(value: Any, column: Column) -> Markup | str:
    """A cell of the table."""
    if not _known(value):
        return ""
    if column.kind == "formula":
        return formula_html(value)
    if column.kind == "group":
        return group_html(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and column.digits is not None:
        return f"{value:.{column.digits}f}".replace("-", "−")
    return str(value)


def _sort_key(value: Any) -> str:
    if not _known(value):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _known(value: Any) -> bool:
    return not (value is None or value == "" or (isinstance(value, float) and not isfinite(value)))


def _safe_json(content: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(script: str) -> str:
    """A script as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _trusted(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"formula": formula_html, "cell": _cell_text, "sort_key": _sort_key}
    return environment
