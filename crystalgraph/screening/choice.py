"""Which crystals are worth a relaxation, by their energies as drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil, isfinite

import numpy as np

BEST_SHARE, RANDOM_SHARE = 1 / 3, 0.1
"""Share of each composition chosen by its energies, and share of the rest chosen at random."""


def choose(
    e_above_hull: Sequence[float],
    formulas: Sequence[str],
    *,
    best_share: float = BEST_SHARE,
    random_share: float = RANDOM_SHARE,
    seed: int = 0,
    limit: int | None = None,
) -> list[int]:
    """Choose what is worth a relaxation: the best of each composition, and some of the rest at random.

    Args:
        e_above_hull: energy above the hull as drawn, eV/atom; what has none (NaN) is never chosen.
        formulas: reduced formula of each.
        best_share: share of each composition that is chosen by its energies.
        random_share: share of the rest that is chosen at random.
        seed: of the random choice.
        limit: most that are chosen. The share of random ones stays; the best of every composition go before the
            second best of any, and among these the lowest above the hull.

    Returns:
        Positions, the random ones last.
    """
    energetic = [k for k, energy in enumerate(e_above_hull) if isfinite(energy)]
    by_formula: defaultdict[str, list[int]] = defaultdict(list)
    for k in sorted(energetic, key=lambda k: (e_above_hull[k], k)):
        by_formula[formulas[k]].append(k)
    best, rest = [], []
    for members in by_formula.values():
        n_best = ceil(best_share * len(members))
        best += [(place, e_above_hull[k], k) for place, k in enumerate(members[:n_best])]
        rest += members[n_best:]
    n_random = round(random_share * len(rest))
    if limit is not None and len(best) + n_random > limit:
        n_random = round(limit * n_random / (len(best) + n_random))
        best = sorted(best)[: limit - n_random]
    chance = np.random.default_rng(seed).permutation(len(rest))[:n_random]
    return [k for *_, k in sorted(best)] + [sorted(rest)[i] for i in sorted(chance.tolist())]
