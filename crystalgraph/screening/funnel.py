"""Relax only what is worth it: from screened crystals to the few that lie low above the hull.

The stages, in order: *single point* (the energy as drawn, one evaluation), *choice* (per composition the best third,
and a tenth of the rest at random, so that what the single point misjudges has a chance), *relaxation* (given up early
while far above the hull), *finalists* (what may be metastable is relaxed tighter, then perturbed and relaxed again),
*copies* (what relaxed into a crystal that another, lower one became). What is left is ranked by its energy above the
hull. Every crystal keeps the stage that it was lost at, and why.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, nan
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.io.run_layout import RELAXATIONS
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.progress import Progress, relabelled
from crystalgraph.relax.calculator import calculator_identity
from crystalgraph.relax.pool import Workers, relax_many, single_points
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening.choice import choose
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import (
    CHOICE,
    COPIES,
    FINALISTS,
    RELAXATION,
    RELAXED,
    SINGLE_POINT,
    FunnelResult,
    Outcome,
    Stage,
)
from crystalgraph.screening.rank import rank

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.chemistry.system import ChemicalSystem
    from crystalgraph.relax.hull import Hull

KNOWN_PHASES = "known phases"
"""What is relaxed before the first stage, where it never was."""


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
        What became of every crystal, and the relaxed ones.
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
        partial: folder in which finished relaxations are kept until the run's own folder holds them; None where nothing
            is written.
    """

    settings: FunnelSettings
    hull: Hull
    hull_seconds: float
    workers: int
    partial: Path | None

    @classmethod
    def prepare(
        cls,
        system: ChemicalSystem,
        settings: FunnelSettings,
        *,
        workers: int,
        partial: Path | None,
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
            folder=None if self.partial is None else self.partial / RELAXATIONS,
            progress=progress,
        )

    def as_record(self, result: FunnelResult) -> dict[str, Any]:
        """What was done, in JSON's types."""
        return {
            "settings": self.settings.as_record(),
            "calculator": calculator_identity(self.settings.calculator),
            "hull": {"sha256": self.hull.identity(), "phases": len(self.hull.phases)},
            "workers": self.workers,
            "stages": [asdict(stage) | {"seconds": round(stage.seconds, 3)} for stage in result.stages],
            "relaxed": len(result.order),
        }

    def clear(self) -> None:
        """Remove the finished relaxations; anything else in their folder stays."""
        if self.partial is None:
            return
        shutil.rmtree(self.partial / RELAXATIONS, ignore_errors=True)
        if self.partial.is_dir() and not any(self.partial.iterdir()):
            self.partial.rmdir()


@dataclass
class _Work:
    """A funnel at work."""

    drawn: list[Structure]
    hull: Hull
    settings: FunnelSettings
    workers: Workers
    folder: Path | None
    progress: Progress | None
    stages: list[Stage] = field(default_factory=list)

    def run(self) -> FunnelResult:
        """Stage after stage."""
        self.outcomes = [Outcome(funnel_status=RELAXED) for _ in self.drawn]
        self.structures: list[Structure | None] = [None] * len(self.drawn)
        self.copy_of: list[int | None] = [None] * len(self.drawn)
        self.seconds = [0.0] * len(self.drawn)
        stages = {
            SINGLE_POINT: self._single_points,
            CHOICE: self._choose,
            RELAXATION: self._relax,
            FINALISTS: self._refine,
            COPIES: self._drop_copies,
        }
        left = list(range(len(self.drawn)))
        for name, work in stages.items():
            start = perf_counter()
            work(left)
            passed = [k for k in left if self.outcomes[k].funnel_status == RELAXED]
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
        structures = [self.drawn[k] for k in left]
        energies = single_points(
            structures,
            self.settings.calculator,
            workers=self.workers,
            progress=relabelled(self.progress, SINGLE_POINT),
        )
        for k, structure, energy in zip(left, structures, energies, strict=True):
            if isfinite(energy):
                self._set(k, e_above_hull_unrelaxed=self.hull.e_above_hull(structure.composition, energy))
            else:
                self._set(k, funnel_status=SINGLE_POINT, funnel_reason="the calculator gives no energy")

    def _choose(self, left: list[int]) -> None:
        chosen = choose(
            [self.outcomes[k].e_above_hull_unrelaxed for k in left],
            [str(Formula.from_atomic_numbers(self.drawn[k].atomic_numbers)) for k in left],
            best_share=self.settings.best_share,
            random_share=self.settings.random_share,
            seed=self.settings.seed,
            limit=self.settings.limit,
        )
        for i in sorted(set(range(len(left))) - set(chosen)):
            self._set(left[i], funnel_status=CHOICE, funnel_reason="neither low enough for its composition nor drawn")

    def _relax(self, left: list[int]) -> None:
        relaxations = self._relax_many([self.drawn[k] for k in left], self.settings.relaxation, RELAXATION)
        for k, relaxation in zip(left, relaxations, strict=True):
            self._note(k, relaxation)
            if not relaxation.usable:
                self._set(k, funnel_status=RELAXATION)

    def _refine(self, left: list[int]) -> None:
        finalists = [k for k in left if self.outcomes[k].e_above_hull <= self.settings.finalists_below]
        structures = [structure for k in finalists if (structure := self.structures[k]) is not None]
        relaxations = self._relax_many(structures, self.settings.final, FINALISTS)
        for k, relaxation in zip(finalists, relaxations, strict=True):
            if relaxation.usable:
                self._note(k, relaxation)
            else:
                reason = f"not refined: {relaxation.reason or relaxation.status}"
                self._set(k, funnel_reason=reason, n_steps=(self.outcomes[k].n_steps or 0) + relaxation.n_steps)
                self.seconds[k] += relaxation.seconds

    def _relax_many(self, structures: list[Structure], settings: RelaxSettings, stage: str) -> list[Relaxation]:
        return relax_many(
            structures,
            settings,
            workers=self.workers,
            hull=self.hull,
            folder=self.folder,
            progress=relabelled(self.progress, stage),
        )

    def _note(self, k: int, relaxation: Relaxation) -> None:
        """Take over what a relaxation gave."""
        self.seconds[k] += relaxation.seconds
        energy = nan
        if relaxation.structure is not None and isfinite(relaxation.energy):
            energy = self.hull.e_above_hull(relaxation.structure.composition, relaxation.energy)
        self._set(
            k,
            relax_status=relaxation.status,
            funnel_reason=relaxation.reason,
            n_steps=(self.outcomes[k].n_steps or 0) + relaxation.n_steps,
            e_above_hull=energy,
        )
        if relaxation.usable:
            self.structures[k] = relaxation.structure

    def _drop_copies(self, left: list[int]) -> None:
        ordered = self._ranked(left)
        relaxed = [structure for k in ordered if (structure := self.structures[k]) is not None]
        labels = group_equal(relaxed, progress=relabelled(self.progress, COPIES))
        for i, (k, first, group) in enumerate(zip(ordered, labels.tolist(), space_groups(relaxed), strict=True)):
            self._set(k, relaxed_space_group=None if group == NOT_FOUND else group)
            if first != i:
                self.copy_of[k] = ordered[first]
                self._set(k, funnel_status=COPIES)
