"""Relax only what is worth it: from screened crystals to the few that lie low above the hull.

The stages, in order: *single point* (the energy as drawn, one evaluation), *first steps* (of several times as many as
will be relaxed, the symmetry held; where they come, the potential that ranks at the end gives the energy), *choice*
(what is likely to end metastable, or the lowest of its formula, by that energy and by what was relaxed so far),
*relaxation* (on from there, given up early while far above the hull), *finalists* (what may be metastable is relaxed
tighter, free to lose it, then perturbed and relaxed again), *confirmation* (other potentials relax these on from
there, each on the hull that it gives the known phases itself), *copies* (what relaxed into a crystal that another,
lower one became; before the confirmation, and again after it). Crystals enter and are relaxed in rounds; from the
finalists on the stages come once, at the end.

Known crystals with the requested elements in their place compete: what they became is put on the hull beside the known
phases. What is left is ranked by its energy above that hull, for the finalists that of the first potential that
confirms. Every crystal keeps the stage that it was lost at, and why.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.io.run_layout import RELAXATIONS
from crystalgraph.known.reference_hull import reference_hull
from crystalgraph.progress import Progress, relabelled
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.many import ready_for
from crystalgraph.relax.potentials import check_judges, potential_identity, potential_label
from crystalgraph.screening.descent import Descent
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import FunnelResult

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.chemistry.system import ChemicalSystem, Formula
    from crystalgraph.crystals.table import CrystalTable

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
    with at_work(workers) as running:
        descent = Descent(hulls, settings, running, folder, progress)
        descent.enter(structures)
        while descent.relax(descent.allowed):
            pass
        return descent.finish()


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """A funnel that waits for the crystals of a run.

    Attributes:
        settings: how it works.
        hulls: of the known phases, by each potential.
        hull_seconds: wall clock spent on them.
        workers: that relax.
        partial: folder in which finished relaxations are kept until the run's own folder holds them; None where nothing
            is written.
    """

    settings: FunnelSettings
    hulls: dict[str, Hull]
    hull_seconds: float
    workers: Workers
    partial: Path | None

    @classmethod
    def prepare(
        cls,
        system: ChemicalSystem,
        settings: FunnelSettings,
        *,
        formula: Formula | None = None,
        known: CrystalTable | None = None,
        workers: Workers,
        partial: Path | None,
        progress: Progress | None = None,
    ) -> Funnel:
        """Get the hulls of a system, whose known phases are relaxed if they never were.

        Args:
            system: of the crystals to come.
            settings: how the funnel works.
            formula: of all of them; None where they have several.
            known: known phases; None means the shipped ones.
            workers: that relax.
            partial: see the class.
            progress: called as known phases are relaxed.

        Raises:
            InputError: if an element has no reference, or a potential cannot be made.
        """
        start, judges = perf_counter(), check_judges(settings.potential, settings.confirm)
        ready_for(workers, judges)
        hulls = {
            judge: reference_hull(
                system,
                known,
                at=formula,
                settings=settings.reference(judge),
                workers=workers,
                progress=relabelled(progress, f"{KNOWN_PHASES}, {potential_label(judge)}"),
            )
            for judge in judges
        }
        seconds = perf_counter() - start
        return cls(settings=settings, hulls=hulls, hull_seconds=seconds, workers=workers, partial=partial)

    @property
    def hull(self) -> Hull:
        """That of the potential which the rank goes by."""
        return self.hulls[self.settings.ranked_by]

    def descent(self, progress: Progress | None = None) -> Descent:
        """The funnel at work."""
        folder = None if self.partial is None else self.partial / RELAXATIONS
        return Descent(self.hulls, self.settings, self.workers, folder, progress)

    def as_record(self, result: FunnelResult) -> dict[str, Any]:
        """What was done, in JSON's types."""
        return {
            "settings": self.settings.as_record(),
            "potentials": [
                potential_identity(judge) | {"label": potential_label(judge), "hull": _hull_record(hull)}
                for judge, hull in self.hulls.items()
            ],
            "ranked_by": self.settings.ranked_by,
            "workers": self.workers.number,
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
    bounds = [phase.name for phase in hull.phases if phase.is_bound]
    return {"sha256": hull.identity(), "phases": len(hull.phases), "not_relaxed": bounds, "left_out": hull.left_out}
