"""Relax only what is worth it: from screened crystals to the few that lie low above the hull.

The stages, in order: *single point* (the energy as drawn, one evaluation), *choice* (per composition the best third,
and a tenth of the rest at random, so that what the single point misjudges has a chance), *relaxation* (given up early
while far above the hull), *finalists* (what may be metastable is relaxed tighter, then perturbed and relaxed again),
*copies* (what relaxed into a crystal that another, lower one became). What is left is ranked by its energy above the
hull. Every crystal keeps the stage that it was lost at, and why.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil, isfinite, nan
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.io.run_layout import RELAXATIONS
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.progress import Progress, relabelled
from crystalgraph.relax.calculator import CHGNET, calculator_identity
from crystalgraph.relax.pool import Workers, relax_many, single_points
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening.rank import rank

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.chemistry.system import ChemicalSystem
    from crystalgraph.relax.hull import Hull

SINGLE_POINT, CHOICE, RELAXATION, FINALISTS, COPIES = "single point", "choice", "relaxation", "finalists", "copies"

STAGES = (SINGLE_POINT, CHOICE, RELAXATION, FINALISTS, COPIES)
"""In order; crystals are lost in all but the finalists' stage, which can only lower an energy."""

RELAXED = "relaxed"
"""The fate of a crystal that passed all stages."""

BEST_SHARE, RANDOM_SHARE = 1 / 3, 0.1
"""Share of each composition chosen by its single points, and share of the rest chosen at random."""

ABORT = ((10, 0.5), (20, 0.25), (50, 0.15))
"""(step, eV/atom): a relaxation ends when it is further above the hull than this at that step."""

FINALIST = ABORT[-1][1]
"""eV/atom; what ends higher above the hull is not refined."""

FMAX, FINAL_FMAX = 0.1, 0.05
"""Largest force at which a relaxation ends, eV/Å; of all, and of the finalists."""

KNOWN_PHASES = "known phases"
"""What is relaxed before the first stage, where it never was."""


@dataclass(frozen=True, kw_only=True)
class FunnelSettings:
    """How a funnel works.

    Attributes:
        calculator: as `crystalgraph.relax.calculator.make_calculator` takes it.
        limit: most relaxations, >= 1; None leaves it to the shares.
        seed: of the random choice.
    """

    calculator: str = CHGNET
    limit: int | None = None
    seed: int = 0

    @property
    def relaxation(self) -> RelaxSettings:
        """Of what is chosen."""
        return RelaxSettings(calculator=self.calculator, fmax=FMAX, abort=ABORT)

    @property
    def final(self) -> RelaxSettings:
        """Of the finalists."""
        return RelaxSettings(calculator=self.calculator, fmax=FINAL_FMAX, saddle_check=True)

    def as_record(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        return {
            "limit": self.limit,
            "best_share": BEST_SHARE,
            "random_share": RANDOM_SHARE,
            "abort": [list(rule) for rule in ABORT],
            "fmax": FMAX,
            "max_steps": self.relaxation.max_steps,
            "finalists_below": FINALIST,
            "finalists_fmax": FINAL_FMAX,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one crystal; all fields are columns of ``candidates.csv``. Energies are eV/atom.

    Attributes:
        relax_fate: "relaxed", or the stage where the crystal was lost; empty if it never entered the funnel.
        relax_reason: why it was lost, or what a relaxation that was kept has to say.
        e_hull_single_point: energy above the hull as drawn; NaN where there is none.
        e_above_hull: energy above the hull after relaxation, negative below it; NaN where not relaxed.
        relax_status: of the last relaxation, see `crystalgraph.relax.relaxation.Relaxation`; empty where not relaxed.
        n_steps: of all relaxations; None where not relaxed.
        space_group_relaxed: by spglib with symprec 0.1 Å; None where not relaxed or not found.
    """

    relax_fate: str = ""
    relax_reason: str = ""
    e_hull_single_point: float = nan
    e_above_hull: float = nan
    relax_status: str = ""
    n_steps: int | None = None
    space_group_relaxed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage took in, lost, and cost.

    Attributes:
        name: one of ``STAGES``.
        entered: crystals.
        lost: crystals that did not leave it.
        seconds: of wall clock.
    """

    name: str
    entered: int
    lost: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FunnelResult:
    """All that a funnel found; lists are in the order of the crystals given unless said otherwise.

    Attributes:
        outcomes: one for each crystal.
        structures: as relaxed; None where no relaxation gave a crystal that can be used.
        copy_of: for what was lost as a copy, the position of the crystal it became equal to; else None.
        seconds: CPU seconds spent in the relaxations of each crystal.
        order: positions of the crystals that passed all stages, lowest above the hull first.
        stages: in order.
    """

    outcomes: list[Outcome]
    structures: list[Structure | None]
    copy_of: list[int | None]
    seconds: list[float]
    order: list[int]
    stages: list[Stage]


def choose(e_hull: Sequence[float], formulas: Sequence[str], *, seed: int = 0, limit: int | None = None) -> list[int]:
    """Choose what is worth a relaxation: the best third of each composition, and a tenth of the rest at random.

    Args:
        e_hull: energy above the hull as drawn, eV/atom; what has none (NaN) is never chosen.
        formulas: reduced formula of each.
        seed: of the random choice.
        limit: most that are chosen. The share of random ones stays; the best of every composition go before the
            second best of any, and among these the lowest above the hull.

    Returns:
        Positions, the random ones last.
    """
    by_formula: defaultdict[str, list[int]] = defaultdict(list)
    for k in sorted((k for k, energy in enumerate(e_hull) if isfinite(energy)), key=lambda k: (e_hull[k], k)):
        by_formula[formulas[k]].append(k)
    best, rest = [], []
    for members in by_formula.values():
        n_best = ceil(BEST_SHARE * len(members))
        best += [(place, e_hull[k], k) for place, k in enumerate(members[:n_best])]
        rest += members[n_best:]
    n_random = round(RANDOM_SHARE * len(rest))
    if limit is not None and len(best) + n_random > limit:
        n_random = round(limit * n_random / (len(best) + n_random))
        best = sorted(best)[: limit - n_random]
    chance = np.random.default_rng(seed).permutation(len(rest))[:n_random]
    return [k for *_, k in sorted(best)] + [sorted(rest)[i] for i in sorted(chance.tolist())]


def run_funnel(
    structures: Sequence[Structure],
    hull: Hull,
    settings: FunnelSettings,
    *,
    workers: int | Workers = 1,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> FunnelResult:
    """Take crystals through all stages.

    Args:
        structures: strictly valid crystals of the hull's system, none equal to another.
        hull: of the known phases.
        settings: how.
        workers: processes, or such as run already; the result does not depend on them.
        folder: where finished relaxations are kept, so that a run that was killed repeats none.
        progress: called as the work goes on.

    Returns:
        The fate of every crystal, and the relaxed ones.
    """
    if isinstance(workers, Workers):
        return _Work(list(structures), hull, settings, workers, folder, progress).run()
    with Workers(settings.calculator, workers) as running:
        return _Work(list(structures), hull, settings, running, folder, progress).run()


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """A funnel that waits for the crystals of a run.

    Attributes:
        settings: how it works.
        hull: of the known phases.
        hull_seconds: wall clock spent on the hull.
        workers: processes.
        partial: folder in which finished relaxations are kept until the run's own folder holds them.
    """

    settings: FunnelSettings
    hull: Hull
    hull_seconds: float
    workers: int
    partial: Path

    @classmethod
    def prepare(
        cls,
        system: ChemicalSystem,
        settings: FunnelSettings,
        *,
        workers: int,
        partial: Path,
        progress: Progress | None = None,
    ) -> Funnel:
        """Get the hull of a system, whose known phases are relaxed if they never were.

        Args:
            system: of the crystals to come.
            settings: how the funnel works.
            workers: processes.
            partial: see the class.
            progress: called as known phases are relaxed.

        Raises:
            InputError: if an element has no reference, or the calculator cannot be made.
        """
        start = perf_counter()
        hull = reference_hull(
            system,
            settings=replace(REFERENCE_SETTINGS, calculator=settings.calculator),
            workers=workers,
            progress=relabelled(progress, KNOWN_PHASES),
        )
        seconds = perf_counter() - start
        return cls(settings=settings, hull=hull, hull_seconds=seconds, workers=workers, partial=partial)

    def run(self, structures: Sequence[Structure], progress: Progress | None = None) -> FunnelResult:
        """See `run_funnel`."""
        return run_funnel(
            structures,
            self.hull,
            self.settings,
            workers=self.workers,
            folder=self.partial / RELAXATIONS,
            progress=progress,
        )

    def as_record(self, found: FunnelResult) -> dict[str, Any]:
        """What was done, in JSON's types."""
        return {
            "settings": self.settings.as_record(),
            "calculator": calculator_identity(self.settings.calculator),
            "hull": {"sha256": self.hull.identity(), "phases": len(self.hull.phases)},
            "workers": self.workers,
            "stages": [asdict(stage) | {"seconds": round(stage.seconds, 3)} for stage in found.stages],
            "relaxed": len(found.order),
        }

    def clear(self) -> None:
        """Remove the finished relaxations; anything else in their folder stays."""
        shutil.rmtree(self.partial / RELAXATIONS, ignore_errors=True)
        if self.partial.is_dir() and not any(self.partial.iterdir()):
            self.partial.rmdir()


@dataclass
class _Work:
    """A funnel at work."""

    given: list[Structure]
    hull: Hull
    settings: FunnelSettings
    workers: Workers
    folder: Path | None
    progress: Progress | None
    stages: list[Stage] = field(default_factory=list)

    def run(self) -> FunnelResult:
        """Stage after stage."""
        self.outcomes = [Outcome(relax_fate=RELAXED) for _ in self.given]
        self.structures: list[Structure | None] = [None] * len(self.given)
        self.copy_of: list[int | None] = [None] * len(self.given)
        self.seconds = [0.0] * len(self.given)
        stages = {
            SINGLE_POINT: self._single_points,
            CHOICE: self._choose,
            RELAXATION: self._relax,
            FINALISTS: self._refine,
            COPIES: self._drop_copies,
        }
        left = list(range(len(self.given)))
        for name, work in stages.items():
            start = perf_counter()
            work(left)
            passed = [k for k in left if self.outcomes[k].relax_fate == RELAXED]
            lost = len(left) - len(passed)
            self.stages.append(Stage(name=name, entered=len(left), lost=lost, seconds=perf_counter() - start))
            left = passed
        return FunnelResult(
            outcomes=self.outcomes,
            structures=self.structures,
            copy_of=self.copy_of,
            seconds=self.seconds,
            order=self._ranked(left),
            stages=self.stages,
        )

    def _ranked(self, members: list[int]) -> list[int]:
        return [members[i] for i in rank([-self.outcomes[k].e_above_hull for k in members])]

    def _set(self, k: int, **changes: Any) -> None:
        self.outcomes[k] = replace(self.outcomes[k], **changes)

    def _single_points(self, left: list[int]) -> None:
        asked = [self.given[k] for k in left]
        energies = single_points(
            asked, self.settings.calculator, workers=self.workers, progress=relabelled(self.progress, SINGLE_POINT)
        )
        for k, structure, energy in zip(left, asked, energies, strict=True):
            if isfinite(energy):
                self._set(k, e_hull_single_point=self.hull.e_above_hull(structure.composition, energy))
            else:
                self._set(k, relax_fate=SINGLE_POINT, relax_reason="the calculator gives no energy")

    def _choose(self, left: list[int]) -> None:
        energies = [self.outcomes[k].e_hull_single_point for k in left]
        formulas = [self.given[k].composition.reduced_formula for k in left]
        chosen = choose(energies, formulas, seed=self.settings.seed, limit=self.settings.limit)
        for i in sorted(set(range(len(left))) - set(chosen)):
            self._set(left[i], relax_fate=CHOICE, relax_reason="neither low enough for its composition nor drawn")

    def _relax(self, left: list[int]) -> None:
        asked = [self.given[k] for k in left]
        for k, found in zip(left, self._relax_many(asked, self.settings.relaxation, RELAXATION), strict=True):
            self._note(k, found)
            if not found.usable:
                self._set(k, relax_fate=RELAXATION)

    def _refine(self, left: list[int]) -> None:
        finalists = [k for k in left if self.outcomes[k].e_above_hull <= FINALIST]
        asked = [structure for k in finalists if (structure := self.structures[k]) is not None]
        for k, found in zip(finalists, self._relax_many(asked, self.settings.final, FINALISTS), strict=True):
            if found.usable:
                self._note(k, found)
            else:
                reason = f"not refined: {found.reason or found.status}"
                self._set(k, relax_reason=reason, n_steps=(self.outcomes[k].n_steps or 0) + found.n_steps)
                self.seconds[k] += found.seconds

    def _relax_many(self, asked: list[Structure], settings: RelaxSettings, stage: str) -> list[Relaxation]:
        return relax_many(
            asked,
            settings,
            workers=self.workers,
            hull=self.hull,
            folder=self.folder,
            progress=relabelled(self.progress, stage),
        )

    def _note(self, k: int, found: Relaxation) -> None:
        """Take over what a relaxation found."""
        self.seconds[k] += found.seconds
        energy = nan
        if found.structure is not None and isfinite(found.energy):
            energy = self.hull.e_above_hull(found.structure.composition, found.energy)
        self._set(
            k,
            relax_status=found.status,
            relax_reason=found.reason,
            n_steps=(self.outcomes[k].n_steps or 0) + found.n_steps,
            e_above_hull=energy,
        )
        if found.usable:
            self.structures[k] = found.structure

    def _drop_copies(self, left: list[int]) -> None:
        ordered = self._ranked(left)
        relaxed = [structure for k in ordered if (structure := self.structures[k]) is not None]
        labels = group_equal(relaxed, progress=relabelled(self.progress, COPIES))
        for i, (k, first, group) in enumerate(zip(ordered, labels.tolist(), space_groups(relaxed), strict=True)):
            self._set(k, space_group_relaxed=None if group == NOT_FOUND else group)
            if first != i:
                self.copy_of[k] = ordered[first]
                self._set(k, relax_fate=COPIES)
