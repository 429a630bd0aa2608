"""What candidates compete with, and what several potentials say of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, nan

from crystalgraph.relax.hull import METASTABLE, Hull, Phase

PROTOTYPE_NOTE = "a known crystal with these elements in its place, relaxed in this run"


AS_LOW = 0.005
"""eV/atom above the lowest of equal crystals up to which what a prototype became stands for them."""


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


def representatives(
    ordered: Sequence[int], labels: Sequence[int], from_prototype: Sequence[bool], above: Sequence[float]
) -> dict[int, int]:
    """Which crystal stands for each set of copies: the first, or what a prototype became if that is as low.

    Args:
        ordered: crystals, lowest first.
        labels: of the set that each of them is in.
        from_prototype: by crystal.
        above: eV/atom above the hull, by crystal.

    Returns:
        Label -> crystal.
    """
    lowest: dict[int, int] = {}
    first: dict[int, int] = {}
    for k, label in zip(ordered, labels, strict=True):
        lowest.setdefault(label, k)
        as_low = above[k] <= above[lowest[label]] + AS_LOW
        if label not in first or (from_prototype[k] and as_low and not from_prototype[first[label]]):
            first[label] = k
    return first
