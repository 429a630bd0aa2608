"""What candidates compete with, and what several potentials say of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, nan

from crystalgraph.relax.hull import METASTABLE, Hull, Phase

PROTOTYPE_NOTE = "a known crystal with these elements in its place, or one equal to it, relaxed in this run"


def with_prototypes(hull: Hull, prototypes: Iterable[tuple[str, str, float]]) -> Hull:
    """A hull of known phases and of what known crystals with other elements in their place became.

    Args:
        hull: of the known phases.
        prototypes: name, formula and energy (eV/atom) of each; those without a finite energy are left out.

    Returns:
        The hull itself where there is none.
    """
    own = [
        Phase(name=name, formula=formula, energy=energy, note=PROTOTYPE_NOTE)
        for name, formula, energy in prototypes
        if isfinite(energy)
    ]
    return Hull(hull.system, [*hull.phases, *own], left_out=hull.left_out) if own else hull


def agreement(above: Sequence[float], n_judges: int) -> tuple[float, bool | None]:
    """The spread of energies above the hull, and whether all judges call the crystal metastable.

    Args:
        above: eV/atom by each potential that has an answer; NaN for none.
        n_judges: how many there are.

    Returns:
        Largest minus smallest, NaN for fewer than two answers; and None where agreement cannot be said.
    """
    energies = [energy for energy in above if isfinite(energy)]
    spread = max(energies) - min(energies) if len(energies) > 1 else nan
    if any(energy > METASTABLE for energy in energies):
        return spread, False
    return spread, True if len(energies) == n_judges else None
