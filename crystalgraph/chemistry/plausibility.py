"""Does a composition look like known chemistry? A classifier of known against made-up stoichiometries.

Known compositions are those of a corpus, without the system that is asked for. Made-up ones hold the same elements,
with the counts of another known composition in random order, or with counts drawn evenly from 1 to 9; so the elements
alone, or the counts alone, tell nothing. The model is fitted anew in seconds: nothing is stored, hence nothing can be
stale or unsafe to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.features import composition_features
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError

KEPT_SHARE = 0.95
"""Share of known compositions from unseen chemical systems that the threshold keeps."""

_HELD_OUT = 0.2  # share of chemical systems kept from the fit, for the threshold and the AUC
_ENOUGH = 500  # with fewer known compositions of the asked number of elements, all numbers are used
_LARGEST_COUNT = 9


@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """A fitted classifier.

    Attributes:
        system: the chemical system that was left out of the fit.
        threshold: scores below it are implausible.
        auc: area under the ROC curve on chemical systems kept from the fit, known against made-up.
        n_known: known compositions used, held-out ones included.
        n_excluded: known compositions left out because they are of ``system``.
        model: the scikit-learn classifier.
    """

    system: ChemicalSystem
    threshold: float
    auc: float
    n_known: int
    n_excluded: int
    model: Any

    @classmethod
    def fit(
        cls, known: Sequence[Formula], *, system: ChemicalSystem, seed: int = 0, max_known: int = 6000
    ) -> Plausibility:
        """Learn from known compositions.

        Args:
            known: compositions of known crystals, copies allowed; those of ``system`` are not used.
            system: the chemical system that is asked for.
            seed: of the made-up compositions and of what is held out.
            max_known: more known compositions than this are sampled.

        Raises:
            InputError: if fewer than 50 compositions are left to learn from.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score

        unique = sorted(set(known), key=lambda formula: formula.counts)
        compounds = [formula for formula in unique if len(formula.counts) > 1 and formula.system != system]
        usable = [formula for formula in compounds if len(formula.counts) == len(system)]
        usable = usable if len(usable) >= _ENOUGH else compounds
        if len(usable) < 50:
            raise InputError(
                f"only {len(usable)} known compositions outside {system}; at least 50 are needed to learn what is "
                "plausible, so give a larger corpus or switch the plausibility off"
            )
        rng = np.random.default_rng(seed)
        if len(usable) > max_known:
            usable = [usable[k] for k in np.sort(rng.choice(len(usable), max_known, replace=False))]

        systems = sorted({formula.system.key for formula in usable})
        apart = set(rng.permutation(systems)[: max(1, round(_HELD_OUT * len(systems)))].tolist())
        parts = [[f for f in usable if (f.system.key in apart) == held_out] for held_out in (False, True)]
        (x, y), (x_held, y_held) = (_with_made_up(part, set(unique), rng) for part in parts)
        model = HistGradientBoostingClassifier(max_iter=200, max_leaf_nodes=15, class_weight="balanced", random_state=0)
        model.fit(x, y)
        scores = model.predict_proba(x_held)[:, 1]
        return cls(
            system=system,
            threshold=float(np.quantile(scores[y_held == 1], 1 - KEPT_SHARE)),
            auc=float(roc_auc_score(y_held, scores)),
            n_known=len(usable),
            n_excluded=sum(formula.system == system for formula in unique),
            model=model,
        )

    def score(self, formulas: Sequence[Formula]) -> NDArray[np.float64]:
        """Probability of being known rather than made up, were both equally frequent, (n_formulas,), 0 to 1."""
        if not formulas:
            return np.empty(0)
        probabilities: NDArray[np.float64] = self.model.predict_proba(composition_features(formulas))[:, 1]
        return probabilities


def _with_made_up(
    known: Sequence[Formula], all_known: set[Formula], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features and labels (1 known, 0 made up) of known compositions and of made-up ones of the same elements."""
    donors: dict[int, list[Formula]] = {}
    for formula in known:
        donors.setdefault(len(formula.counts), []).append(formula)
    made_up: list[Formula] = []
    for formula in known:
        symbols = formula.system.elements
        same_size = donors[len(symbols)]
        donor = same_size[rng.integers(len(same_size))]
        shuffled = rng.permutation([count for _, count in donor.counts])
        even = rng.integers(1, _LARGEST_COUNT + 1, size=len(symbols))
        for counts in (shuffled, even):
            made_up.append(Formula.from_counts(dict(zip(symbols, counts.tolist(), strict=True))))
    made_up = [formula for formula in made_up if formula not in all_known]
    labels = np.repeat([1, 0], [len(known), len(made_up)])
    return composition_features([*known, *made_up]), labels
