"""The main plots as PNG and SVG, for slides and papers; the same numbers give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.io.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crystalgraph.report.distributions import Distribution

FOLDER = "plots"

ACCENT, SECOND, KNOWN, BARS, INK = "#0a6c8f", "#b5522b", "#7b8794", "#c3ccd4", "#16191d"

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "crystalgraph",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": KNOWN,
    "mathtext.default": "regular",
}


def write_plots(folder: Path, hull: dict[str, Any] | None, distributions: Sequence[Distribution]) -> list[Path]:
    """Write ``plots/hull`` and ``plots/distributions`` as PNG and SVG, those that there is something for.

    Args:
        folder: of the run.
        hull: as `crystalgraph.report.hull_picture.hull_picture` gives it.
        distributions: the histograms.

    Returns:
        The files written.
    """
    from matplotlib import rc_context

    written: list[Path] = []
    with rc_context(_STYLE):
        figures = {}
        if hull is not None:
            figures["hull"] = _hull(hull)
        if distributions:
            figures["distributions"] = _distributions(distributions)
        for name, figure in figures.items():
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once for both
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
                path = folder / FOLDER / f"{name}.{kind}"
                write_bytes(path, buffer.getvalue())
                written.append(path)
    return written


def _hull(hull: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    ternary = len(hull["elements"]) == 3
    figure = Figure(figsize=(6.4, 5.2 if ternary else 4.2), layout="constrained")
    axes = figure.subplots()

    def place(point: dict[str, Any]) -> tuple[float, float]:
        if not ternary:
            return point["fractions"][1], point["e_form"]
        _, right, top = point["fractions"]
        return right + top / 2, top * 3**0.5 / 2

    known, edges, low = hull["known"], hull["edges"], hull["metastable"]
    for i, j in edges:
        (x0, y0), (x1, y1) = place(known[i]), place(known[j])
        axes.plot([x0, x1], [y0, y1], color=KNOWN, linewidth=1.2, zorder=1)
    stable = {k for edge in edges for k in edge}
    others = [place(phase) for k, phase in enumerate(known) if k not in stable]
    spanning = [place(known[k]) for k in sorted(stable)]
    axes.scatter(*_columns(others), s=22, facecolors="none", edgecolors=KNOWN, linewidths=0.9, label="known phases")
    axes.scatter(*_columns(spanning), s=26, marker="s", color=KNOWN, label="on the hull", zorder=2)
    for is_low, color in ((True, ACCENT), (False, SECOND)):
        points = [place(point) for point in hull["candidates"] if (point["e_above_hull"] <= low) is is_low]
        if points:
            label = f"candidates at most {low:g} eV/atom above" if is_low else "candidates further above"
            axes.scatter(
                *_columns(points), s=34, color=color, edgecolors="white", linewidths=0.7, label=label, zorder=3
            )
    if ternary:
        for k, (side, offset) in enumerate((("top", -6), ("top", -6), ("bottom", 6))):
            corner = place({"fractions": [float(k == n) for n in range(3)]})
            shift: dict[str, Any] = {"xytext": (0, offset), "textcoords": "offset points"}
            axes.annotate(hull["elements"][k], corner, **shift, ha="center", va=side, color=INK)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.legend(frameon=False, loc="upper left", fontsize=8)
        return figure
    left, right = hull["elements"]
    axes.axhline(0, color=KNOWN, linewidth=0.6)
    axes.set(xlabel=f"x in {left}$_{{1-x}}${right}$_x$", ylabel="formation energy (eV/atom)", xlim=(-0.03, 1.03))
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2, fontsize=8)
    return figure


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _distributions(plots: Sequence[Distribution]) -> Figure:
    from matplotlib.figure import Figure

    n_rows = (len(plots) + 1) // 2
    figure = Figure(figsize=(8.0, 2.7 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, 2, squeeze=False).flatten()
    for axes, plot in zip(grid, plots, strict=False):
        _bars(axes, plot)
    for axes in grid[len(plots) :]:
        axes.set_axis_off()
    return figure


def _bars(axes: Axes, plot: Distribution) -> None:
    several = len(plot.counts) > 1
    for number, (name, counts) in enumerate(plot.counts.items()):
        color = ACCENT if name == "relaxed" or not several else BARS
        if plot.labels:
            width = 0.8 / len(plot.counts)
            places = [k + (number - (len(plot.counts) - 1) / 2) * width for k in range(len(counts))]
            axes.bar(places, counts, width=width, color=color, label=name)
        else:
            axes.stairs(counts, plot.edges, fill=True, color=color, alpha=0.8 if color == ACCENT else 1, label=name)
    if plot.labels:
        texts = [re.sub(r"(?<=[A-Za-z)])(\d+)", r"$_{\1}$", label) for label in plot.labels]
        axes.set_xticks(range(len(texts)), texts, rotation=90 if len(texts) > 8 else 0, fontsize=7)
    axes.set_title(plot.title, fontsize=9, loc="left")
    axes.set(xlabel=plot.axis, ylabel="crystals")
    if several:
        axes.legend(frameon=False, fontsize=8)
