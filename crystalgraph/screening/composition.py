"""The composition filter of a request: its system and formula, and what known chemistry finds plausible."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from crystalgraph.chemistry.filter import CompositionFilter
from crystalgraph.chemistry.plausibility import Plausibility
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.io.datasets import load_dataset, read_card
from crystalgraph.screening.request import GenerationRequest

KNOWN = "corpus"
"""The dataset whose compositions count as known; those of the asked system are left out of the fit."""


def composition_filter(request: GenerationRequest) -> CompositionFilter:
    """Everything that a composition must meet for a request.

    Where no formula is requested the plausibility has a say, which is fitted in seconds, once per system.
    """
    return CompositionFilter(
        system=request.system,
        formula=request.formula,
        ranges=request.ranges,
        plausibility=None if request.formula else plausibility(request.system),
    )


@lru_cache(maxsize=8)
def plausibility(system: ChemicalSystem) -> Plausibility:
    """The plausibility of compositions of a system, learned from all others."""
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
