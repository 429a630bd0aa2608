"""A funnel at work: crystals enter, some are relaxed, more enter, and at the end the finalists are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf, isfinite, nan
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.engine.workers import Workers
from crystalgraph.progress import Progress, continued, relabelled
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.many import relax_many, single_points
from crystalgraph.relax.potentials import potential_label
from crystalgraph.relax.pressure import work
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.screening.choice import SLOPE_LATER, SPREAD_LATER, Expectation, choose
from crystalgraph.screening.competition import agreement, representatives, with_prototypes
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import (
    CHOICE,
    CONFIRMATION,
    COPIES,
    FINALISTS,
    FIRST_STEPS,
    RELAXATION,
    RELAXED,
    SINGLE_POINT,
    STAGES,
    FunnelResult,
    Outcome,
    Stage,
)
from crystalgraph.screening.rank import rank
from crystalgraph.screening.symmetrise import symmetrised

if TYPE_CHECKING:
    from pymatgen.core import Structure

NOT_CHOSEN = "others were more likely to be metastable, or the lowest of their formula"

SYMMETRY = "symmetry of the finalists"
"""What progress calls the part of the confirmation that looks for more symmetry."""


class Descent:
    """The stages of `crystalgraph.screening.funnel`, for crystals that come in rounds.

    Args:
        hulls: of the known phases, by each potential of the settings.
        settings: how.
        workers: processes that run already.
        folder: where finished relaxations are kept; None for nowhere.
        progress: called as the work goes on.

    Attributes:
        outcomes: what became of each crystal so far, in the order in which they entered.
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
    def allowed(self) -> int:
        """How many more relaxations the limit of the settings allows, at most those of one round."""
        limit, size = self.settings.limit, self.settings.round_size
        return size if limit is None else min(size, limit - self.n_relaxed)

    def enter(self, structures: Sequence[Structure], from_prototype: Sequence[bool] | None = None) -> None:
        """Take crystals in and find their energies as drawn.

        Args:
            structures: strictly valid, none equal to another or to one that is in.
            from_prototype: which are known crystals with the requested elements in their place; none if left out.
        """
        start, first, judge = perf_counter(), len(self._drawn), self.settings.potential
        new = range(first, first + len(structures))
        self._drawn += structures
        self._formulas += [str(Formula.from_atomic_numbers(s.atomic_numbers)) for s in structures]
        self._from_prototype += from_prototype or [False] * len(structures)
        self.outcomes += [Outcome(funnel_status=CHOICE, funnel_reason=NOT_CHOSEN) for _ in new]
        self.structures += [None for _ in new]
        self._copy_of += [None for _ in new]
        self._seconds += [0.0 for _ in new]
        self._enthalpies += [{} for _ in new]
        progress = relabelled(self.progress, SINGLE_POINT)
        energies = single_points(structures, judge, workers=self.workers, progress=progress)
        for k, structure, energy in zip(new, structures, energies, strict=True):
            self._waiting.append(k)
            if isfinite(energy):
                above = self.hulls[judge].e_above_hull(structure.composition, energy + self._work(structure))
                self._set(k, e_above_hull_unrelaxed=above)
            else:
                self._lose(k, SINGLE_POINT, f"{potential_label(judge)} gives no energy")
        self._count_stage(SINGLE_POINT, len(new), sum(not isfinite(energy) for energy in energies), start)

    def relax(self, n: int) -> int:
        """Relax the crystals that are worth it most; several times as many take the first steps before it is chosen.

        Args:
            n: how many at most.

        Returns:
            How many were; 0 if none waits or none may be.
        """
        if n <= 0:
            return 0
        self._take_first_steps(n * self.settings.first_steps_per_relaxation)
        start = perf_counter()
        done = [k for k in self._begun if isfinite(self.outcomes[k].e_above_hull)]
        begun, ended = [self._begun[k] for k in done], [self.outcomes[k].e_above_hull for k in done]
        later = Expectation.of(begun, ended, SLOPE_LATER, SPREAD_LATER)
        chosen = self._choose(n, self._begun, later, random_share=0.0)
        self._count_stage(CHOICE, 0, 0, start)
        if not chosen:
            return 0
        start = perf_counter()
        self._waiting = sorted(set(self._waiting) - set(chosen))
        self.n_relaxed += len(chosen)
        total = max(self.n_relaxed, self.settings.limit or 0)
        progress = continued(self.progress, self.n_relaxed - len(chosen), total)
        starts = [self._starts[k] for k in chosen]
        relaxations = self._relax_many(starts, self.settings.relaxation, RELAXATION, progress)
        for k, relaxation in zip(chosen, relaxations, strict=True):
            self._note(k, relaxation)
            self._set(k, funnel_status=RELAXED if relaxation.usable else RELAXATION)
        lost = sum(not relaxation.usable for relaxation in relaxations)
        self._count_stage(RELAXATION, len(chosen), lost, start)
        return len(chosen)

    def _take_first_steps(self, n: int) -> None:
        """Let at most n of those that wait begin; where they come, the potential that ranks says how high they are."""
        start = perf_counter()
        drawn = {k: self.outcomes[k].e_above_hull_unrelaxed for k in self._waiting if k not in self._begun}
        known = Expectation.of([self.outcomes[k].e_above_hull_unrelaxed for k in self._begun], [*self._begun.values()])
        chosen = self._choose(n, drawn, known, random_share=self.settings.random_share)
        relaxations = self._relax_many([self._drawn[k] for k in chosen], self.settings.beginning, FIRST_STEPS)
        judge, hull = self.settings.ranked_by, self.hulls[self.settings.potential]
        begun: list[int] = []
        for k, relaxation in zip(chosen, relaxations, strict=True):
            self._count(k, relaxation)
            if relaxation.usable and relaxation.structure is not None:
                self._starts[k] = relaxation.structure
                self._begun[k] = hull.e_above_hull(self._drawn[k].composition, relaxation.enthalpy)
                begun.append(k)
            else:
                self._lose(k, FIRST_STEPS, relaxation.reason or relaxation.status)
        begun = begun if judge != self.settings.potential else []
        starts, progress = [self._starts[k] for k in begun], relabelled(self.progress, FIRST_STEPS)
        for k, energy in zip(begun, single_points(starts, judge, workers=self.workers, progress=progress), strict=True):
            if isfinite(energy):
                enthalpy = energy + self._work(self._starts[k])
                self._begun[k] = self.hulls[judge].e_above_hull(self._drawn[k].composition, enthalpy)
        self._count_stage(FIRST_STEPS, len(chosen), sum(k not in self._starts for k in chosen), start)

    def _lose(self, k: int, stage: str, reason: str) -> None:
        self._set(k, funnel_status=stage, funnel_reason=reason)
        self._waiting.remove(k)

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

    def finish(self) -> FunnelResult:
        """The last stages, once nothing more is to be relaxed."""
        left = self._passed()
        self._stages[CHOICE] = replace(
            self._stages[CHOICE], entered=len(self._waiting) + self.n_relaxed, lost=len(self._waiting)
        )
        hulls = self.hulls
        for name, stage_work in ((FINALISTS, self._refine), (CONFIRMATION, self._confirm), (COPIES, self._drop_copies)):
            start, entered = perf_counter(), self._passed()
            if name == COPIES:
                hulls = self._compete(left)
            stage_work(entered)
            self._count_stage(name, len(entered), len(entered) - len(self._passed()), start)
        return FunnelResult(
            outcomes=self.outcomes,
            structures=self.structures,
            copy_of=self._copy_of,
            seconds=self._seconds,
            judges=self.settings.judges,
            order=self._ranked(self._passed()),
            stages=list(self._stages.values()),
            hulls=hulls,
            pressure=self.settings.pressure,
        )

    def _passed(self) -> list[int]:
        return [k for k, outcome in enumerate(self.outcomes) if outcome.funnel_status == RELAXED]

    def _count_stage(self, name: str, entered: int, lost: int, start: float) -> None:
        stage = self._stages[name]
        seconds = stage.seconds + perf_counter() - start
        self._stages[name] = Stage(name=name, entered=stage.entered + entered, lost=stage.lost + lost, seconds=seconds)

    def _ranked(self, members: list[int]) -> list[int]:
        return [members[i] for i in rank([-self.outcomes[k].e_above_hull for k in members])]

    def _set(self, k: int, **changes: Any) -> None:
        self.outcomes[k] = replace(self.outcomes[k], **changes)

    def _choose(
        self, n: int, energies: Mapping[int, float], expectation: Expectation, random_share: float
    ) -> list[int]:
        """Which of those that wait are next, by energies above the hull of some of them."""
        waiting = [k for k in self._waiting if k in energies]
        kinds = [[k for k in waiting if self._from_prototype[k] == kind] for kind in (False, True)]
        if len(set(self._formulas)) == 1 or not all(kinds):
            kinds, shares = [waiting], [n]
        else:
            known = min(round(self.settings.prototype_share * n), len(kinds[1]))
            shares = [n - known, known]
        chosen = []
        for members, share in zip(kinds, shares, strict=True):
            picked = choose(
                [energies[k] for k in members],
                [self._formulas[k] for k in members],
                share,
                expectation=expectation,
                lowest=self.lowest,
                rng=self._rng,
                random_share=random_share,
            )
            chosen += [members[i] for i in picked]
        return chosen

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
                    self._enthalpies[k][judge] = nan
                    continue
                self._enthalpies[k][judge] = relaxation.enthalpy
                if judge == self.settings.ranked_by:
                    self.structures[k] = relaxation.structure
                    self._set(k, relax_status=relaxation.status, ranked_by=judge, **self._energy_of(relaxation))
        self._symmetrise(finalists)

    def _symmetrise(self, finalists: list[int]) -> None:
        """Move the finalists onto the symmetry that costs them no energy, by the potential that they are ranked by."""
        for judge in self.settings.judges:
            own = [k for k in finalists if self.outcomes[k].ranked_by == judge]
            relax = partial(self._relax_many, settings=self.settings.symmetric(judge), stage=SYMMETRY)
            moved = symmetrised([self._relaxed(k) for k in own], [self._enthalpies[k][judge] for k in own], relax)
            for k, crystal in zip(own, moved, strict=True):
                if crystal is not None:
                    self.structures[k], self._enthalpies[k][judge] = crystal.structure, crystal.enthalpy
                    self._set(k, energy=crystal.energy)
                    self._set(k, enthalpy=crystal.enthalpy if self.settings.pressure else nan)
                    self._remark(k, f"symmetric within {crystal.tolerance:g} Å, and made so")

    def _compete(self, left: list[int]) -> dict[str, Hull]:
        """Put what prototypes became on the hulls, and say how high everything lies above these."""
        prototypes = [k for k in left if self._from_prototype[k]]
        names = {k: (f"prototype {self._formulas[k]} {k}", self._formulas[k]) for k in prototypes}
        hulls = {
            judge: with_prototypes(hull, [(*names[k], self._enthalpies[k].get(judge, nan)) for k in prototypes])
            for judge, hull in self.hulls.items()
        }
        for k in left:
            composition = self._drawn[k].composition
            above = {j: hulls[j].e_above_hull(composition, energy) for j, energy in self._enthalpies[k].items()}
            judge, known = self.outcomes[k].ranked_by, self.hulls
            below = known[judge].e_above_hull(composition, self._enthalpies[k][judge])
            if self._from_prototype[k] and below < 0:
                self._remark(k, f"{-below:.3f} eV/atom below the hull of the known phases alone")
            self._set(k, e_above_hull=above[judge], e_above_hull_by=above)
            if self.settings.confirm:
                spread, agreed = agreement(list(above.values()), len(self.settings.judges))
                self._set(k, e_above_hull_spread=spread, agreed_metastable=agreed)
        return hulls

    def _finalists(self, left: list[int]) -> list[int]:
        return [k for k in left if self.outcomes[k].e_above_hull <= self.settings.finalists_below]

    def _relaxed(self, k: int) -> Structure:
        structure = self.structures[k]
        assert structure is not None
        return structure

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

    def _count(self, k: int, relaxation: Relaxation) -> None:
        self._seconds[k] += relaxation.seconds
        self._set(k, n_steps=(self.outcomes[k].n_steps or 0) + relaxation.n_steps)

    def _remark(self, k: int, remark: str) -> None:
        self._set(k, funnel_reason="; ".join(filter(None, (self.outcomes[k].funnel_reason, remark))))

    def _drop_copies(self, left: list[int]) -> None:
        ordered = self._ranked(left)
        relaxed = [structure for k in ordered if (structure := self.structures[k]) is not None]
        labels = group_equal(relaxed, progress=relabelled(self.progress, COPIES)).tolist()
        first = representatives(ordered, labels, self._from_prototype)
        for k, label, group in zip(ordered, labels, space_groups(relaxed), strict=True):
            self._set(k, relaxed_space_group=None if group == NOT_FOUND else group)
            if first[label] != k:
                self._copy_of[k] = first[label]
                self._set(k, funnel_status=COPIES)
