"""How a funnel works: what is chosen for a relaxation, how it is relaxed, and when that is given up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from crystalgraph.known.reference_hull import REFERENCE_SETTINGS
from crystalgraph.relax.potentials import DEFAULT
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.screening.choice import RANDOM_SHARE

FINALISTS_BELOW = 0.2
"""eV/atom above the hull: what ends higher is not relaxed further."""

PROTOTYPE_SHARE = 1 / 3
"""Share of the relaxations that goes to known crystals with the requested elements in their place."""

ABORT = ((10, 0.5), (20, 0.3), (50, FINALISTS_BELOW))
"""(step, eV/atom): a relaxation ends when it is further above the hull than this at that step."""


@dataclass(frozen=True, kw_only=True)
class FunnelSettings:
    """How a funnel works.

    Attributes:
        potential: relaxes; as `crystalgraph.relax.potentials.make_calculator` takes it.
        confirm: potentials that relax the finalists further, each on the hull that it gives itself; the rank goes by
            the first.
        limit: most relaxations, >= 1; None means all that have an energy as drawn.
        round_size: relaxations after which the next are chosen anew, by what these gave.
        seed: of the random choice.
        random_share: share of the relaxations chosen at random.
        prototype_share: share of the relaxations that goes to crystals from prototypes, where there are several
            formulas and enough of both kinds; so what is new and what substitution gives are ranked apart.
        first_steps: optimiser steps after which it is chosen what is relaxed; what they give says far more about the
            end than the energy as drawn.
        first_steps_per_relaxation: crystals that take them, for each that is relaxed.
        hold_symmetry: whether the first relaxation keeps the space group; that of the finalists never does.
        abort: (step, eV/atom): a relaxation ends when it is further above the hull than this at that step; under
            pressure, only the last.
        finalists_below: eV/atom; what ends higher above the hull is not relaxed further.
        fmax: largest force at which a relaxation ends, eV/Å.
        final_fmax: the same for the finalists.
        pressure: hydrostatic, GPa; all relaxations and hulls are under it, and what is ranked is the enthalpy.
    """

    potential: str = DEFAULT
    confirm: tuple[str, ...] = ()
    limit: int | None = None
    round_size: int = 8
    seed: int = 0
    random_share: float = RANDOM_SHARE
    prototype_share: float = PROTOTYPE_SHARE
    first_steps: int = 6
    first_steps_per_relaxation: int = 4
    hold_symmetry: bool = True
    abort: tuple[tuple[int, float], ...] = ABORT
    finalists_below: float = FINALISTS_BELOW
    fmax: float = 0.1
    final_fmax: float = 0.05
    pressure: float = 0.0

    @property
    def relaxation(self) -> RelaxSettings:
        """Of what is chosen."""
        return RelaxSettings(
            potential=self.potential,
            fmax=self.fmax,
            abort=self.abort[-1:] if self.pressure else self.abort,  # the first steps only bring the volume there
            hold_symmetry=self.hold_symmetry,
            pressure=self.pressure,
        )

    @property
    def beginning(self) -> RelaxSettings:
        """Of the first steps."""
        return replace(self.relaxation, max_steps=self.first_steps, abort=())

    @property
    def final(self) -> RelaxSettings:
        """Of the finalists."""
        return RelaxSettings(potential=self.potential, fmax=self.final_fmax, saddle_check=True, pressure=self.pressure)

    @property
    def judges(self) -> tuple[str, ...]:
        """All potentials, in the order in which they relax."""
        return (self.potential, *self.confirm)

    @property
    def ranked_by(self) -> str:
        """The potential that the rank of the finalists goes by."""
        return self.judges[:2][-1]

    def confirmation(self, potential: str) -> RelaxSettings:
        """Of the finalists by a potential that confirms: they come from a minimum that is near its own."""
        return RelaxSettings(potential=potential, fmax=self.fmax, pressure=self.pressure)

    def symmetric(self, potential: str) -> RelaxSettings:
        """Of finalists that were moved onto more symmetry than they had."""
        return RelaxSettings(potential=potential, fmax=self.final_fmax, hold_symmetry=True, pressure=self.pressure)

    def reference(self, potential: str) -> RelaxSettings:
        """Of the known phases by a potential."""
        return replace(REFERENCE_SETTINGS, potential=potential, pressure=self.pressure)

    def as_record(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        return {
            "limit": self.limit,
            "pressure": self.pressure,
            "round_size": self.round_size,
            "random_share": self.random_share,
            "prototype_share": self.prototype_share,
            "first_steps": self.first_steps,
            "first_steps_per_relaxation": self.first_steps_per_relaxation,
            "hold_symmetry": self.hold_symmetry,
            "abort": [list(rule) for rule in self.relaxation.abort],
            "fmax": self.fmax,
            "max_steps": self.relaxation.max_steps,
            "finalists_below": self.finalists_below,
            "finalists_fmax": self.final_fmax,
            "seed": self.seed,
        }
