"""What becomes of each raw crystal: it is kept, or lost at one gate for one reason.

The gates, in order: *strict* (physically possible) and *composition* (what was asked for, and sound chemistry), through
which every crystal goes at once; then, best of each formula first and until enough are kept, *symmetry* (the asked
space group or a supergroup, where one was asked for) and *copy* (equal to a crystal kept before). What is left is
*outranked*.

A raw run has no gates: everything is kept, with its verdicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from math import isfinite, nan
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from crystalgraph.chemistry.filter import CompositionFilter
from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.space_groups import NOT_FOUND, is_supergroup, space_groups
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.screening.rank import rank_by_formula
from crystalgraph.screening.request import GenerationRequest

if TYPE_CHECKING:
    from pymatgen.core import Structure

KEPT, STRICT, COMPOSITION, SYMMETRY, COPY, OUTRANKED = "kept", "strict", "composition", "symmetry", "copy", "outranked"

GATES = (STRICT, COMPOSITION, SYMMETRY, COPY, OUTRANKED)
"""Where a sample can be lost, in order."""


EXACT, SUPERGROUP, OTHER = "exact", "supergroup", "other"
"""How the space group that is found relates to the one that was asked for."""


class Drawn(Protocol):
    """Raw crystals with the templates they were made from."""

    @property
    def crystals(self) -> Crystals:
        """The crystals in draw order."""

    @property
    def remembered(self) -> Tensor:
        """Whether each set out from a training crystal, (n,), bool."""

    @property
    def space_group_number(self) -> Tensor:
        """Of the templates, (n,)."""

    @property
    def template_key(self) -> list[str]:
        """Names of the templates, length n."""


Score = Callable[[Crystals, Tensor], Tensor]
"""(crystals, space group numbers of their templates) -> one number each, higher is better."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One raw crystal, its verdicts and its fate; the columns of ``candidates.csv``.

    Attributes:
        draw: position in draw order, from 0.
        formula: reduced formula.
        num_atoms: atoms in the primitive cell.
        template: space group, and Wyckoff letters with the element on each.
        remembered: whether it set out from a training crystal with the asked elements in its place, not from noise.
        space_group_asked: of the request, or of the template where the request leaves it open.
        space_group_found: by spglib with symprec 0.1 Å; None where it was not looked for or not found.
        symmetry: "exact" if found is asked, "supergroup", "other", or empty where nothing was found.
        strictly_valid: see `crystalgraph.crystals.validity`.
        min_reduced_distance: shortest distance over the sum of covalent radii; infinite if beyond what was searched.
        density: g/cm³.
        volume_per_atom: Å³.
        charge_neutral: whether some assignment of oxidation states sums to zero; reported, never filtered by.
        plausibility: of the composition, 0 to 1; None if it was not asked for.
        score: of the discriminator, higher is better; NaN for what is not strictly valid.
        fate: "kept" or the gate where the sample was lost.
        reason: why it was lost. In a raw run, why it would have been.
        rank: 1 for the best of the kept; None for the others, and in a raw run.
        file: name of its files without extension, None if it was not kept.
    """

    draw: int
    formula: str
    num_atoms: int
    template: str
    remembered: bool
    space_group_asked: int
    space_group_found: int | None = None
    symmetry: str = ""
    strictly_valid: bool
    min_reduced_distance: float
    density: float
    volume_per_atom: float
    charge_neutral: bool
    plausibility: float | None
    score: float
    fate: str = ""
    reason: str = ""
    rank: int | None = None
    file: str | None = None


COLUMNS = tuple(field.name for field in fields(Sample))


class Screen:
    """Judges raw crystals, batch after batch, and remembers what it kept.

    Args:
        request: what is asked for.
        composition: which compositions may stay.
        score: what a discriminator makes of crystals.

    Attributes:
        request: as given.
        composition: as given.
        samples: all samples judged so far, in draw order.
        structures: the kept crystals, in the order in which they were chosen (of a raw run: in draw order).
        draws: position in draw order of each of them.
        seconds: stage -> seconds spent in it.
    """

    def __init__(self, request: GenerationRequest, composition: CompositionFilter, score: Score) -> None:
        self.request = request
        self.composition = composition
        self.samples: list[Sample] = []
        self.structures: list[Structure] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._score = score
        self.draws: list[int] = []
        self._index = ReferenceIndex()
        self._open: dict[int, Crystals] = {}
        self._passed: list[int] = []

    @property
    def n_kept(self) -> int:
        """How many crystals are kept so far."""
        return len(self.structures)

    @property
    def n_passed(self) -> int:
        """How many crystals passed the first two gates so far."""
        return len(self._passed)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - start

    def judge(self, drawn: Drawn) -> None:
        """Send a batch of raw crystals through the first two gates; of a raw run, keep them all.

        Args:
            drawn: the next crystals in draw order.
        """
        crystals = drawn.crystals
        with self.timed("strict"):
            validity = strict_validity(crystals)
        with self.timed("score"):
            scores = _scores(self._score, drawn, validity.valid)
        with self.timed("composition"):
            verdicts = self.composition.check(_formulas(crystals))
        decide = self._note if self.request.raw else self._enter
        for k, verdict in enumerate(verdicts):
            sample = Sample(
                draw=len(self.samples),
                formula=str(verdict.formula),
                num_atoms=int(crystals.num_atoms[k]),
                template=drawn.template_key[k],
                remembered=bool(drawn.remembered[k]),
                space_group_asked=self.request.space_group_number or int(drawn.space_group_number[k]),
                strictly_valid=bool(validity.valid[k]),
                min_reduced_distance=float(validity.min_reduced_distance[k]),
                density=float(validity.density[k]),
                volume_per_atom=float(validity.volume_per_atom[k]),
                charge_neutral=verdict.charge_neutral,
                plausibility=verdict.plausibility,
                score=scores[k],
                reason=validity.reasons[k] or verdict.reason,
            )
            self.samples.append(decide(sample, crystals[k]))

    def best_first(self) -> list[int]:
        """The draws that passed the first two gates, by the share of those of their formula that score higher."""
        passed = [self.samples[draw] for draw in self._passed]
        order = rank_by_formula([sample.score for sample in passed], [sample.formula for sample in passed])
        return [self._passed[position] for position in order]

    def choose(self, num: int) -> None:
        """Keep more of the crystals that passed the first two gates, the best of each formula first.

        Args:
            num: crystals to be kept in all; fewer are if too many are copies or of another group.
        """
        for draw in self.best_first():
            if self.n_kept >= num:
                return
            if draw in self._open:
                self.samples[draw] = self._decide(self.samples[draw], self._open.pop(draw))

    def close(self) -> None:
        """Give up all that was neither kept nor lost."""
        reason = f"{self.n_kept} others came first, the best of each formula"
        for draw in self._open:
            self.samples[draw] = replace(self.samples[draw], fate=OUTRANKED, reason=reason)
        self._open.clear()

    def _enter(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its fate if it is lost at one of the first two gates; otherwise its fate is open."""
        if not sample.strictly_valid:
            return replace(sample, fate=STRICT)
        if sample.reason:
            return replace(sample, fate=COMPOSITION)
        self._open[sample.draw] = crystal
        self._passed.append(sample.draw)
        return sample

    def _decide(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its fate; the crystal is kept if it passes the last two gates."""
        (structure,) = to_structures(crystal)
        with self.timed("symmetry"):
            sample = _with_symmetry(sample, structure)
        if self.request.space_group_number is not None and sample.symmetry not in (EXACT, SUPERGROUP):
            found = f"space group {sample.space_group_found}" if sample.space_group_found else "no space group"
            return replace(sample, fate=SYMMETRY, reason=f"spglib finds {found}")
        with self.timed("copies"):
            equal = self._index.find(structure)
        if equal >= 0:
            return replace(sample, fate=COPY, reason=f"equal to sample {self.draws[equal]}")
        self._index.add(structure)
        return self._keep(sample, structure)

    def _note(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its verdicts, kept whatever they are."""
        (structure,) = to_structures(crystal)
        if isfinite(sample.density):
            with self.timed("symmetry"):
                sample = _with_symmetry(sample, structure)
        return self._keep(sample, structure)

    def _keep(self, sample: Sample, structure: Structure) -> Sample:
        self.structures.append(structure)
        self.draws.append(sample.draw)
        return replace(sample, fate=KEPT)


def _formulas(crystals: Crystals) -> list[Formula]:
    atoms = crystals.atomic_numbers.split(crystals.num_atoms.tolist())
    return [Formula.from_atomic_numbers(numbers.tolist()) for numbers in atoms]


def _scores(score: Score, drawn: Drawn, valid: Tensor) -> list[float]:
    """Scores of the strictly valid crystals, NaN for the others, whose graphs could be of any size."""
    scores = torch.full((len(valid),), nan, dtype=torch.float64)
    if bool(valid.any()):
        scores[valid] = score(drawn.crystals[valid], drawn.space_group_number[valid]).to(scores)
    return scores.tolist()


def _with_symmetry(sample: Sample, structure: Structure) -> Sample:
    (found,) = space_groups([structure])
    if found == NOT_FOUND:
        return sample
    if found == sample.space_group_asked:
        relation = EXACT
    else:
        relation = SUPERGROUP if is_supergroup(found, sample.space_group_asked) else OTHER
    return replace(sample, space_group_found=found, symmetry=relation)
