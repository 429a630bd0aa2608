"""How a funnel works: what is chosen for a relaxation, how it is relaxed, and when that is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crystalgraph.relax.calculator import CHGNET
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.screening.choice import BEST_SHARE, RANDOM_SHARE

ABORT = ((10, 0.5), (20, 0.25), (50, 0.15))
"""(step, eV/atom): a relaxation ends when it is further above the hull than this at that step."""


@dataclass(frozen=True, kw_only=True)
class FunnelSettings:
    """How a funnel works.

    Attributes:
        calculator: as `crystalgraph.relax.calculator.make_calculator` takes it.
        limit: most relaxations, >= 1; None leaves it to the shares.
        seed: of the random choice.
        best_share: share of each composition chosen by its energies as drawn.
        random_share: share of the rest chosen at random.
        abort: (step, eV/atom): a relaxation ends when it is further above the hull than this at that step.
        finalists_below: eV/atom; what ends higher above the hull is not relaxed further.
        fmax: largest force at which a relaxation ends, eV/Å.
        final_fmax: the same for the finalists.
    """

    calculator: str = CHGNET
    limit: int | None = None
    seed: int = 0
    best_share: float = BEST_SHARE
    random_share: float = RANDOM_SHARE
    abort: tuple[tuple[int, float], ...] = ABORT
    finalists_below: float = ABORT[-1][1]
    fmax: float = 0.1
    final_fmax: float = 0.05

    @property
    def relaxation(self) -> RelaxSettings:
        """Of what is chosen."""
        return RelaxSettings(calculator=self.calculator, fmax=self.fmax, abort=self.abort)

    @property
    def final(self) -> RelaxSettings:
        """Of the finalists."""
        return RelaxSettings(calculator=self.calculator, fmax=self.final_fmax, saddle_check=True)

    def as_record(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        return {
            "limit": self.limit,
            "best_share": self.best_share,
            "random_share": self.random_share,
            "abort": [list(rule) for rule in self.abort],
            "fmax": self.fmax,
            "max_steps": self.relaxation.max_steps,
            "finalists_below": self.finalists_below,
            "finalists_fmax": self.final_fmax,
            "seed": self.seed,
        }
