"""Search with energies: rounds of drawing, single points and relaxations, each led by what those before it found.

In every round crystals come from all sources: known ones with the requested elements in their place (all in the first
round), templates filled by the generator, and children of the lowest found so far. The learned score only drops the
worse half of each formula; the potential's energies decide which of equal crystals stays, and what is relaxed. Then
templates of formulas that lie low are drawn more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, exp
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from crystalgraph.progress import Progress
from crystalgraph.sampling.draws import PROTOTYPE
from crystalgraph.screening.candidates import Candidates, candidates_of
from crystalgraph.screening.descent import Descent
from crystalgraph.screening.screen import SELECTED, Copy, Screen
from crystalgraph.screening.search import Source, shortfall_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

    from crystalgraph.sampling.draws import Draws

ENOUGH, TIME_IS_UP, NOTHING_LOWER, NOTHING_LEFT = (
    "as many were relaxed as asked for",
    "the time was up",
    "nothing lower came",
    "nothing new came",
)


HIGHER_SCORES = "the better half of its formula by score got energies"
"""Why a crystal that passed the filters got no energy."""


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """How a search with energies goes on, and when it ends.

    Attributes:
        drawn: crystals drawn by the generator at a time.
        prototypes: most known crystals in the first round.
        prototypes_per_relaxation: most of them for each relaxation that the limit allows.
        parents: lowest crystals of which children are made after each round.
        kept_share: of the crystals that pass the first filters, the share that gets an energy, the best of each formula
            by score.
        energies_per_relaxation: crystals that get an energy, for each that is relaxed; prototypes and children come on
            top.
        temperature: eV/atom; templates of a formula whose lowest crystal lies this much higher above the hull than the
            lowest of another are drawn e times less often.
        largest_factor: most that the weight of a formula changes.
        patience: rounds without a lower crystal of any formula after which a search without a limit ends.
        improvement: eV/atom that counts as lower.
    """

    drawn: int = 64
    prototypes: int = 256
    prototypes_per_relaxation: int = 16
    parents: int = 4
    kept_share: float = 0.5
    energies_per_relaxation: int = 8
    temperature: float = 0.1
    largest_factor: float = 5.0
    patience: int = 4
    improvement: float = 0.005


USUAL_ROUNDS = RoundSettings()
"""What every command uses."""


class EnergySource(Source, Protocol):
    """What raw crystals come from; `crystalgraph.sampling.sampler.Sampler` is one."""

    def children(self, structures: Sequence[Structure]) -> Draws:
        """Crystals derived from others."""
        ...

    def reweigh(self, factors: Mapping[str, float]) -> None:
        """Draw some formulas more often than others."""
        ...


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round took and gave.

    Attributes:
        drawn: raw crystals.
        energies: crystals that got an energy as drawn.
        relaxed: crystals that were relaxed.
        lower: formulas of which it found a lower crystal than there was.
        seconds: of wall clock.
    """

    drawn: int
    energies: int
    relaxed: int
    lower: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the rounds gave.

    Attributes:
        candidates: all crystals that got an energy, in the order in which they entered the descent.
        rounds: in order.
        stopped: why no more came.
    """

    candidates: Candidates
    rounds: list[Round]
    stopped: str

    def as_record(self) -> dict[str, Any]:
        """In JSON's types."""
        rounds = [asdict(r) | {"seconds": round(r.seconds, 3)} for r in self.rounds]
        return {"rounds": rounds, "stopped": self.stopped}


def search_rounds(
    source: EnergySource,
    screen: Screen,
    descent: Descent,
    *,
    minutes: float | None = None,
    progress: Progress | None = None,
    settings: RoundSettings = USUAL_ROUNDS,
) -> Found:
    """Draw, find energies and relax, round after round.

    Args:
        source: where raw crystals come from.
        screen: a fresh screen; it knows the request.
        descent: relaxes; its limit ends the search. Without one the time does, or that nothing lower comes.
        minutes: of wall clock after which no further round begins.
        progress: called as the work goes on.
        settings: how.

    Returns:
        The crystals that got an energy, and why no more came; the descent is yet to be finished.
    """
    rounds, began = _Rounds(source, screen, descent, progress, settings), perf_counter()
    done: list[Round] = []
    while True:
        if descent.allowed <= 0:
            stopped = ENOUGH
        elif minutes is not None and perf_counter() - began > 60 * minutes:
            stopped = TIME_IS_UP
        elif done and not done[-1].energies and not done[-1].relaxed:
            stopped = NOTHING_LEFT
        elif _is_idle(done, settings.patience) and descent.settings.limit is None:
            stopped = NOTHING_LOWER
        else:
            done.append(rounds.next(first=not done))
            continue
        screen.close(HIGHER_SCORES)
        found = candidates_of(screen, shortfall_of(screen, stopped), by_score=False)
        return Found(candidates=found, rounds=done, stopped=stopped)


def _is_idle(done: Sequence[Round], patience: int) -> bool:
    return len(done) > patience and not any(round_.lower for round_ in done[-patience:])


@dataclass
class _Rounds:
    source: EnergySource
    screen: Screen
    descent: Descent
    progress: Progress | None
    settings: RoundSettings

    def next(self, *, first: bool) -> Round:
        """Take a round."""
        start, n_drawn, n_selected = perf_counter(), len(self.screen.samples), self.screen.n_selected
        n, copies = self.descent.allowed, list[Copy]()
        self._say("drawn, more to come")
        if first:
            with self.screen.timed("draw"):
                draws = self.source.prototypes(self._n_prototypes())
            copies += self._judge(draws, keep=1.0)
        elif parents := self.descent.lowest_structures(self.settings.parents):
            with self.screen.timed("draw"):
                draws = self.source.children(parents)
            copies += self._judge(draws, keep=1.0)
        wanted, before = n * self.settings.energies_per_relaxation, self.screen.n_selected
        for _ in range(ceil(4 * wanted / self.settings.drawn)):
            if self.screen.n_selected - before >= wanted:
                break
            with self.screen.timed("draw"):
                draws = self.source.draw(self.settings.drawn)
            copies += self._judge(draws, keep=self.settings.kept_share)
        chosen = range(n_selected, self.screen.n_selected)
        samples = [self.screen.samples[self.screen.draws[k]] for k in chosen]
        self.descent.enter(
            [self.screen.structures[k] for k in chosen], [sample.source == PROTOTYPE for sample in samples]
        )
        for k in self.descent.prefer_lower([(copy.position, copy.structure) for copy in copies]):
            self.screen.exchange(copies[k])
        lowest = self.descent.lowest
        relaxed = self.descent.relax(n)
        now = self.descent.lowest
        self._reweigh(now)
        return Round(
            drawn=len(self.screen.samples) - n_drawn,
            energies=len(chosen),
            relaxed=relaxed,
            lower=sum(e < lowest.get(f, float("inf")) - self.settings.improvement for f, e in now.items()),
            seconds=perf_counter() - start,
        )

    def _n_prototypes(self) -> int:
        """Known crystals that come first: few where little is to be relaxed."""
        limit, most = self.descent.settings.limit, self.settings.prototypes
        return most if limit is None else min(most, self.settings.prototypes_per_relaxation * limit)

    def _judge(self, draws: Draws, keep: float) -> list[Copy]:
        """Screen a batch and select the best share of what passed; what was lost as a copy comes back."""
        passed = self.screen.n_passed
        self.screen.judge(draws)
        copies = self.screen.choose(self.screen.n_selected + ceil(keep * (self.screen.n_passed - passed)))
        self._say("drawn")
        return copies

    def _say(self, what: str) -> None:
        """How many crystals wait for an energy or have one, of how many drawn."""
        if self.progress is not None:
            self.progress(SELECTED, self.screen.n_selected, 0, f"{len(self.screen.samples)} {what}")

    def _reweigh(self, lowest: Mapping[str, float]) -> None:
        """Templates of low formulas come more often, those of high ones less; unknown ones as the mean of both."""
        if len(lowest) < 2:
            return
        bound = self.settings.largest_factor
        middle = sum(lowest.values()) / len(lowest)
        factors = {f: exp((middle - energy) / self.settings.temperature) for f, energy in lowest.items()}
        self.source.reweigh({f: min(max(factor, 1 / bound), bound) for f, factor in factors.items()})
