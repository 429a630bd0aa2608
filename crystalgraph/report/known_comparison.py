"""The known phases that candidates of the same formula are compared with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.space_groups import symmetry_dataset
from crystalgraph.crystals.table import NOT_STATED
from crystalgraph.report.crystal_data import KnownPhase
from crystalgraph.report.hull_picture import energy_text
from crystalgraph.report.ladder import Polymorph
from crystalgraph.report.notation import group_text

if TYPE_CHECKING:
    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.relax.hull import Hull

MAX_PHASES = 100
"""More known phases than this are not put on a page."""


@dataclass(frozen=True, kw_only=True)
class ComparedPhase:
    """A known phase in the two places where a page has it.

    Attributes:
        shown: to look at.
        polymorph: among the polymorphs of its formula.
    """

    shown: KnownPhase
    polymorph: Polymorph


def known_phases_of(formulas: Collection[str], known: CrystalTable, hull: Hull | None) -> list[ComparedPhase]:
    """The known phases of some formulas.

    Args:
        formulas: such as "Nb2O5".
        known: known phases.
        hull: that knows their energies; None where nothing was relaxed.

    Returns:
        In the order of the table, at most ``MAX_PHASES``.
    """
    phases = [] if hull is None else [phase for phase in hull.phases if not phase.is_bound]
    energies = {phase.name: hull.e_above_hull(phase.formula, phase.energy) for phase in phases} if hull else {}
    origins = known.origin
    found: list[ComparedPhase] = []
    for name, structure, origin in zip(known.ids, known.structures, origins, strict=True):
        formula = str(Formula.from_atomic_numbers(structure.atomic_numbers))
        if formula not in formulas:
            continue
        dataset = symmetry_dataset(structure)
        group = None if dataset is None else int(dataset.number)
        energy, volume = energies.get(name, nan), structure.volume / len(structure)
        facts = [
            ("space group", group_text(group)),
            ("above the hull", energy_text(energy) if name in energies else ""),
            ("origin", "" if origin == NOT_STATED else origin),
        ]
        found.append(
            ComparedPhase(
                shown=KnownPhase(
                    name=name,
                    formula=formula,
                    structure=structure,
                    facts=[(label, text) for label, text in facts if text],
                ),
                polymorph=Polymorph(
                    name=name,
                    volume=volume,
                    energy=energy,
                    score=nan,
                    group=group,
                    is_relaxed=True,
                ),
            )
        )
        if len(found) == MAX_PHASES:
            break
    return found
