"""Which crystals are worth a relaxation next, by their energies as drawn and by what the run's own relaxations gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crystalgraph.relax.hull import METASTABLE

RANDOM_SHARE = 0.1
"""Share of each round chosen at random, so that what the energy as drawn misjudges has a chance."""

WORTH_BELOW = 0.2
"""eV/atom above the hull; becoming the lowest of its formula is worth something to a crystal that ends below this."""

SLOPE, SPREAD, PRIOR_WEIGHT = 0.5, 0.15, 5.0
"""What is expected before anything is relaxed: the share of the energy above the hull that is left after a relaxation,
and the standard deviation, eV/atom; and for how many relaxations that counts."""

SLOPE_LATER, SPREAD_LATER = 0.9, 0.05
"""The same once the first steps are taken."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Energies above the hull after relaxation, as a straight line in those as drawn.

    Attributes:
        slope: of the line.
        intercept: eV/atom.
        spread: standard deviation about it, eV/atom.
    """

    slope: float = SLOPE
    intercept: float = 0.0
    spread: float = SPREAD

    @classmethod
    def of(
        cls, unrelaxed: Sequence[float], relaxed: Sequence[float], slope: float = SLOPE, spread: float = SPREAD
    ) -> Expectation:
        """Fit by ridge regression towards what is expected before anything is known.

        Args:
            unrelaxed: eV/atom above the hull as drawn, or after the first steps.
            relaxed: of the same crystals after relaxation, or after the first steps.
            slope: expected before anything is known.
            spread: the same, eV/atom.
        """
        if not len(unrelaxed):
            return cls(slope=slope, spread=spread)
        x, y = np.asarray(unrelaxed, dtype=np.float64), np.asarray(relaxed, dtype=np.float64)
        design = np.stack([x, np.ones_like(x)], 1)
        # the penalty counts as PRIOR_WEIGHT relaxations of crystals 0.5 eV/atom above the hull
        penalty = PRIOR_WEIGHT * np.diag([0.25, 1.0])
        change = np.linalg.solve(design.T @ design + penalty, design.T @ (y - slope * x))
        error = y - slope * x - design @ change
        fitted = np.sqrt((PRIOR_WEIGHT * spread**2 + error @ error) / (PRIOR_WEIGHT + len(x)))
        return cls(slope=slope + float(change[0]), intercept=float(change[1]), spread=float(fitted))

    def chance_below(self, unrelaxed: NDArray[np.float64], limit: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Probability that each crystal ends below a limit, eV/atom above the hull."""
        expected = self.intercept + self.slope * unrelaxed
        return np.asarray(ndtr((limit - expected) / self.spread))


def choose(
    e_above_hull: Sequence[float],
    formulas: Sequence[str],
    n: int,
    *,
    expectation: Expectation,
    lowest: Mapping[str, float],
    rng: np.random.Generator,
    random_share: float = RANDOM_SHARE,
) -> list[int]:
    """Choose the next crystals to relax.

    A crystal is worth the chance that it ends metastable, and the chance that it becomes the lowest of its formula.
    What is chosen of a formula counts as relaxed to what is expected of it, so that its next ones are worth less.

    Args:
        e_above_hull: as drawn, eV/atom, finite.
        formulas: reduced formula of each.
        n: how many.
        expectation: of the relaxations.
        lowest: eV/atom above the hull of the lowest relaxed crystal of each formula.
        rng: makes the random choices.
        random_share: share of them that is chosen at random.

    Returns:
        Positions, the random ones last.
    """
    energies = np.asarray(e_above_hull, dtype=np.float64)
    n = min(n, len(energies))
    n_random = min(round(random_share * n), len(energies) - n)
    metastable = expectation.chance_below(energies, METASTABLE)
    record = dict(lowest)
    chosen: list[int] = []
    left = np.lexsort([np.arange(len(energies)), energies]).tolist()
    while len(chosen) < n - n_random:
        limits = np.array([min(record.get(formulas[k], inf), WORTH_BELOW) for k in left])
        worth = metastable[left] + expectation.chance_below(energies[left], limits)
        best = left.pop(int(np.argmax(worth)))
        chosen.append(best)
        expected = expectation.intercept + expectation.slope * float(energies[best])
        record[formulas[best]] = min(record.get(formulas[best], inf), expected)
    picked = rng.permutation(len(left))[:n_random]
    return chosen + [sorted(left)[i] for i in sorted(picked.tolist())]
