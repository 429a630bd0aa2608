"""How much work a run has before it, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from crystalgraph.relax.potentials import potential_label
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.search import SearchSettings

SECONDS_A_SAMPLE = {False: (0.05, 0.3), True: (0.01, 0.05)}
"""Fast or not -> least and most seconds that drawing a sample takes on one core."""

SECONDS_A_RELAXATION = (4, 40)
"""The same for a relaxation of a crystal by one potential, finalists included."""


def expected_work(
    request: GenerationRequest,
    search: SearchSettings,
    *,
    relax: int | None,
    minutes: float | None,
    judges: Sequence[str],
    workers: int,
) -> str:
    """Samples and relaxations to expect, and their times on cores of 2020 or later.

    Args:
        request: what is asked for.
        search: when crystals are selected, where no energies are asked for.
        relax: most relaxations; None for no limit, or for none.
        minutes: after which a search with energies ends; None for no limit, or for none.
        judges: potentials that relax, in order; none where no energies are asked for.
        workers: processes that relax.
    """
    if not judges:
        n_samples = request.num
        if not request.raw:
            n_samples = search.round_size * ceil(request.num * search.passed_per_selected / search.round_size)
        fast = request.fast or request.raw
        return f"expected: {n_samples:,} samples or more, {_span(n_samples, SECONDS_A_SAMPLE[fast], 1)}"
    labels = ", ".join(potential_label(judge) for judge in judges)
    processes = "1 process" if workers == 1 else f"{workers} processes"
    time = "" if minutes is None else f"rounds until {minutes:g} min are over, then "
    if relax is None:
        return f"expected: {time}the finalists, by {labels} in {processes}"
    seconds = (SECONDS_A_RELAXATION[0] * len(judges), SECONDS_A_RELAXATION[1] * len(judges))
    span = _span(relax, seconds, workers)
    return f"expected: {time}up to {relax:,} relaxations by {labels} in {processes}, with their draws {span}"


def _span(n: int, seconds: tuple[float, float], workers: int) -> str:
    """From the least to the most time for n pieces of work, in words."""
    low, high = (max(1, ceil(n * second / workers / 60)) for second in seconds)
    if high < 120:
        return f"{low} to {high} min" if low < high else f"about {high} min"
    return f"{max(low / 60, 0.1):.1f} to {high / 60:.1f} h"
