"""Raw crystals with the templates they were made from, and what is worked out about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.validity import Validity, strict_validity
from crystalgraph.models.bundle import Model
from crystalgraph.symmetry.template import Templates

GENERATOR, PROTOTYPE, CHILD = "generator", "prototype", "child"
"""Where a raw crystal comes from: filled by the generator; a known crystal with the requested elements in its place; or
derived from a crystal that was found before."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Raw crystals in draw order; whether they are valid and how they score is worked out once, when first asked for.

    Attributes:
        crystals: primitive cells, coordinates in [0, 1), float64, on the CPU.
        templates: of the crystals.
        sources: where each comes from: `GENERATOR`, `PROTOTYPE` or `CHILD`.
        model: what drew and scores them.
        template_score: how likely known crystals make each template of a formula, and whether it is filled by one, in
            units of the score, (n,), float64; None where that has no say.
    """

    crystals: Crystals
    templates: Templates
    sources: Sequence[str]
    model: Model
    template_score: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crystals)

    @property
    def space_group_number(self) -> Tensor:
        """Of the templates, (n,)."""
        return self.templates.space_group_number

    @cached_property
    def template_names(self) -> list[str]:
        """Space group, and Wyckoff letters with the element on each."""
        return self.templates.names()

    @cached_property
    def validity(self) -> Validity:
        """Which are physically possible, and what was measured to tell."""
        return strict_validity(self.crystals)

    @cached_property
    def score(self) -> Tensor:
        """The model's score, higher is better, (n,), float64.

        NaN for what is not strictly valid, whose graph could be of any size, and where the model gives none.
        """
        valid = self.validity.valid
        scores = torch.full((len(self),), torch.nan, dtype=torch.float64)
        if bool(valid.any()):
            scores[valid] = self.model.score(self.crystals[valid], self.space_group_number[valid]).to(scores)
        return scores

    def first(self, n: int) -> Draws:
        """The first n of them, or all if there are fewer."""
        return replace(
            self,
            crystals=self.crystals[:n],
            templates=self.templates[:n],
            sources=self.sources[:n],
            template_score=None if self.template_score is None else self.template_score[:n],
        )
