"""Histograms: counted once, for the page and for the pictures beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

MAX_BINS, MAX_BARS = 30, 16
"""Bins of a histogram, and bars of a count."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One plot.

    Attributes:
        key: file-safe name.
        title: what is counted.
        axis: label of the horizontal axis, with unit.
        labels: of the bars; empty for a histogram.
        edges: of the bins, one more than there are counts; empty for labelled bars.
        counts: series -> how many in each bin or bar.
        note: one line, empty if there is nothing to say.
    """

    key: str
    title: str
    axis: str
    labels: list[str] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)
    counts: dict[str, list[int]]
    note: str = ""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self)


def histogram(
    key: str, title: str, axis: str, series: Mapping[str, Sequence[float | None]], *, widest: float | None = None
) -> Distribution | None:
    """Count numbers in equal bins.

    Args:
        key: see `Distribution`.
        title: see `Distribution`.
        axis: see `Distribution`.
        series: label -> numbers; None, NaN and infinities are left out.
        widest: numbers above it are counted apart and named in the note.

    Returns:
        The histogram; None where there is no number.
    """
    finite = {name: np.array([v for v in values if v is not None and isfinite(v)]) for name, values in series.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        return None
    shown, notes = {}, []
    for name, values in finite.items():
        shown[name] = values if widest is None else values[values <= widest]
        if cut := len(values) - len(shown[name]):
            notes.append(f"{cut} {name} above {widest:g}")
    everything = np.concatenate(list(shown.values()))
    if not len(everything):
        return None
    low, high = float(everything.min()), float(everything.max())
    n_bins = int(np.clip(np.sqrt(len(everything)) * 2, 6, MAX_BINS))
    step = _round_step((high - low) / n_bins or 0.1)
    first, last = int(np.floor(low / step)), int(np.floor(high / step)) + 1
    edges = [round(k * step, 10) for k in range(first, last + 1)]
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in shown.items()}
    note = f"Not shown: {', '.join(notes)}." if notes else ""
    return Distribution(key=key, title=title, axis=axis, edges=edges, counts=counts, note=note)


def bars(key: str, title: str, axis: str, series: Mapping[str, Sequence[str | None]]) -> Distribution | None:
    """Count labels, the most frequent first.

    Args:
        key: see `Distribution`.
        title: see `Distribution`.
        axis: see `Distribution`.
        series: name -> labels; None is left out. The first series decides the order.

    Returns:
        The bars, at most ``MAX_BARS`` with what is left named in the note; None where there is no label.
    """
    counters = {name: Counter(value for value in values if value is not None) for name, values in series.items()}
    total: Counter[str] = Counter()
    for counts in counters.values():
        total += counts
    if not total:
        return None
    first = next(iter(counters.values()))
    order = sorted(total, key=lambda label: (-first[label], -total[label], _natural(label)))
    labels, left = order[:MAX_BARS], order[MAX_BARS:]
    note = f"And {len(left)} others with {sum(total[label] for label in left)} crystals." if left else ""
    shown = {name: [counter[label] for label in labels] for name, counter in counters.items() if counter}
    return Distribution(key=key, title=title, axis=axis, labels=labels, counts=shown, note=note)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9)))


def _natural(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (0, label)
