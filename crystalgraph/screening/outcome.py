"""The stages of the funnel, and what became of each crystal in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull

SINGLE_POINT, FIRST_STEPS, CHOICE, RELAXATION = "single point", "first steps", "choice", "relaxation"
FINALISTS, CONFIRMATION, COPIES = "finalists", "confirmation", "copies"

STAGES = (SINGLE_POINT, FIRST_STEPS, CHOICE, RELAXATION, FINALISTS, CONFIRMATION, COPIES)
"""In order; no crystal is lost at the finalists' stage and at the confirmation, which say more about it."""

RELAXED = "relaxed"
"""The status of a crystal that passed all stages."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one crystal; all fields are columns of ``candidates.csv``.

    Energies are eV/atom; those above the hull are enthalpies where there is a pressure.

    Attributes:
        funnel_status: "relaxed", or the stage where the crystal was lost; empty if it never entered the funnel.
        funnel_reason: why it was lost, or what a relaxation that succeeded has to say.
        e_above_hull_unrelaxed: energy above the hull as drawn; NaN where there is none.
        e_above_hull: energy above the hull after relaxation, negative below it; NaN where not relaxed. It is that of
            ``ranked_by``.
        ranked_by: the potential that the rank goes by; empty where not relaxed.
        e_above_hull_by: the same for each potential that relaxed the crystal, with its own hull; for each a column.
        e_above_hull_spread: largest minus smallest of them; NaN where fewer than two have an answer.
        agreed_metastable: whether all of them call the crystal metastable; None where one has no answer, or there is
            only one.
        relax_status: of the last relaxation, see `crystalgraph.relax.relaxer.Relaxation`; empty where not relaxed.
        n_steps: of all relaxations, the first steps too; None where none was taken.
        energy: of the potential ``ranked_by`` after relaxation; NaN where not relaxed.
        enthalpy: the same with pV, what ``e_above_hull`` compares under pressure; NaN without pressure.
        relaxed_space_group: as ``space_group`` of a sample, after relaxation; None where not relaxed or not found.
        drawn_file: name of the files of the crystal as drawn, without extension; empty where there are no others.
    """

    funnel_status: str = ""
    funnel_reason: str = ""
    e_above_hull_unrelaxed: float = nan
    e_above_hull: float = nan
    ranked_by: str = ""
    e_above_hull_by: dict[str, float] = field(default_factory=dict)
    e_above_hull_spread: float = nan
    agreed_metastable: bool | None = None
    relax_status: str = ""
    n_steps: int | None = None
    energy: float = nan
    enthalpy: float = nan
    relaxed_space_group: int | None = None
    drawn_file: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage took in, lost, and cost.

    Attributes:
        name: one of ``STAGES``.
        entered: crystals.
        lost: crystals that did not leave it.
        seconds: of wall clock.
    """

    name: str
    entered: int
    lost: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FunnelResult:
    """All that a funnel gives; lists are in the order of the crystals that entered unless said otherwise.

    Attributes:
        outcomes: one for each crystal.
        structures: as relaxed; None where no relaxation gave a crystal that can be used.
        copy_of: for what was lost as a copy, the position of the crystal it became equal to; else None.
        seconds: CPU seconds spent in the relaxations of each crystal.
        judges: the potentials, in the order in which they relaxed.
        order: positions of the crystals that passed all stages, lowest above the hull first.
        stages: in order.
        hulls: by each potential, of the known phases and of what prototypes became.
        pressure: that all were relaxed under, GPa.
    """

    outcomes: list[Outcome]
    structures: list[Structure | None]
    copy_of: list[int | None]
    seconds: list[float]
    judges: tuple[str, ...]
    order: list[int]
    stages: list[Stage]
    hulls: Mapping[str, Hull]
    pressure: float = 0.0
