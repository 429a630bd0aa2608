"""Relax only what is worth it: from screened crystals to the few that lie low above the hull.

The stages, in order: *single point* (the energy as drawn, one evaluation), *choice* (per composition the best third,
and a tenth of the rest at random, so that what the single point misjudges has a chance), *relaxation* (given up early
while far above the hull), *finalists* (what may be metastable is relaxed tighter, then perturbed and relaxed again),
*confirmation* (other potentials relax these on from there, each on the hull that it gives the known phases itself),
*copies* (what relaxed into a crystal that another, lower one became). What is left is ranked by its energy above the
hull, for the finalists that of the first potential that confirms. Every crystal keeps the stage that it was lost at,
and why.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
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
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.relax.pool import Workers, relax_many, single_points
from crystalgraph.relax.potentials import check_judges, potential_identity, potential_label
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening.choice import choose
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import (
    CHOICE,
    CONFIRMATION,
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
    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.relax.hull import Hull

KNOWN_PHASES = "known phases"
"""What is relaxed before the first stage, where it never was."""


def run_funnel(
    structures: Sequence[Structure],
    hulls: Mapping[str, Hull],
    settings: FunnelSettings,
    *,
    workers: int | Workers = 1,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> FunnelResult:
    """Take crystals through all stages.

    Args:
        structures: strictly valid crystals of the hulls' system, none equal to another.
        hulls: of the known phases, by each potential of the settings.
        settings: how.
        workers: processes, or such as run already; the result does not depend on them.
        folder: where finished relaxations are kept, so that a run that was killed repeats none.
        progress: called as the work goes on.

    Returns:
        What became of every crystal, and the relaxed ones.
    """
    if isinstance(workers, Workers):
        return _Work(list(structures), hulls, settings, workers, folder, progress).run()
    with Workers(workers) as running:
        return _Work(list(structures), hulls, settings, running, folder, progress).run()


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """A funnel that waits for the crystals of a run.

    Attributes:
        settings: how it works.
        hulls: of the known phases, by each potential.
        hull_seconds: wall clock spent on them.
        workers: processes.
        partial: folder in which finished relaxations are kept until the run's own folder holds them; None where nothing
            is written.
    """

    settings: FunnelSettings
    hulls: dict[str, Hull]
    hull_seconds: float
    workers: int
    partial: Path | None

    @classmethod
    def prepare(
        cls,
        system: ChemicalSystem,
        settings: FunnelSettings,
        *,
        known: CrystalTable | None = None,
        workers: int,
        partial: Path | None,
        progress: Progress | None = None,
    ) -> Funnel:
        """Get the hulls of a system, whose known phases are relaxed if they never were.

        Args:
            system: of the crystals to come.
            settings: how the funnel works.
            known: known phases; None means the shipped ones.
            workers: processes.
            partial: see the class.
            progress: called as known phases are relaxed.

        Raises:
            InputError: if an element has no reference, or a potential cannot be made.
        """
        start = perf_counter()
        with Workers(workers) as running:
            hulls = {
                judge: reference_hull(
                    system,
                    known,
                    settings=replace(REFERENCE_SETTINGS, potential=judge),
                    workers=running,
                    progress=relabelled(progress, f"{KNOWN_PHASES}, {potential_label(judge)}"),
                )
                for judge in check_judges(settings.potential, settings.confirm)
            }
        seconds = perf_counter() - start
        return cls(settings=settings, hulls=hulls, hull_seconds=seconds, workers=workers, partial=partial)

    @property
    def hull(self) -> Hull:
        """That of the potential which the rank goes by."""
        return self.hulls[self.settings.ranked_by]

    def run(self, structures: Sequence[Structure], progress: Progress | None = None) -> FunnelResult:
        """See `run_funnel`."""
        return run_funnel(
            structures,
            self.hulls,
            self.settings,
            workers=self.workers,
            folder=None if self.partial is None else self.partial / RELAXATIONS,
            progress=progress,
        )

    def as_record(self, result: FunnelResult) -> dict[str, Any]:
        """What was done, in JSON's types."""
        return {
            "settings": self.settings.as_record(),
            "potentials": [
                potential_identity(judge) | {"label": potential_label(judge), "hull": _hull_record(hull)}
                for judge, hull in self.hulls.items()
            ],
            "ranked_by": self.settings.ranked_by,
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


def _hull_record(hull: Hull) -> dict[str, Any]:
    return {"sha256": hull.identity(), "phases": len(hull.phases), "left_out": hull.left_out}


@dataclass
class _Work:
    """A funnel at work."""

    drawn: list[Structure]
    hulls: Mapping[str, Hull]
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
            CONFIRMATION: self._confirm,
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
            judges=self.settings.judges,
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
            self.settings.potential,
            workers=self.workers,
            progress=relabelled(self.progress, SINGLE_POINT),
        )
        no_energy = f"{potential_label(self.settings.potential)} gives no energy"
        for k, structure, energy in zip(left, structures, energies, strict=True):
            if isfinite(energy):
                self._set(k, e_above_hull_unrelaxed=self._above(self.settings.potential, structure, energy))
            else:
                self._set(k, funnel_status=SINGLE_POINT, funnel_reason=no_energy)

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
        finalists = self._finalists(left)
        relaxations = self._relax_many([self._relaxed(k) for k in finalists], self.settings.final, FINALISTS)
        for k, relaxation in zip(finalists, relaxations, strict=True):
            if relaxation.usable:
                self._note(k, relaxation)
            else:
                self._count(k, relaxation)
                self._remark(k, f"not refined: {relaxation.reason or relaxation.status}")

    def _confirm(self, left: list[int]) -> None:
        """Each other potential relaxes the finalists on from where they are, and says how high they lie by its hull."""
        finalists = self._finalists(left)
        for judge in self.settings.confirm:
            settings = self.settings.confirmation(judge)
            stage = f"{CONFIRMATION}, {potential_label(judge)}"
            relaxations = self._relax_many([self._relaxed(k) for k in finalists], settings, stage)
            for k, relaxation in zip(finalists, relaxations, strict=True):
                self._count(k, relaxation)
                if not relaxation.usable or relaxation.structure is None:
                    self._remark(k, f"{potential_label(judge)}: {relaxation.reason or relaxation.status}")
                    self._opinion(k, judge, nan)
                    continue
                self._opinion(k, judge, self._above(judge, relaxation.structure, relaxation.energy))
                if judge == self.settings.ranked_by:
                    self.structures[k] = relaxation.structure
                    self._set(k, relax_status=relaxation.status, ranked_by=judge)
                    self._set(k, e_above_hull=self.outcomes[k].e_above_hull_by[judge], energy=relaxation.energy)
        for k in left if self.settings.confirm else []:
            energies = [energy for energy in self.outcomes[k].e_above_hull_by.values() if isfinite(energy)]
            spread = max(energies) - min(energies) if len(energies) > 1 else nan
            agreed = _agreed(energies, len(self.settings.judges))
            self._set(k, e_above_hull_spread=spread, agreed_metastable=agreed)

    def _finalists(self, left: list[int]) -> list[int]:
        return [k for k in left if self.outcomes[k].e_above_hull <= self.settings.finalists_below]

    def _relaxed(self, k: int) -> Structure:
        structure = self.structures[k]
        assert structure is not None
        return structure

    def _above(self, judge: str, structure: Structure, energy: float) -> float:
        return self.hulls[judge].e_above_hull(structure.composition, energy)

    def _relax_many(self, structures: list[Structure], settings: RelaxSettings, stage: str) -> list[Relaxation]:
        return relax_many(
            structures,
            settings,
            workers=self.workers,
            hull=self.hulls[settings.potential],
            folder=self.folder,
            progress=relabelled(self.progress, stage),
        )

    def _note(self, k: int, relaxation: Relaxation) -> None:
        """Take over what a relaxation by the first potential gave."""
        self._count(k, relaxation)
        judge, energy = self.settings.potential, nan
        if relaxation.structure is not None and isfinite(relaxation.energy):
            energy = self._above(judge, relaxation.structure, relaxation.energy)
        self._set(k, relax_status=relaxation.status, funnel_reason=relaxation.reason, energy=relaxation.energy)
        self._set(k, e_above_hull=energy, ranked_by=judge)
        self._opinion(k, judge, energy)
        if relaxation.usable:
            self.structures[k] = relaxation.structure

    def _count(self, k: int, relaxation: Relaxation) -> None:
        self.seconds[k] += relaxation.seconds
        self._set(k, n_steps=(self.outcomes[k].n_steps or 0) + relaxation.n_steps)

    def _remark(self, k: int, remark: str) -> None:
        self._set(k, funnel_reason="; ".join(filter(None, (self.outcomes[k].funnel_reason, remark))))

    def _opinion(self, k: int, judge: str, energy: float) -> None:
        self._set(k, e_above_hull_by=self.outcomes[k].e_above_hull_by | {judge: energy})

    def _drop_copies(self, left: list[int]) -> None:
        ordered = self._ranked(left)
        relaxed = [structure for k in ordered if (structure := self.structures[k]) is not None]
        labels = group_equal(relaxed, progress=relabelled(self.progress, COPIES))
        for i, (k, first, group) in enumerate(zip(ordered, labels.tolist(), space_groups(relaxed), strict=True)):
            self._set(k, relaxed_space_group=None if group == NOT_FOUND else group)
            if first != i:
                self.copy_of[k] = ordered[first]
                self._set(k, funnel_status=COPIES)


def _agreed(energies: Sequence[float], n_judges: int) -> bool | None:
    """Whether all judges call a crystal metastable, by the answers that there are; None where that cannot be said."""
    if any(energy > METASTABLE for energy in energies):
        return False
    return True if len(energies) == n_judges else None
