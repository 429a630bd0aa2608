"""A funnel at work: crystals enter, some are relaxed, more enter, and at the end the finalists are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf, isfinite, nan
from time import perf_counter
from typing import TYPE_CHECKING

from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.space_groups import NOT_FOUND, space_groups
from crystalgraph.progress import continued, relabelled
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.potentials import potential_label
from crystalgraph.screening.choice import SLOPE_LATER, SPREAD_LATER, Expectation, choose
from crystalgraph.screening.competition import agreement, with_prototypes
from crystalgraph.screening.ledger import NOT_CHOSEN, Ledger
from crystalgraph.screening.outcome import (
    CHOICE,
    CONFIRMATION,
    COPIES,
    FINALISTS,
    FIRST_STEPS,
    RELAXATION,
    RELAXED,
    SINGLE_POINT,
    FunnelResult,
)
from crystalgraph.screening.rank import rank
from crystalgraph.screening.symmetrise import symmetrised

if TYPE_CHECKING:
    from pymatgen.core import Structure

AS_LOW = 0.005
"""eV/atom above the lowest of equal crystals up to which what a prototype became stands for them."""

LOWER = 0.001
"""eV/atom; less is no difference: between equal crystals, or to the hull of the known phases."""

SYMMETRY = "symmetry of the finalists"
"""What progress calls the part of the confirmation that looks for more symmetry."""


class Descent(Ledger):
    """The stages of `crystalgraph.screening.funnel`, for crystals that come in rounds.

    Made like a `Ledger`.
    """

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
        start, judge = perf_counter(), self.settings.potential
        new = self._append(structures, from_prototype or [False] * len(structures))
        energies = self._above_as_drawn(structures, judge, SINGLE_POINT)
        for k, above in zip(new, energies, strict=True):
            self._waiting.append(k)
            if isfinite(above):
                self._set(k, e_above_hull_unrelaxed=above)
            else:
                self._lose(k, SINGLE_POINT, f"{potential_label(judge)} gives no energy")
        self._count_stage(SINGLE_POINT, len(new), sum(not isfinite(above) for above in energies), start)

    def prefer_lower(self, copies: Sequence[tuple[int, Structure]]) -> list[int]:
        """Let crystals take the place of those that they are equal to and lie below, as drawn.

        Within the tolerances of equality a cell may be stretched by a fifth: enough to lie in another valley of the
        energy, as the two tetragonal distortions of a cubic crystal do.

        Args:
            copies: the position of a crystal that entered, and one equal to it.

        Returns:
            Positions in ``copies`` of those that took a place; none of a crystal that has taken its first steps.
        """
        start, lower = perf_counter(), dict[int, int]()
        without = {k for k, outcome in enumerate(self.outcomes) if outcome.funnel_status == SINGLE_POINT}
        open_places = (set(self._waiting) | without) - set(self._begun)
        compared = [i for i, (k, _) in enumerate(copies) if k in open_places]
        structures = [copies[i][1] for i in compared]
        energies = self._above_as_drawn(structures, self.settings.potential, SINGLE_POINT)
        for i, structure, above in zip(compared, structures, energies, strict=True):
            k = copies[i][0]
            if above < (inf if k in without else self.outcomes[k].e_above_hull_unrelaxed - LOWER):
                self._drawn[k], lower[k] = structure, i
                self._set(k, e_above_hull_unrelaxed=above)
            if k in without and k in lower:
                without.remove(k)
                self._waiting.append(k)
                self._set(k, funnel_status=CHOICE, funnel_reason=NOT_CHOSEN)
                self._count_stage(SINGLE_POINT, 0, -1, perf_counter())
        self._count_stage(SINGLE_POINT, 0, 0, start)
        return sorted(lower.values())

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
        energies = self._above_as_drawn([self._starts[k] for k in begun], judge, FIRST_STEPS)
        self._begun |= {k: above for k, above in zip(begun, energies, strict=True) if isfinite(above)}
        self._count_stage(FIRST_STEPS, len(chosen), sum(k not in self._starts for k in chosen), start)

    def _lose(self, k: int, stage: str, reason: str) -> None:
        self._set(k, funnel_status=stage, funnel_reason=reason)
        self._waiting.remove(k)

    def finish(self) -> FunnelResult:
        """The last stages, once nothing more is to be relaxed."""
        left = self._passed()
        self._stages[CHOICE] = replace(
            self._stages[CHOICE], entered=len(self._waiting) + self.n_relaxed, lost=len(self._waiting)
        )
        for name, stage_work in (
            (FINALISTS, self._refine),
            (COPIES, partial(self._drop_copies, prototypes_too=False)),
            (CONFIRMATION, self._confirm),
        ):
            start, entered = perf_counter(), self._passed()
            stage_work(entered)
            self._count_stage(name, len(entered), len(entered) - len(self._passed()), start)
        start, confirmed = perf_counter(), self._passed()
        hulls = self._compete(left)
        self._drop_copies(confirmed)
        self._count_stage(COPIES, 0, len(confirmed) - len(self._passed()), start)
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
            if self._from_prototype[k] and below < -LOWER:
                self._remark(k, f"{-below:.3f} eV/atom below the hull of the known phases alone")
            self._set(k, e_above_hull=above[judge], e_above_hull_by=above)
            if self.settings.confirm:
                spread, agreed = agreement(list(above.values()), len(self.settings.judges))
                self._set(k, e_above_hull_spread=spread, agreed_metastable=agreed)
        return hulls

    def _finalists(self, left: list[int]) -> list[int]:
        return [k for k in left if self.outcomes[k].e_above_hull <= self.settings.finalists_below]

    def _drop_copies(self, left: list[int], *, prototypes_too: bool = True) -> None:
        """Of equal crystals keep the lowest, or what a prototype became if it is as low within `AS_LOW`.

        Args:
            left: what passed so far.
            prototypes_too: whether what a prototype became may be lost to what did not come from one. Before the
                confirmation it is not, as it is to be on every potential's hull.
        """
        best_first = rank([AS_LOW * self._from_prototype[k] - self.outcomes[k].e_above_hull for k in left])
        ordered = [left[i] for i in best_first]
        relaxed = [self._relaxed(k) for k in ordered]
        labels = group_equal(relaxed, progress=relabelled(self.progress, COPIES)).tolist()
        for k, label, group in zip(ordered, labels, space_groups(relaxed), strict=True):
            first = ordered[label]
            self._set(k, relaxed_space_group=None if group == NOT_FOUND else group)
            if first == k or (self._from_prototype[k] > self._from_prototype[first] and not prototypes_too):
                continue
            self._copy_of[k] = first
            self._set(k, funnel_status=COPIES)
