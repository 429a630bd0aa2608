"""What became of the samples of a run, filter after filter and stage after stage, as lines that add up."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crystalgraph.relax.hull import METASTABLE
from crystalgraph.report.page import FunnelLine
from crystalgraph.report.words import FILTER_MEANING, STAGE_MEANING
from crystalgraph.screening.candidates import Candidates
from crystalgraph.screening.outcome import RELAXED
from crystalgraph.screening.screen import NOT_SELECTED, SELECTED

N_REASONS = 3
"""Most reasons that are named for a filter."""


def funnel_lines(candidates: Candidates, record: Mapping[str, Any]) -> list[FunnelLine]:
    """How many samples were drawn, lost where and why, and selected; with energies also relaxed, before the selection.

    Args:
        candidates: of a run.
        record: content of its ``run.json``.
    """
    reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in candidates.samples:
        if sample.draw in (candidates.outcomes or {}):
            continue  # lost later, if at all
        reasons[sample.status][_kind_of_reason(sample.reason)] += bool(sample.reason)
    lines, counts = [], dict(record["counts"])
    selected = FunnelLine(name=SELECTED, count=counts.pop(SELECTED))
    if with_energies := "relaxation" in record:
        with_energy = FunnelLine(name="different, with an energy", count=len(candidates.outcomes or {}))
        lost_later = with_energy.count - selected.count  # at one of the stages, or outranked at the end
        counts[NOT_SELECTED] = counts.get(NOT_SELECTED, 0) - lost_later
    for name, count in counts.items():
        if name not in FILTER_MEANING:
            lines.append(FunnelLine(name=name, count=count))
        elif count:
            lines.append(_lost(name, count, FILTER_MEANING[name], reasons[name]))
    if not with_energies:
        return [*lines, selected]
    lines.append(with_energy)
    outcomes = (candidates.outcomes or {}).values()
    for outcome in outcomes:
        reasons[outcome.funnel_status][_kind_of_reason(outcome.funnel_reason)] += bool(outcome.funnel_reason)
    for stage in record["relaxation"]["stages"]:
        if stage["lost"]:
            name = stage["name"]
            lines.append(_lost(name, stage["lost"], STAGE_MEANING[name], reasons[name]))
    energies = [outcome.e_above_hull for outcome in outcomes if outcome.funnel_status == RELAXED]
    relaxed = FunnelLine(name="relaxed", count=record["relaxation"]["relaxed"], meaning=_lowest(energies))
    return [*lines, relaxed, replace(selected, meaning="the lowest in energy, relaxed ones first")]


def _lost(name: str, count: int, meaning: str, reasons: Counter[str]) -> FunnelLine:
    named = [(reason, number) for reason, number in reasons.most_common() if number]
    shown = [f"{number} × {reason}" for reason, number in named[:N_REASONS]] if len(named) > 1 else []
    return FunnelLine(name=name, count=count, is_loss=True, meaning=meaning, reasons=shown)


def _kind_of_reason(reason: str) -> str:
    """A reason without its numbers, so that equal ones can be counted."""
    return re.sub(r"\d[\d.]*", "…", reason)


def _lowest(energies: list[float]) -> str:
    """The energies of the relaxed crystals, eV/atom, in a few words."""
    if not energies:
        return ""
    low = sum(energy <= METASTABLE for energy in energies)
    lowest = f"{min(energies):+.3f}".replace("-", "−")
    return f"lowest {lowest} eV/atom above the hull; {low} at most {METASTABLE:g}"
