"""How well a number that is known before relaxation orders crystals by their energy after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from crystalgraph.evaluation.rates import Rate
from crystalgraph.relax.hull import METASTABLE

MIN_CRYSTALS = 8
"""A formula with fewer crystals says nothing about the order within a formula."""

TOP = 0.1
"""Share of the crystals that is looked at when only the best are."""


def ranking_figures(scores: Sequence[float], e_above_hull: Sequence[float], formulas: Sequence[str]) -> dict[str, Any]:
    """Agreement of scores, higher is better, with energies, lower is better.

    Args:
        scores: known before relaxation.
        e_above_hull: after relaxation, eV/atom.
        formulas: of the crystals.

    Returns:
        Spearman's rank correlation of the score with the negative energy, over all crystals and within formulas (mean
        over formulas, weighted by crystals), and the rate of metastable crystals among the best tenth and among all.
        Crystals without a score or an energy are left out and counted; a correlation that is not defined is None.
    """
    score, energy = np.asarray(scores, float), np.asarray(e_above_hull, float)
    fine = np.isfinite(score) & np.isfinite(energy)
    score, energy, formula = score[fine], energy[fine], np.asarray(formulas)[fine]
    groups = [np.flatnonzero(formula == name) for name in sorted(set(formula.tolist()))]
    within = [(_spearman(score[g], energy[g]), len(g)) for g in groups if len(g) >= MIN_CRYSTALS]
    defined = [(value, n) for value, n in within if value is not None]
    best = np.argsort(-score, kind="stable")[: max(1, int(TOP * len(score)))]
    return {
        "crystals": len(score),
        "left_out": int((~fine).sum()),
        "spearman": _spearman(score, energy),
        "spearman_within_formulas": (
            sum(value * n for value, n in defined) / sum(n for _, n in defined) if defined else None
        ),
        "metastable": _metastable(energy),
        "metastable_of_top_tenth": _metastable(energy[best]),
    }


def _spearman(score: NDArray[np.float64], energy: NDArray[np.float64]) -> float | None:
    if len(score) < 2 or np.ptp(score) == 0 or np.ptp(energy) == 0:
        return None
    return float(spearmanr(score, -energy).statistic)


def _metastable(energy: NDArray[np.float64]) -> dict[str, Any] | None:
    if len(energy) == 0:
        return None
    return Rate(numerator=int((energy <= METASTABLE).sum()), denominator=len(energy)).record()
