"""In which order a scientist should look at the candidates."""

from __future__ import annotations

from collections import Counter
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


def rank_by_formula(scores: Sequence[float], formulas: Sequence[str]) -> list[int]:
    """Order by the share of the candidates of the same formula that score higher, at equal share by falling score.

    For scores that order candidates of one formula better than formulas.

    Args:
        scores: one number per candidate, higher is better; NaN where there is none.
        formulas: of the candidates.

    Returns:
        Positions, best first.
    """
    size, ahead = Counter(formulas), Counter[str]()
    by_score, share = rank(scores), {}
    for k in by_score:
        share[k] = ahead[formulas[k]] / size[formulas[k]]
        ahead[formulas[k]] += 1
    return sorted(by_score, key=share.__getitem__)
