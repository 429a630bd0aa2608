"""From a request to ranked candidates: draw, screen, keep the best, until enough are kept or nothing new comes.

What is kept can be relaxed then, which gives it another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch

from crystalgraph.chemistry.filter import CompositionFilter
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.rank import rank
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import GATES, KEPT, Sample, Screen

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.models.bundle import Model
    from crystalgraph.sampling.sampler import Samples
    from crystalgraph.screening.funnel import FunnelResult, Outcome

ROUND = 256
"""Crystals drawn at a time, always the same, so that what is drawn does not depend on how many are asked for."""

CHOICE = 4
"""Crystals that must have passed the first gates for each one that is kept."""

PATIENCE = 8
"""Rounds that are looked back on to decide whether anything new still comes."""

MIN_YIELD = 1 / 500
"""Smallest share of new crystals in these rounds with which the search goes on."""


class Source(Protocol):
    """What raw crystals come from; `crystalgraph.sampling.sampler.Sampler` is one."""

    def draw(self, n: int) -> Samples:
        """The next n raw crystals; nothing is dropped."""
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        wanted: crystals asked for.
        drawn: samples drawn so far.
        kept: candidates so far.
        lost: gate -> samples lost there so far.
    """

    wanted: int
    drawn: int
    kept: int
    lost: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """All that a run found.

    Attributes:
        request: what was asked for.
        samples: every sample drawn, in draw order, with verdicts and fate.
        structures: the kept crystals, best first (in draw order for a raw run).
        names: a file name without extension for each of them.
        shortfall: why fewer crystals than asked for were kept; empty if enough were.
        seconds: stage -> seconds spent in it.
        composition: the filter that compositions had to pass.
        relaxed: the crystals that passed the funnel, as relaxed; they are the first of ``structures``.
        outcomes: draw -> what became of each kept crystal in the funnel; empty without one.
    """

    request: GenerationRequest
    samples: list[Sample]
    structures: list[Structure]
    names: list[str]
    shortfall: str
    seconds: dict[str, float]
    composition: CompositionFilter
    relaxed: list[Structure] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Samples drawn, lost at each gate, and kept; what is lost and kept adds up to what is drawn."""
        return _counts(self.samples)


def generate(model: Model, request: GenerationRequest, progress: Callable[[Progress], None] | None = None) -> RunResult:
    """Generate what was asked for.

    Args:
        model: a loaded model.
        request: what is asked for.
        progress: called after every round.

    Returns:
        Candidates and the fate of every sample. The same model and request give the same result.

    Raises:
        InputError: if no crystal can satisfy the request; the message names what is possible.
    """
    from crystalgraph.sampling.sampler import Sampler

    source = Sampler(
        model,
        list(request.system.atomic_numbers),
        torch.Generator().manual_seed(request.seed),
        formula=request.formula_counts,
        space_group_number=request.space_group_number,
        max_atoms=request.max_atoms,
        temperature=request.temperature,
        explore=request.explore,
        n_draws=1 if request.raw else None,
        fast=request.fast,
        n_refine=request.refine,
    )
    start = perf_counter()
    screen = Screen(request, composition_filter(request), model.score)
    screen.seconds["plausibility fit"] += perf_counter() - start
    return run(source, screen, progress)


def run(source: Source, screen: Screen, progress: Callable[[Progress], None] | None = None) -> RunResult:
    """Draw from a source and screen, until enough crystals are kept or almost nothing new comes.

    Args:
        source: where raw crystals come from.
        screen: a fresh screen; it knows the request.
        progress: called after every round.

    Returns:
        Candidates and the fate of every sample.
    """
    request = screen.request

    def tell() -> None:
        if progress is not None:
            counts = _counts(screen.samples)
            lost = {gate: counts[gate] for gate in GATES}
            progress(Progress(wanted=request.num, drawn=len(screen.samples), kept=screen.n_kept, lost=lost))

    shortfall = ""
    if request.raw:
        while screen.n_kept < request.num:
            with screen.timed("draw"):
                drawn = source.draw(ROUND)
            screen.judge(_first(drawn, request.num - screen.n_kept))
            tell()
    elif not search(source, screen, request.num, tell):
        shortfall = (
            f"stopped with {screen.n_kept} of {request.num}: the last {PATIENCE * ROUND} samples gave almost no new "
            "crystals; ask for a wider space (more atoms, no space group) for more"
        )
    screen.close()
    return _finish(screen, shortfall)


def search(source: Source, screen: Screen, num: int, watch: Callable[[], None] | None = None) -> bool:
    """Draw and keep the best, until ``num`` crystals are kept or almost nothing new comes.

    After every round the screen keeps one crystal for each ``CHOICE`` that passed its first gates so far, so what a
    search for fewer keeps, one for more keeps too. Once almost nothing new comes it keeps whatever passed.

    Args:
        source: where raw crystals come from.
        screen: keeps them; what it has kept already counts.
        num: crystals to be kept in all.
        watch: called after every round.

    Returns:
        Whether so many are kept.
    """
    yields: list[int] = []
    screen.choose(min(num, screen.n_passed // CHOICE))  # of what earlier searches left
    while screen.n_kept < num:
        before = screen.n_kept
        with screen.timed("draw"):
            drawn = source.draw(ROUND)
        screen.judge(drawn)
        screen.choose(min(num, screen.n_passed // CHOICE))
        yields.append(screen.n_kept - before)
        if watch is not None:
            watch()
        if len(yields) >= PATIENCE and sum(yields[-PATIENCE:]) < MIN_YIELD * PATIENCE * ROUND:
            screen.choose(num)
            break
    return screen.n_kept >= num


def with_relaxed(result: RunResult, found: FunnelResult) -> RunResult:
    """Rank anew by what the funnel found.

    Args:
        result: a run that is not raw.
        found: of a funnel that was given ``result.structures``.

    Returns:
        The same run. First come the crystals that passed the funnel, lowest above the hull first, named after what
        they became; then the others by their single points; those without one last.
    """
    place_of = {sample.file: k for k, sample in enumerate(result.samples)}
    kept = [place_of[name] for name in result.names]
    others = sorted(set(range(len(kept))) - set(found.order))
    last = rank([-found.outcomes[i].e_hull_single_point for i in others])
    order = [*found.order, *(others[i] for i in last)]
    samples, names, outcomes = list(result.samples), [], {}
    for place, i in enumerate(order, start=1):
        sample, outcome = samples[kept[i]], found.outcomes[i]
        if (first := found.copy_of[i]) is not None:
            outcome = replace(outcome, relax_reason=f"became equal to sample {samples[kept[first]].draw}")
        outcomes[sample.draw] = outcome
        group = outcome.space_group_relaxed if i in set(found.order) else sample.space_group_found
        names.append(_name(place, len(kept), sample, group))
        samples[kept[i]] = replace(sample, rank=place, file=names[-1])
    return replace(
        result,
        samples=samples,
        structures=[result.structures[i] for i in order],
        names=names,
        relaxed=[structure for i in found.order if (structure := found.structures[i]) is not None],
        outcomes=outcomes,
    )


def _finish(screen: Screen, shortfall: str) -> RunResult:
    """Rank and name what was kept."""
    samples, raw = list(screen.samples), screen.request.raw
    place_of = {draw: position for position, draw in enumerate(screen.draws)}
    order = list(place_of.values()) if raw else [place_of[draw] for draw in screen.best_first() if draw in place_of]
    names = []
    for place, position in enumerate(order, start=1):
        draw = screen.draws[position]
        sample = samples[draw]
        names.append(_name(place, screen.n_kept, sample, sample.space_group_found))
        samples[draw] = replace(sample, rank=None if raw else place, file=names[-1])
    return RunResult(
        request=screen.request,
        samples=samples,
        structures=[screen.structures[position] for position in order],
        names=names,
        shortfall=shortfall,
        seconds=dict(screen.seconds),
        composition=screen.composition,
    )


def _name(place: int, n_kept: int, sample: Sample, group: int | None) -> str:
    return f"{place:0{max(4, len(str(n_kept)))}d}_{sample.formula}_sg{group or sample.space_group_asked}"


def _counts(samples: list[Sample]) -> dict[str, int]:
    fates = Counter(sample.fate for sample in samples)
    return {"drawn": len(samples), **{gate: fates[gate] for gate in GATES}, KEPT: fates[KEPT]}


def _first(drawn: Samples, n: int) -> Samples:
    """The first n of a batch of raw crystals."""
    return replace(
        drawn,
        crystals=drawn.crystals[:n],
        remembered=drawn.remembered[:n],
        space_group_number=drawn.space_group_number[:n],
        template_key=drawn.template_key[:n],
    )
