"""What all arms that are compared share, above all the verdicts on their crystals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.table import CrystalTable, reduced_compositions
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.judge import Judgement, judge
from crystalgraph.evaluation.rows import Verdicts
from crystalgraph.known.novelty import substituted
from crystalgraph.models.bundle import Model
from crystalgraph.progress import Progress
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.relaxation import Relaxation
from tools.bench.arms import CHOSEN, FILES, OF_MODEL, Arm, FileCrystals, make_arm
from tools.bench.chosen import ChosenCrystals


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all arms share.

    Attributes:
        system: of all crystals.
        model: for our arms.
        known: known phases; a crystal that matches none of them is novel.
        learned: crystals of all chemistries; one that matches none of them re-decorated either is new.
        hulls: of the known phases, by each potential: the first relaxes, the others relax what may be metastable on.
        files: crystals of another tool, for the arm of that name.
        teachers: hulls of the potentials whose single points are looked at as an order, beside the score they taught.
        running: worker processes that hold it.
        work: folder of everything drawn and relaxed.
        progress: told what is going on.
    """

    system: ChemicalSystem
    model: Model
    known: CrystalTable
    learned: CrystalTable
    hulls: dict[str, Hull]
    teachers: dict[str, Hull]
    files: CrystalTable | None
    running: Workers
    work: Path
    progress: Progress

    @property
    def potential(self) -> str:
        """The one that relaxes."""
        return next(iter(self.hulls))

    @property
    def hull(self) -> Hull:
        """That of the potential which relaxes."""
        return self.hulls[self.potential]

    def arm(self, name: str, seed: int) -> Arm:
        """A fresh arm."""
        if name in CHOSEN:
            return ChosenCrystals(
                name,
                self.model,
                self.system,
                seed,
                hulls=self.hulls,
                running=self.running,
                progress=self.progress,
            )
        if name == FILES and self.files is not None:
            return FileCrystals(self.files.structures, seed)
        return make_arm(name, self.system, self.model, self.known.structures, seed)

    def key(self, name: str, seed: int) -> str:
        """What the crystals of an arm depend on, as a file name."""
        weights = f"-{self.model.checksum[:12]}" if name in OF_MODEL else ""
        if name == FILES and self.files is not None:
            weights = f"-{self.files.record()['sha256'][:12]}"
        return f"{name}{weights}-seed{seed}"

    def judged(self, verdicts: Verdicts, relaxations: dict[str, Relaxation], potential: str | None = None) -> Judgement:
        """The verdicts by the first potential, or by another; whether a crystal is new is asked of MSUN ones alone."""
        found = judge(
            verdicts,
            known=self.known,
            relaxations=relaxations,
            hull=self.hulls[potential or self.potential],
            workers=self.running,
        )
        hits = {row.name: relaxations[row.name].structure for row in found.rows if row.msun}
        structures = [structure for structure in hits.values() if structure is not None]
        if not structures:
            return found
        decorated = substituted(self.learned, reduced_compositions(from_structures(structures)))
        equal = match_any(structures, decorated.crystals, workers=self.running)
        is_new = dict(zip(hits, (equal < 0).tolist(), strict=True))
        return replace(found, rows=[replace(row, relaxed_new=is_new.get(row.name)) for row in found.rows])
