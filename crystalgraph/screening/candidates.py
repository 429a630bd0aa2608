"""What a run gives: every sample with its status, and the selected crystals, ranked and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.crystals.standard_cell import primitive_cell
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.columns import column_of
from crystalgraph.known.likeness import AS_DRAWN, AS_RELAXED, Likeness, nearest_phases
from crystalgraph.progress import Progress
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.outcome import RELAXED, FunnelResult, Outcome
from crystalgraph.screening.rank import rank
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import FILTERS, NOT_SELECTED, SELECTED, Sample, Screen, with_symmetry

if TYPE_CHECKING:
    from pymatgen.core import Structure


PATTERN_SIMILARITY = "pattern_similarity"
"""The column of similarities to a measured powder pattern."""

OF_SEVERAL_JUDGES = frozenset({"e_above_hull_by", "e_above_hull_spread", "agreed_metastable"})
"""Fields of outcomes that say nothing where one potential judged alone."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The samples of a run and what was selected of them.

    Attributes:
        request: what was asked for.
        samples: every sample drawn, in draw order, with verdicts and status.
        structures: the selected crystals as drawn, best first (in draw order for a raw run); but for a raw run, in
            the standard primitive cell with their symmetry exact, see `crystalgraph.crystals.standard_cell`.
        names: a file name without extension for each of them, of the relaxed crystal where there is one.
        shortfall: why fewer crystals than requested were selected; empty if enough were.
        relaxed: the crystals that passed the funnel, as relaxed and in the standard primitive cell; they are the first
            of ``structures``.
        outcomes: draw -> what became of each crystal that entered the funnel; None without one.
        judges: the potentials of the funnel, in the order in which they relaxed; several if there was a confirmation.
        pressure: that energies are for, GPa.
        likenesses: draw -> the known phase that each selected crystal is; None where that was not looked for.
        similarities: draw -> similarity of each selected crystal to a measured powder pattern, 0 to 1, as relaxed where
            it was; None where there is no pattern.
    """

    request: GenerationRequest
    samples: list[Sample]
    structures: list[Structure]
    names: list[str]
    shortfall: str = ""
    relaxed: list[Structure] = field(default_factory=list)
    outcomes: dict[int, Outcome] | None = None
    judges: tuple[str, ...] = ()
    pressure: float = 0.0
    likenesses: dict[int, Likeness] | None = None
    similarities: dict[int, float] | None = None

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def counts(self) -> dict[str, int]:
        """Samples drawn, lost at each filter, and selected; what is lost and selected adds up to what is drawn."""
        return counts(self.samples)

    @property
    def selected(self) -> list[Sample]:
        """The sample of each selected crystal, in their order."""
        by_file = {sample.file: sample for sample in self.samples}
        return [by_file[name] for name in self.names]

    @property
    def drawn_names(self) -> list[str]:
        """A file name without extension for each selected crystal as drawn, with the space group that it had then."""
        if self.outcomes is None:
            return self.names
        return [self.outcomes[sample.draw].drawn_file or str(sample.file) for sample in self.selected]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of ``candidates.csv``, see `crystalgraph.io.columns`."""
        names = [column.name for column in fields(Sample)]
        names += [PATTERN_SIMILARITY] if self.similarities is not None else []
        if self.likenesses is not None:
            names += AS_DRAWN if self.outcomes is None else (*AS_DRAWN, *AS_RELAXED)
        if self.outcomes is None:
            return names
        of_judges = {"e_above_hull_by"} if len(self.judges) > 1 else OF_SEVERAL_JUDGES
        left_out = of_judges if self.pressure else of_judges | {"enthalpy"}
        names += [column.name for column in fields(Outcome) if column.name not in left_out]
        return names + ([column_of(judge) for judge in self.judges] if len(self.judges) > 1 else [])

    def rows(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Column -> value for each of some samples."""
        columns = self.columns
        return [{column: row[column] for column in columns} for row in map(self._everything, samples)]

    def _everything(self, sample: Sample) -> dict[str, Any]:
        outcome = (self.outcomes or {}).get(sample.draw, Outcome())
        likeness = (self.likenesses or {}).get(sample.draw, Likeness())
        energies = {column_of(judge): outcome.e_above_hull_by.get(judge, nan) for judge in self.judges}
        similarity = {PATTERN_SIMILARITY: (self.similarities or {}).get(sample.draw, nan)}
        return asdict(sample) | asdict(likeness) | asdict(outcome) | energies | similarity


def counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Samples drawn, lost at each filter, and selected."""
    by_status = Counter(sample.status for sample in samples)
    return {"drawn": len(samples), **{name: by_status[name] for name in (*FILTERS, SELECTED)}}


def candidates_of(screen: Screen, shortfall: str = "", *, by_score: bool = True) -> Candidates:
    """Rank and name what a screen selected.

    Args:
        screen: closed.
        shortfall: why fewer crystals than requested were selected.
        by_score: the best of each formula first; otherwise, and of a raw run, in the order of selection.
    """
    samples, raw = list(screen.samples), screen.request.raw
    unranked = raw or not by_score
    place_of = {draw: position for position, draw in enumerate(screen.draws)}
    best_first = list(place_of) if unranked else screen.best_first()
    order = [place_of[draw] for draw in best_first if draw in place_of]
    names, structures = [], []
    for place, position in enumerate(order, start=1):
        draw = screen.draws[position]
        sample, structure = samples[draw], screen.structures[position]
        if not raw:
            structure = primitive_cell(structure)
            sample = with_symmetry(replace(sample, num_atoms=len(structure)), structure)
        structures.append(structure)
        names.append(_name(place, screen.n_selected, sample.formula, sample.space_group))
        samples[draw] = replace(sample, rank=None if unranked else place, file=names[-1])
    return Candidates(
        request=screen.request,
        samples=samples,
        structures=structures,
        names=names,
        shortfall=shortfall,
    )


def ranked_by_energy(candidates: Candidates, result: FunnelResult) -> Candidates:
    """Rank anew by what a funnel gave.

    Args:
        candidates: of a run that is not raw.
        result: of a funnel that ``candidates.structures`` went through.

    Returns:
        The same run. First come the crystals that passed the funnel, lowest above the hull first, named after what
        they became; then the others by their energies as drawn; those without one last. As many as requested are kept,
        and none that became equal to another.
    """
    samples, names, outcomes = list(candidates.samples), [], {}
    selected = [sample.draw for sample in candidates.selected]
    num, n = candidates.request.num, len(selected)
    copies = {i: first for i in range(n) if (first := _first(result.copy_of, i)) != i}
    others = sorted(set(range(n)) - set(result.order) - set(copies))
    last = rank([-result.outcomes[i].e_above_hull_unrelaxed for i in others])
    order = [*result.order, *(others[i] for i in last)]
    n_kept = min(num, len(order))
    kept = [(i, structure) for i in result.order[:num] if (structure := result.structures[i]) is not None]
    relaxed = [primitive_cell(structure) for _, structure in kept]
    groups = dict(zip((i for i, _ in kept), space_groups(relaxed), strict=True))
    left_out = dict.fromkeys(order[num:], f"{num} others come first: relaxed ones, then those that lie lower as drawn")
    left_out |= {i: f"became equal to sample {selected[first]}" for i, first in copies.items()}
    for i, reason in left_out.items():
        sample, outcome = samples[selected[i]], result.outcomes[i]
        outcomes[sample.draw] = replace(outcome, funnel_reason=reason) if i in copies else outcome
        samples[sample.draw] = replace(sample, status=NOT_SELECTED, reason=reason, rank=None, file=None)
    for place, i in enumerate(order[:num], start=1):
        sample, outcome = samples[selected[i]], result.outcomes[i]
        names.append(_name(place, n_kept, sample.formula, sample.space_group))
        if i in groups:
            group = None if groups[i] == NOT_FOUND else groups[i]
            outcome = replace(outcome, relaxed_space_group=group, drawn_file=names[-1])
            names[-1] = _name(place, n_kept, sample.formula, group)
        outcomes[sample.draw] = outcome
        samples[sample.draw] = replace(sample, rank=place, file=names[-1])
    shortfall = candidates.shortfall
    if n_kept < min(num, n):
        lost = f"{len(copies)} became equal to others, {n_kept} of {num} are left"
        shortfall = "; ".join(filter(None, (shortfall, lost)))
    return replace(
        candidates,
        samples=samples,
        structures=[candidates.structures[i] for i in order[:num]],
        names=names,
        shortfall=shortfall,
        relaxed=relaxed,
        outcomes=outcomes,
        judges=result.judges,
        pressure=result.pressure,
    )


def source_yields(candidates: Candidates) -> dict[str, dict[str, int]]:
    """What each source gave: crystals drawn, with an energy, relaxed, and metastable by the rank's potential.

    Args:
        candidates: with outcomes.
    """
    yields: dict[str, Counter[str]] = {}
    for sample in candidates.samples:
        outcome = (candidates.outcomes or {}).get(sample.draw, Outcome())
        own = yields.setdefault(sample.source, Counter(drawn=0, energies=0, relaxed=0, metastable=0))
        own["drawn"] += 1
        own["energies"] += not isnan(outcome.e_above_hull_unrelaxed)
        own["relaxed"] += outcome.relax_status != ""
        own["metastable"] += outcome.funnel_status == RELAXED and outcome.e_above_hull <= METASTABLE
    return {source: dict(own) for source, own in sorted(yields.items())}


def named(candidates: Candidates, known: CrystalTable, progress: Progress | None = None) -> Candidates:
    """Look for the known phase that each selected crystal is, as drawn and as relaxed.

    Args:
        candidates: of a run that is not raw.
        known: known phases.
        progress: called as the work goes on.
    """
    draws = [sample.draw for sample in candidates.selected]
    likenesses = {
        draw: Likeness(known_phase=phase, known_rmsd=distance)
        for draw, (phase, distance) in zip(
            draws, nearest_phases(candidates.structures, known, progress=progress), strict=True
        )
    }
    relaxed = nearest_phases(candidates.relaxed, known, progress=progress)
    for draw, (phase, distance) in zip(draws, relaxed, strict=False):  # the relaxed ones are the first
        likenesses[draw] = replace(likenesses[draw], relaxed_known_phase=phase, relaxed_known_rmsd=distance)
    return replace(candidates, likenesses=likenesses)


def _first(copy_of: Sequence[int | None], i: int) -> int:
    """What a crystal became equal to, where that is a copy the one that it equals, and so on; itself if to none."""
    while (further := copy_of[i]) is not None:
        i = further
    return i


def _name(place: int, n_selected: int, formula: str, group: int | None) -> str:
    """Rank, formula and space group; without the group where none was found."""
    return f"{place:0{max(4, len(str(n_selected)))}d}_{formula}" + (f"_sg{group}" if group else "")
