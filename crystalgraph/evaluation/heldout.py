"""How well templates that were never trained on are filled: the real crystal of each template is the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.progress import Progress, at_stage

Draw = Callable[[int], Crystals]
"""Called with the number of the draw; fills every template once, in order."""


@dataclass(frozen=True, kw_only=True)
class HeldoutResult:
    """Outcome of filling n templates several times.

    Attributes:
        strict: share of all draws that are strictly valid.
        first_match: the draw at which StructureMatcher first found the real crystal, from 1; 0 where none did, (n,).
        n_draws: draws per template.
        volume_error: median of |V / V_real − 1| over first draws.
        timed_out: comparisons that ran out of time, counted as no match.
    """

    strict: float
    first_match: Tensor
    n_draws: int
    volume_error: float
    timed_out: int

    def found_within(self, n_draws: int) -> Tensor:
        """Whether the real crystal of each template was found within so many draws, (n,), bool."""
        return (self.first_match > 0) & (self.first_match <= n_draws)

    def match_rate(self, n_draws: int) -> float:
        """Share of the templates whose real crystal was found within so many draws."""
        return self.found_within(n_draws).double().mean().item()


def evaluate_heldout(draw: Draw, truth: Crystals, n_draws: int, progress: Progress | None = None) -> HeldoutResult:
    """Fill templates again and again and compare with the real crystals (StructureMatcher, default tolerances).

    Args:
        draw: fills all templates once.
        truth: the real crystals, one per template.
        n_draws: draws per template.
        progress: called after every draw.
    """
    references = [ReferenceIndex([structure]) for structure in to_structures(truth)]
    first = torch.zeros(len(truth), dtype=torch.long)
    n_strict, errors = 0, torch.zeros(0)
    report = at_stage(progress, "draws")
    for number in range(1, n_draws + 1):
        crystals = draw(number)
        validity = strict_validity(crystals)
        n_strict += int(validity.valid.sum())
        if number == 1:
            errors = (crystals.volume / crystals.num_atoms / (truth.volume / truth.num_atoms) - 1).abs()
        open_cases = torch.nonzero((first == 0) & validity.cdvae_valid).flatten().tolist()
        for case, structure in zip(open_cases, to_structures(crystals[open_cases]), strict=True):
            if references[case].find(structure) == 0:
                first[case] = number
        report(number, n_draws)
    return HeldoutResult(
        strict=n_strict / (n_draws * len(truth)),
        first_match=first,
        n_draws=n_draws,
        volume_error=errors.nanmedian().item(),
        timed_out=sum(reference.log.timed_out for reference in references),
    )
