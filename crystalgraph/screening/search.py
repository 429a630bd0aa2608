"""From raw crystals to ranked candidates: draw, screen, select the best, until enough are selected or nothing comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crystalgraph.progress import Progress
from crystalgraph.screening.candidates import Candidates, candidates_of, counts
from crystalgraph.screening.screen import FILTERS, SELECTED, Screen

if TYPE_CHECKING:
    from crystalgraph.sampling.draws import Draws


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """When a search selects, and when it ends.

    Attributes:
        round_size: crystals drawn at a time, always the same, so that what is drawn does not depend on how many are
            asked for.
        passed_per_selected: crystals that must have passed the first filters for each one that is selected.
        patience: rounds that are looked back on to decide whether anything new still comes.
        min_yield: smallest share of new crystals in these rounds with which the search goes on.
    """

    round_size: int = 256
    passed_per_selected: int = 4
    patience: int = 8
    min_yield: float = 1 / 500


USUAL_SEARCH = SearchSettings()
"""What every command uses."""


class Source(Protocol):
    """What raw crystals come from; `crystalgraph.sampling.sampler.Sampler` is one."""

    def draw(self, n: int) -> Draws:
        """The next n raw crystals; nothing is dropped."""
        ...


def run(
    source: Source, screen: Screen, progress: Progress | None = None, settings: SearchSettings = USUAL_SEARCH
) -> Candidates:
    """Draw from a source and screen, until enough crystals are selected or almost nothing new comes.

    Args:
        source: where raw crystals come from.
        screen: a fresh screen; it knows the request.
        progress: called before the first round and after every one.
        settings: when crystals are selected, and when the search ends.

    Returns:
        Candidates and the status of every sample.
    """
    request = screen.request

    def report() -> None:
        if progress is not None:
            progress(SELECTED, screen.n_selected, request.num, _state(screen))

    shortfall = ""
    report()
    if request.raw:
        while screen.n_selected < request.num:
            with screen.timed("draw"):
                draws = source.draw(settings.round_size)
            screen.judge(draws.first(request.num - screen.n_selected))
            report()
    elif not search(source, screen, request.num, settings, report):
        shortfall = (
            f"stopped with {screen.n_selected} of {request.num}: the last {settings.patience * settings.round_size} "
            "samples gave almost no new crystals; ask for a wider space (more atoms, no space group) for more"
        )
    screen.close()
    return candidates_of(screen, shortfall)


def search(
    source: Source,
    screen: Screen,
    num: int,
    settings: SearchSettings = USUAL_SEARCH,
    watch: Callable[[], None] | None = None,
) -> bool:
    """Draw and select the best, until ``num`` crystals are selected or almost nothing new comes.

    After every round the screen selects one crystal for each few that passed its first filters so far, so what a
    search for fewer selects, one for more selects too. Once almost nothing new comes it selects whatever passed.

    Args:
        source: where raw crystals come from.
        screen: selects them; what it has selected already counts.
        num: crystals to be selected in all.
        settings: how few, and when to end.
        watch: called after every round.

    Returns:
        Whether so many are selected.
    """
    yields: list[int] = []
    screen.choose(min(num, screen.n_passed // settings.passed_per_selected))  # of what earlier searches left
    while screen.n_selected < num:
        before = screen.n_selected
        with screen.timed("draw"):
            draws = source.draw(settings.round_size)
        screen.judge(draws)
        screen.choose(min(num, screen.n_passed // settings.passed_per_selected))
        yields.append(screen.n_selected - before)
        if watch is not None:
            watch()
        least = settings.min_yield * settings.patience * settings.round_size
        if len(yields) >= settings.patience and sum(yields[-settings.patience :]) < least:
            screen.choose(num)
            break
    return screen.n_selected >= num


def _state(screen: Screen) -> str:
    """How many samples were drawn, and lost at which filter."""
    by_status = counts(screen.samples)
    lost = ", ".join(f"{by_status[name]} {name}" for name in FILTERS if by_status[name])
    return f"{len(screen.samples)} drawn" + (f"; lost {lost}" if lost else "")
