"""From raw crystals to ranked candidates: draw, screen, select the best, until enough are selected or nothing comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crystalgraph.progress import Progress
from crystalgraph.screening.candidates import Candidates, candidates_of, counts
from crystalgraph.screening.screen import CONSTRAINT, FILTERS, SELECTED, SUPERGROUP, SYMMETRY, Screen

if TYPE_CHECKING:
    from crystalgraph.sampling.draws import Draws


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """When a search selects, and when it ends.

    Attributes:
        round_size: crystals drawn at a time, always the same, so that what is drawn does not depend on how many are
            asked for.
        passed_per_selected: crystals that must have passed the first filters for each one that is selected.
        prototypes: most known crystals that come first where a formula is requested.
        patience: rounds that are looked back on to decide whether anything new still comes.
        min_yield: smallest share of new crystals in these rounds with which the search goes on.
    """

    round_size: int = 256
    passed_per_selected: int = 4
    prototypes: int = 100
    patience: int = 8
    min_yield: float = 1 / 500


USUAL_SEARCH = SearchSettings()
"""What every command uses."""


class Source(Protocol):
    """What raw crystals come from; `crystalgraph.sampling.sampler.Sampler` is one."""

    def draw(self, n: int) -> Draws:
        """The next n raw crystals; nothing is dropped."""
        ...

    def prototypes(self, n: int) -> Draws:
        """Known crystals with the requested elements in their place."""
        ...


def run(
    source: Source, screen: Screen, progress: Progress | None = None, settings: SearchSettings = USUAL_SEARCH
) -> Candidates:
    """Draw from a source and screen, until enough crystals are selected or almost nothing new comes.

    Where a formula is requested, known crystals compete with those of the first round.

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
        screen.close()
        return candidates_of(screen)
    if request.formula is not None:
        with screen.timed("draw"):
            batches = [source.prototypes(settings.prototypes), source.draw(settings.round_size)]
        for draws in batches:
            screen.judge(draws)
        report()
    if not search(source, screen, request.num, settings, report):
        samples = settings.patience * settings.round_size
        shortfall = shortfall_of(screen, f"the last {samples} samples gave almost no new crystals")
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


def shortfall_of(screen: Screen, cause: str) -> str:
    """Why a search ended with fewer crystals than requested, and what would give more; empty if it did not.

    Args:
        screen: of the search.
        cause: that it ended.
    """
    n, request = screen.n_selected, screen.request
    if n >= request.num:
        return ""
    remedy = "ask for a wider space (more atoms, no space group) for more"
    unlike = sum(sample.status == CONSTRAINT for sample in screen.samples)
    if 2 * unlike > len(screen.samples):
        asked = ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in request.constraints.as_texts.items())
        remedy = f"{unlike} of {len(screen.samples)} did not keep to what was asked ({asked}): loosen that"
    above = sum(sample.status == SYMMETRY and sample.symmetry_match == SUPERGROUP for sample in screen.samples)
    if above:
        remedy = f"{above} came out in a supergroup of {request.space_group_number}: --supergroups takes these too"
    return f"stopped with {n} of {request.num}: {cause}; {remedy}"


def _state(screen: Screen) -> str:
    """How many samples were drawn, and lost at which filter."""
    by_status = counts(screen.samples)
    lost = ", ".join(f"{by_status[name]} {name}" for name in FILTERS if by_status[name])
    return f"{len(screen.samples)} drawn" + (f"; lost {lost}" if lost else "")
