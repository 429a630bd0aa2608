"""The page itself: what it holds, and how it becomes one file that needs nothing else.

Everything that comes from files or users reaches the page escaped: as text through the template, as data through JSON
without ``<``, ``>`` and ``&``. The page's own policy allows its two scripts, by checksum, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.reflections import radiations
from crystalgraph.crystals.space_group_symbols import numbers_by_symbol
from crystalgraph.io.atomic import write_text
from crystalgraph.report.crystal_data import Crystal, KnownPhase, crystal_records, phase_records, safe_json
from crystalgraph.report.notation import formula_html, group_html

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from crystalgraph.report.distributions import Distribution

REPORT = "report.html"

SCRIPTS = (
    *("elements.js", "scene.js", "measure.js", "brush.js", "viewer.js", "pattern.js", "zip.js"),
    *("plot_style.js", "hull.js", "ladder.js", "histograms.js", "powder.js"),
    *("structure.js", "filters.js", "table.js", "report.js"),
)
"""In the page they are one script."""

MAX_ROWS = 2000
"""Rows of the table; what is beyond is counted in a line."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    Attributes:
        key: of the rows' values.
        label: its header.
        meaning: one line, with the unit.
        digits: after the point; None for what is no fraction.
        kind: "number", "text", "formula", "group" or "bool".
        best: "high" where the first click on its header puts large values in front; all else begins with the small.
    """

    key: str
    label: str
    meaning: str = ""
    digits: int | None = None
    kind: str = "number"
    best: str = "low"


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
        ladder: see `crystalgraph.report.ladder.polymorph_ladder`; None where several formulas were asked for.
        columns: of the table, the most important first: where there is little room the last are left out of sight.
        rows: of the table; those that can be looked at have the position of their crystal under "crystal".
        n_rows: how many there are with those that the table leaves out.
        rows_file: where all of them are.
        crystals: those that can be looked at.
        phases: known phases that these are compared with.
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
    ladder: dict[str, Any] | None = None
    columns: list[Column]
    rows: list[dict[str, Any]]
    n_rows: int
    rows_file: str
    crystals: list[Crystal]
    phases: list[KnownPhase] = field(default_factory=list)
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

    plotly, script = get_plotlyjs(), "\n".join(_asset(name) for name in SCRIPTS)
    crystals = crystal_records(page.crystals)
    data = {
        "hull": page.hull,
        "ladder": page.ladder,
        "distributions": [plot.record() for plot in page.distributions],
        "crystals": crystals,
        "phases": phase_records(page.phases),
        "radiations": radiations(),
        "groups": {symbol.lower(): number for symbol, number in numbers_by_symbol().items()},
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
            ratio_example=_ratio_example(page),
            data=_trusted(safe_json(data)),
        )
    )


def _ratio_example(page: Page) -> str:
    """A filter by the ratio of two elements, such as "O/Nb>=2"; of the crystal in front that has two."""
    for crystal in page.crystals:
        symbols = re.findall(r"[A-Z][a-z]?", crystal.formula)
        if len(symbols) > 1:
            return f"{symbols[-1]}/{symbols[0]}>=2"
    return "O/Nb>=2"


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
