"""What a finished model makes of the templates of crystals that it was never trained on."""

from __future__ import annotations

from typing import Any

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.evaluation.heldout import evaluate_heldout
from crystalgraph.evaluation.rates import Rate
from crystalgraph.models.bundle import Model
from crystalgraph.progress import Progress
from crystalgraph.sampling.filling import fill
from crystalgraph.sampling.sampler import resolve_surrogate_steps
from crystalgraph.sampling.settings import USUAL_SAMPLING
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.batches import step_rng

#: Templates that are filled, and how often.
N_TEMPLATES = 200
N_DRAWS = 20


def one_per_prototype(heldout: ParametrisedTemplates, seed: int) -> ParametrisedTemplates:
    """One crystal, chosen at random, of each held-out prototype with a free parameter."""
    chosen: dict[str, int] = {}
    for index in torch.randperm(len(heldout), generator=step_rng(seed, 20)).tolist():
        if heldout.templates.num_free[index] > 0:
            chosen.setdefault(heldout.prototypes[index], index)
    return heldout[torch.tensor(sorted(chosen.values()), dtype=torch.long)]


def measure_heldout(
    model: Model, heldout: ParametrisedTemplates, seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """How often templates of held-out crystals are filled validly, and as in the real one.

    Args:
        model: finished.
        heldout: crystals that it was not trained on; at most ``N_TEMPLATES`` of them, each of another prototype, are
            taken.
        seed: of that choice and of the draws.
        progress: called after every draw.

    Returns:
        For JSON: counts, the share of strictly valid draws, and the rates of matches within one and ``N_DRAWS`` draws
        (StructureMatcher's default tolerances).
    """
    cases = one_per_prototype(heldout, seed)
    cases = cases[torch.randperm(len(cases), generator=step_rng(seed, 22))[:N_TEMPLATES]]
    if len(cases) == 0:
        return {"templates": 0}
    best_of, surrogate_steps = USUAL_SAMPLING.n_draws, resolve_surrogate_steps(model)

    def fill_once(draw: int) -> Crystals:
        rng = step_rng(seed, 21, draw)
        return fill(model, cases.templates, rng, n_draws=best_of, surrogate_steps=surrogate_steps).crystals

    result = evaluate_heldout(
        fill_once,
        cases.crystals(),
        N_DRAWS,
        progress,
    )
    rates = {
        f"match_{n}": Rate(numerator=int(result.found_within(n).sum()), denominator=len(cases)) for n in (1, N_DRAWS)
    }
    return {
        "templates": len(cases),
        "draws": N_DRAWS,
        "strict": result.strict,
        **{name: {"value": rate.value, "interval": rate.interval} for name, rate in rates.items()},
        "volume_error": result.volume_error,
        "timed_out": result.timed_out,
    }
