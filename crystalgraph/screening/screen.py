"""What becomes of each raw crystal: it is selected, or lost at one filter for one reason.

The filters, in order: *strict* (physically possible), *composition* (what was requested, and sound chemistry) and
*constraint* (cell, distances, density, volume), through which every crystal goes at once; then, best of each
formula first and until enough are selected, *symmetry* (the requested space group, or where allowed a supergroup of it,
where one was requested, and none that was excluded) and *copy* (equal to a crystal that is selected).
What is left is *not selected*.

A raw run has no filters: everything is selected, with its verdicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING

from crystalgraph.chemistry.filter import CompositionFilter
from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.space_groups import ANGLE_TOLERANCE, DATASET_SYMPREC, NOT_FOUND, is_supergroup, space_groups
from crystalgraph.sampling.draws import PROTOTYPE
from crystalgraph.screening.constraints import NO_CONSTRAINTS
from crystalgraph.screening.rank import rank_by_formula
from crystalgraph.screening.request import GenerationRequest

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.sampling.draws import Draws

SELECTED, STRICT, COMPOSITION, CONSTRAINT = "selected", "strict", "composition", "constraint"
SYMMETRY, COPY = "symmetry", "copy"
NOT_SELECTED = "not selected"

FILTERS = (STRICT, COMPOSITION, CONSTRAINT, SYMMETRY, COPY, NOT_SELECTED)
"""Where a sample can be lost, in order."""


EXACT, SUPERGROUP, OTHER = "exact", "supergroup", "other"
"""How the space group of a crystal relates to the one that was requested."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One raw crystal, its verdicts and its status; the columns of ``candidates.csv``.

    Attributes:
        draw: position in draw order, from 0.
        formula: reduced formula.
        num_atoms: atoms in the primitive cell.
        template: space group, and Wyckoff letters with the element on each.
        source: "generator" (filled from noise), "prototype" (a known crystal with the requested elements in its place,
            or what took the place of an equal one), or "child" (derived from a crystal that the run had found).
        space_group_requested: of the request, or of the template where the request leaves it open.
        space_group: by spglib, within `crystalgraph.crystals.space_groups.SYMPREC`; None where it was not looked for or
            not found.
        symmetry_match: "exact" if that is the requested one, "supergroup", "other", or empty where there is none.
        strictly_valid: see `crystalgraph.crystals.validity`.
        min_reduced_distance: shortest distance over the sum of covalent radii; infinite if beyond what was searched.
        density: g/cm³.
        volume_per_atom: Å³.
        charge_neutral: whether some assignment of oxidation states sums to zero; reported, never filtered by.
        plausibility: of the composition, 0 to 1; None if it was not asked for.
        score: of the model, higher is better; NaN for what is not strictly valid.
        template_score: how likely known crystals make the template of a formula, and whether one fills it, in units of
            the score; 0 where that has no say. Crystals are ranked by the sum of both.
        status: "selected" or the filter where the sample was lost.
        reason: why it was lost. In a raw run, why it would have been.
        rank: 1 for the best of the selected; None for the others, and in a raw run.
        file: name of its files without extension, None if it was not selected.
    """

    draw: int
    formula: str
    num_atoms: int
    template: str
    source: str
    space_group_requested: int
    space_group: int | None = None
    symmetry_match: str = ""
    strictly_valid: bool
    min_reduced_distance: float
    density: float
    volume_per_atom: float
    charge_neutral: bool
    plausibility: float | None
    score: float
    template_score: float = 0.0
    status: str = ""
    reason: str = ""
    rank: int | None = None
    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A crystal that passed all filters but is equal to one selected before.

    Attributes:
        draw: position in draw order.
        structure: the crystal.
        position: of the selected one among those.
    """

    draw: int
    structure: Structure
    position: int


class Screen:
    """Judges raw crystals, batch after batch, and remembers what it selected.

    Args:
        request: what is asked for.
        composition: which compositions may stay.

    Attributes:
        request: as given.
        composition: as given.
        samples: all samples judged so far, in draw order.
        structures: the selected crystals, in the order in which they were chosen (of a raw run: in draw order).
        draws: position in draw order of each of them.
        seconds: stage -> seconds spent in it.
    """

    def __init__(self, request: GenerationRequest, composition: CompositionFilter) -> None:
        self.request = request
        self.composition = composition
        self.samples: list[Sample] = []
        self.structures: list[Structure] = []
        self.draws: list[int] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._index = ReferenceIndex()
        self._open: dict[int, Crystals] = {}
        self._copies: list[Copy] = []
        self._passed: list[int] = []

    @property
    def n_selected(self) -> int:
        """How many crystals are selected so far."""
        return len(self.structures)

    @property
    def n_passed(self) -> int:
        """How many crystals passed the first two filters so far."""
        return len(self._passed)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - start

    def judge(self, draws: Draws) -> None:
        """Send a batch of raw crystals through the first two filters; of a raw run, select them all.

        Args:
            draws: the next crystals in draw order.
        """
        with self.timed("strict"):
            validity = draws.validity
        with self.timed("score"):
            scores = draws.score.tolist()
        likely = draws.template_score
        with self.timed("composition"):
            verdicts = self.composition.check(_formulas(draws.crystals))
        decide = self._note if self.request.raw else self._enter
        for k, verdict in enumerate(verdicts):
            sample = Sample(
                draw=len(self.samples),
                formula=str(verdict.formula),
                num_atoms=int(draws.crystals.num_atoms[k]),
                template=draws.template_names[k],
                source=draws.sources[k],
                space_group_requested=self.request.space_group_number or int(draws.space_group_number[k]),
                strictly_valid=bool(validity.valid[k]),
                min_reduced_distance=float(validity.min_reduced_distance[k]),
                density=float(validity.density[k]),
                volume_per_atom=float(validity.volume_per_atom[k]),
                charge_neutral=verdict.charge_neutral,
                plausibility=verdict.plausibility,
                score=scores[k],
                template_score=0.0 if likely is None else float(likely[k]),
                reason=validity.reasons[k] or verdict.reason,
            )
            self.samples.append(decide(sample, draws.crystals[k]))

    def best_first(self) -> list[int]:
        """The draws that passed the first two filters, by the share of those of their formula with a higher score.

        Where a formula is requested, that of the template is added to the crystal's.
        """
        passed = [self.samples[draw] for draw in self._passed]
        order = rank_by_formula(
            [sample.score + sample.template_score for sample in passed], [sample.formula for sample in passed]
        )
        return [self._passed[position] for position in order]

    def choose(self, num: int) -> list[Copy]:
        """Select more of the crystals that passed the first two filters, the best of each formula first.

        Args:
            num: crystals to be selected in all; fewer are if too many are copies or of another group.

        Returns:
            What was lost as a copy on the way.
        """
        self._copies = []
        for draw in self.best_first():
            if self.n_selected >= num:
                break
            if draw in self._open:
                self.samples[draw] = self._decide(self.samples[draw], self._open.pop(draw))
        return self._copies

    def exchange(self, copy: Copy) -> None:
        """Let a copy take the place of the crystal that it is equal to; in that of a prototype it counts as one."""
        draw, reason = self.draws[copy.position], f"equal to sample {copy.draw}, which lies lower"
        old, new = self.samples[draw], self.samples[copy.draw]
        source = PROTOTYPE if old.source == PROTOTYPE else new.source
        self.samples[draw] = replace(old, status=COPY, reason=reason)
        self.samples[copy.draw] = replace(new, status=SELECTED, reason="", source=source)
        self.draws[copy.position], self.structures[copy.position] = copy.draw, copy.structure
        self._index.exchange(copy.position, copy.structure)

    def close(self, reason: str = "") -> None:
        """Give up all that was neither selected nor lost.

        Args:
            reason: why; left out, that others came first.
        """
        reason = reason or f"{self.n_selected} others came first, the best of each formula"
        for draw in self._open:
            self.samples[draw] = replace(self.samples[draw], status=NOT_SELECTED, reason=reason)
        self._open.clear()

    def _enter(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its status if it is lost at one of the first filters; otherwise its status is open."""
        if not sample.strictly_valid:
            return replace(sample, status=STRICT)
        if sample.reason:
            return replace(sample, status=COMPOSITION)
        if self.request.constraints != NO_CONSTRAINTS:
            with self.timed("constraint"):
                fault = self.request.constraints.fault(*to_structures(crystal))
            if fault:
                return replace(sample, status=CONSTRAINT, reason=fault)
        self._open[sample.draw] = crystal
        self._passed.append(sample.draw)
        return sample

    def _decide(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its status; the crystal is selected if it passes the last two filters."""
        (structure,) = to_structures(crystal)
        with self.timed("symmetry"):
            sample = with_symmetry(sample, structure)
        fitting = (EXACT, SUPERGROUP) if self.request.supergroups else (EXACT,)
        if self.request.space_group_number is not None and sample.symmetry_match not in fitting:
            group = f"space group {sample.space_group}" if sample.space_group else "no space group"
            return replace(sample, status=SYMMETRY, reason=f"spglib finds {group}")
        if self.request.space_group_number is not None and not self.request.supergroups:
            for degrees in (None, ANGLE_TOLERANCE):
                (near,) = space_groups([structure], DATASET_SYMPREC, degrees)
                if near not in (NOT_FOUND, self.request.space_group_number):
                    within = f"{DATASET_SYMPREC:g} Å" + (f" and {degrees:g}°" if degrees else "")
                    reason = f"spglib finds space group {near} within {within}"
                    return replace(sample, status=SYMMETRY, reason=reason)
        if sample.space_group in self.request.constraints.excluded_groups:
            return replace(sample, status=SYMMETRY, reason=f"space group {sample.space_group} is excluded")
        with self.timed("copies"):
            equal = self._index.find(structure)
        if equal >= 0:
            self._copies.append(Copy(draw=sample.draw, structure=structure, position=equal))
            return replace(sample, status=COPY, reason=f"equal to sample {self.draws[equal]}")
        self._index.add(structure)
        return self._select(sample, structure)

    def _note(self, sample: Sample, crystal: Crystals) -> Sample:
        """The sample with its verdicts, selected whatever they are."""
        (structure,) = to_structures(crystal)
        if isfinite(sample.density):
            with self.timed("symmetry"):
                sample = with_symmetry(sample, structure)
        return self._select(sample, structure)

    def _select(self, sample: Sample, structure: Structure) -> Sample:
        self.structures.append(structure)
        self.draws.append(sample.draw)
        return replace(sample, status=SELECTED)


def _formulas(crystals: Crystals) -> list[Formula]:
    atoms = crystals.atomic_numbers.split(crystals.num_atoms.tolist())
    return [Formula.from_atomic_numbers(numbers.tolist()) for numbers in atoms]


def with_symmetry(sample: Sample, structure: Structure) -> Sample:
    """The sample with its space group, and how that relates to the requested one."""
    (group,) = space_groups([structure])
    if group == NOT_FOUND:
        return sample
    if group == sample.space_group_requested:
        match = EXACT
    else:
        match = SUPERGROUP if is_supergroup(group, sample.space_group_requested) else OTHER
    return replace(sample, space_group=group, symmetry_match=match)
