"""In which order a scientist should look at the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan


def rank(scores: Sequence[float]) -> list[int]:
    """Order by falling score.

    Args:
        scores: one number per candidate, higher is better; NaN where there is none.

    Returns:
        Positions, best first. Equal scores keep their order; candidates without a score come last.
    """
    return sorted(range(len(scores)), key=lambda k: (isnan(scores[k]), -scores[k] if not isnan(scores[k]) else 0.0, k))
