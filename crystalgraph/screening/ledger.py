"""What a funnel knows of each of its crystals: where it is, what it costs, how high it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, nan
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.engine.workers import Workers
from crystalgraph.progress import Progress, relabelled
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.many import relax_many, single_points
from crystalgraph.relax.pressure import work
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import CHOICE, RELAXED, STAGES, Outcome, Stage
from crystalgraph.screening.rank import rank

if TYPE_CHECKING:
    from pymatgen.core import Structure

NOT_CHOSEN = "others were more likely to be metastable, or the lowest of their formula"


class Ledger:
    """Crystals in the order in which they entered, what became of each so far, and how more is found out.

    Args:
        hulls: of the known phases, by each potential of the settings.
        settings: how the funnel works.
        workers: processes that run already.
        folder: where finished relaxations are kept; None for nowhere.
        progress: called as the work goes on.

    Attributes:
        outcomes: what became of each crystal so far.
        structures: as relaxed; None where not.
        n_relaxed: relaxations begun.
    """

    def __init__(
        self,
        hulls: Mapping[str, Hull],
        settings: FunnelSettings,
        workers: Workers,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.hulls, self.settings, self.workers = hulls, settings, workers
        self.folder, self.progress = folder, progress
        self.outcomes: list[Outcome] = []
        self.structures: list[Structure | None] = []
        self.n_relaxed = 0
        self._drawn: list[Structure] = []
        self._formulas: list[str] = []
        self._from_prototype: list[bool] = []
        self._copy_of: list[int | None] = []
        self._seconds: list[float] = []
        self._enthalpies: list[dict[str, float]] = []
        self._waiting: list[int] = []
        self._begun: dict[int, float] = {}
        self._starts: dict[int, Structure] = {}
        self._rng = np.random.default_rng(settings.seed)
        self._stages = {name: Stage(name=name, entered=0, lost=0, seconds=0.0) for name in STAGES}

    @property
    def lowest(self) -> dict[str, float]:
        """eV/atom above the hull of the lowest relaxed crystal of each formula."""
        lowest: dict[str, float] = {}
        for formula, outcome in zip(self._formulas, self.outcomes, strict=True):
            if outcome.funnel_status == RELAXED:
                lowest[formula] = min(lowest.get(formula, inf), outcome.e_above_hull)
        return lowest

    def lowest_structures(self, n: int) -> list[Structure]:
        """The relaxed crystals that lie lowest above the hull, lowest first."""
        ordered = sorted(self._passed(), key=lambda k: (self.outcomes[k].e_above_hull, k))
        return [self._relaxed(k) for k in ordered[:n]]

    def _append(self, structures: Sequence[Structure], from_prototype: Sequence[bool]) -> range:
        """Take crystals in; their positions."""
        new = range(len(self._drawn), len(self._drawn) + len(structures))
        self._drawn += structures
        self._formulas += [str(Formula.from_atomic_numbers(s.atomic_numbers)) for s in structures]
        self._from_prototype += from_prototype
        self.outcomes += [Outcome(funnel_status=CHOICE, funnel_reason=NOT_CHOSEN) for _ in new]
        self.structures += [None for _ in new]
        self._copy_of += [None for _ in new]
        self._seconds += [0.0 for _ in new]
        self._enthalpies += [{} for _ in new]
        return new

    def _passed(self) -> list[int]:
        return [k for k, outcome in enumerate(self.outcomes) if outcome.funnel_status == RELAXED]

    def _ranked(self, members: list[int]) -> list[int]:
        return [members[i] for i in rank([-self.outcomes[k].e_above_hull for k in members])]

    def _relaxed(self, k: int) -> Structure:
        structure = self.structures[k]
        assert structure is not None
        return structure

    def _above_as_drawn(self, structures: Sequence[Structure], judge: str, stage: str) -> list[float]:
        """eV/atom above the hull of crystals as they are; NaN where the potential gives no energy."""
        progress = relabelled(self.progress, stage)
        energies = single_points(structures, judge, workers=self.workers, progress=progress)
        return [
            self.hulls[judge].e_above_hull(structure.composition, energy + self._work(structure))
            if isfinite(energy)
            else nan
            for structure, energy in zip(structures, energies, strict=True)
        ]

    def _relax_many(
        self, structures: list[Structure], settings: RelaxSettings, stage: str, progress: Progress | None = None
    ) -> list[Relaxation]:
        return relax_many(
            structures,
            settings,
            workers=self.workers,
            hull=self.hulls[settings.potential],
            folder=self.folder,
            progress=relabelled(progress or self.progress, stage),
        )

    def _note(self, k: int, relaxation: Relaxation) -> None:
        """Take over what a relaxation by the first potential gave."""
        self._count(k, relaxation)
        judge, above = self.settings.potential, nan
        self._enthalpies[k][judge] = relaxation.enthalpy
        if relaxation.structure is not None and isfinite(relaxation.enthalpy):
            above = self.hulls[judge].e_above_hull(relaxation.structure.composition, relaxation.enthalpy)
        self._set(
            k,
            relax_status=relaxation.status,
            funnel_reason=relaxation.reason,
            e_above_hull=above,
            e_above_hull_by={judge: above},
            ranked_by=judge,
            **self._energy_of(relaxation),
        )
        if relaxation.usable:
            self.structures[k] = relaxation.structure

    def _energy_of(self, relaxation: Relaxation) -> dict[str, float]:
        """The columns of an energy; there is an enthalpy beside it only under pressure."""
        return {"energy": relaxation.energy, "enthalpy": relaxation.enthalpy if self.settings.pressure else nan}

    def _work(self, structure: Structure) -> float:
        return work(self.settings.pressure, structure.volume, len(structure))

    def _count_stage(self, name: str, entered: int, lost: int, start: float) -> None:
        stage = self._stages[name]
        seconds = stage.seconds + perf_counter() - start
        self._stages[name] = Stage(name=name, entered=stage.entered + entered, lost=stage.lost + lost, seconds=seconds)

    def _set(self, k: int, **changes: Any) -> None:
        self.outcomes[k] = replace(self.outcomes[k], **changes)

    def _count(self, k: int, relaxation: Relaxation) -> None:
        self._seconds[k] += relaxation.seconds
        self._set(k, n_steps=(self.outcomes[k].n_steps or 0) + relaxation.n_steps)

    def _remark(self, k: int, remark: str) -> None:
        self._set(k, funnel_reason="; ".join(filter(None, (self.outcomes[k].funnel_reason, remark))))
