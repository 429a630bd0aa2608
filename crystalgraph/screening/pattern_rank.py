"""Rank candidates by how alike they are to a measured powder pattern.

The crystal that gave a pattern exists, so it is stable or nearly so: where there are energies, what is metastable comes
first, by similarity, and the rest stays behind in the order of its energy. Without energies similarity alone ranks.
"""

from __future__ import annotations

from dataclasses import replace
from math import isnan

from crystalgraph.crystals.powder_similarity import PowderPattern
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.candidates import Candidates


def ranked_by_pattern(candidates: Candidates, pattern: PowderPattern) -> tuple[Candidates, float]:
    """Rank and name anew.

    Args:
        candidates: ranked and named, of a run that is not raw.
        pattern: measured.

    Returns:
        The same run, with ``similarities``; and the width of lines that was compared with, see
        `crystalgraph.crystals.powder_similarity.PowderPattern.similarities`.
    """
    selected, n_relaxed = candidates.selected, len(candidates.relaxed)
    shown = [*candidates.relaxed, *candidates.structures[n_relaxed:]]
    similarities, width = pattern.similarities(shown)
    outcomes = candidates.outcomes

    def key(place: int) -> tuple[bool, float]:
        metastable = outcomes is None or (
            place < n_relaxed and outcomes[selected[place].draw].e_above_hull <= METASTABLE
        )
        if not metastable:
            return True, place
        return False, 1.0 if isnan(similarities[place]) else -similarities[place]

    order = sorted(range(len(selected)), key=key)
    samples, named = list(candidates.samples), dict(outcomes or {})
    for rank, place in enumerate(order, start=1):
        draw = selected[place].draw
        samples[draw] = replace(selected[place], rank=rank, file=_renamed(candidates.names[place], rank))
        if draw in named and (drawn := named[draw].drawn_file):
            named[draw] = replace(named[draw], drawn_file=_renamed(drawn, rank))
    ranked = replace(
        candidates,
        samples=samples,
        structures=[candidates.structures[place] for place in order],
        names=[str(samples[selected[place].draw].file) for place in order],
        relaxed=[candidates.relaxed[place] for place in order if place < n_relaxed],
        outcomes=None if outcomes is None else named,
        similarities={sample.draw: value for sample, value in zip(selected, similarities, strict=True)},
    )
    return ranked, width


def _renamed(name: str, rank: int) -> str:
    """The name of a file with another rank in front."""
    digits, rest = name.split("_", 1)
    return f"{rank:0{len(digits)}d}_{rest}"
