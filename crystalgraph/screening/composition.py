"""The composition filter of a request: its system and formula, and what known chemistry finds plausible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.filter import CompositionFilter
from crystalgraph.chemistry.plausibility import Plausibility
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.io.datasets import load_dataset, read_card
from crystalgraph.io.kept import kept
from crystalgraph.io.provenance import code_checksum, versions
from crystalgraph.screening.request import GenerationRequest

KNOWN = "corpus"
"""The dataset whose compositions count as known; those of the asked system are left out of the fit."""


def composition_filter(
    request: GenerationRequest, formulas: Sequence[str] = (), folder: Path | None = None
) -> CompositionFilter:
    """Everything that a composition must meet for a request.

    Where no formula is requested the plausibility has a say, which is fitted in seconds, once per system.

    Args:
        request: what is wanted.
        formulas: that are to be expected.
        folder: keeps the plausibility of these, so that the next run need not fit; None keeps nothing.
    """
    return CompositionFilter(
        system=request.system,
        formula=request.formula,
        ranges=request.ranges,
        plausibility=None if request.formula else plausibility(request.system, formulas, folder),
    )


def plausibility(system: ChemicalSystem, formulas: Sequence[str] = (), folder: Path | None = None) -> Plausibility:
    """The plausibility of compositions of a system, learned from all others; see `composition_filter`."""
    if folder is None:
        return _fitted(system)
    formulas = sorted(set(formulas))

    def fitted() -> dict[str, Any]:
        own = _fitted(system)
        figures = {name: getattr(own, name) for name in ("threshold", "auc", "n_known", "n_excluded")}
        return figures | {"scores": own.score([Formula.parse(formula) for formula in formulas]).tolist()}

    depends_on = {
        "system": str(system),
        "formulas": formulas,
        "dataset": read_card(KNOWN)["sha256"],
        "code": code_checksum("chemistry"),
        "versions": versions(),
    }
    figures = kept(folder, depends_on, fitted)
    scores = dict(zip(map(Formula.parse, formulas), figures.pop("scores"), strict=True))
    return _KeptPlausibility(system=system, model=None, scores=scores, **figures)


@dataclass(frozen=True, kw_only=True)
class _KeptPlausibility(Plausibility):
    """Scores of some formulas; for any other the classifier is fitted after all."""

    scores: Mapping[Formula, float]

    def score(self, formulas: Sequence[Formula]) -> NDArray[np.float64]:
        if all(formula in self.scores for formula in formulas):
            return np.array([self.scores[formula] for formula in formulas])
        return _fitted(self.system).score(formulas)


@lru_cache(maxsize=8)
def _fitted(system: ChemicalSystem) -> Plausibility:
    known = load_dataset(KNOWN).columns["formula"].tolist()
    return Plausibility.fit([Formula.parse(formula) for formula in set(known)], system=system)


def as_record(composition: CompositionFilter) -> dict[str, Any]:
    """What the plausibility was learned from and how well it does, in JSON's types."""
    fitted = composition.plausibility
    if fitted is None:
        return {"plausibility": None}
    return {
        "plausibility": {
            "dataset": KNOWN,
            "sha256": read_card(KNOWN)["sha256"],
            "known_compositions": fitted.n_known,
            "left_out_of_the_system": fitted.n_excluded,
            "threshold": round(fitted.threshold, 4),
            "auc": round(fitted.auc, 4),
        }
    }
