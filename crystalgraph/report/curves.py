"""How a training went, as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crystalgraph.io.atomic import write_bytes

SHOWN = ("prior", "distance", "volume", "shape", "repulsion", "energy")
"""Loss terms that are drawn, where the log has them."""


def draw_curves(rows: Sequence[Mapping[str, Any]], steps_a_row: int, path: Path) -> None:
    """Draw loss and validity against the step, as PNG; dotted lines where phases begin.

    Args:
        rows: of the log.
        steps_a_row: steps that a row is the mean of.
        path: the file.
    """
    from matplotlib.figure import Figure

    frame = pd.DataFrame(list(rows))
    x = range(steps_a_row, steps_a_row * len(frame) + 1, steps_a_row)
    shown = [name for name in SHOWN if name in frame]
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for name in shown:
        upper.plot(x, frame[name], label=name, linewidth=1.2)
    upper.set(ylabel="loss terms", yscale="log")
    upper.legend(frameon=False, ncols=3)
    if "validity" in frame:
        known = frame["validity"].notna()
        lower.plot([v for v, k in zip(x, known, strict=True) if k], frame["validity"][known], "o-", markersize=3)
    lower.set(xlabel="step", ylabel="strictly valid, held-out templates", ylim=(0, 1.02))
    begins = frame.index[frame["phase"].ne(frame["phase"].shift())]
    for k, row in enumerate(begins.tolist()):
        for axis in (upper, lower):
            axis.axvline(steps_a_row * row, color="grey", linestyle=":", linewidth=1)
        height = 0.03 + 0.07 * (k % 2)  # short phases stand close
        name = f" {frame['phase'][row]}"
        lower.text(steps_a_row * row, height, name, transform=lower.get_xaxis_transform(), color="grey")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(path, buffer.getvalue())
