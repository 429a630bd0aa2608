"""Other tools' crystals relaxed: what all potentials say of them, and what is left without copies and known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import group_equal, match_any
from crystalgraph.crystals.table import CrystalTable, reduced_compositions
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.cache import cache_folder
from crystalgraph.known.novelty import substituted
from crystalgraph.relax.hull import METASTABLE, Hull
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.relaxation import RelaxSettings
from tools.bench.heights import compared, heights
from tools.bench.judge import kept_single_points
from tools.bench.progress_lines import ProgressLines


@dataclass(frozen=True, kw_only=True)
class Given:
    """A crystal that another tool made.

    Attributes:
        method: that made it.
        structure: as its file has it.
        is_valid: strictly.
        dft: decomposition energy, eV/atom.
        hulls: of its system, by potential; None where an element has no energy.
    """

    method: str
    structure: Structure
    is_valid: bool
    dft: float
    hulls: Mapping[str, Hull | None]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of one.

    Attributes:
        given: the crystal.
        structure: relaxed.
        above: eV/atom above the hull of each potential.
    """

    given: Given
    structure: Structure
    above: Mapping[str, float]

    @property
    def is_metastable(self) -> bool:
        """By all potentials."""
        return all(value <= METASTABLE for value in self.above.values())


def picked(crystals: Sequence[Given], n: int) -> list[Given]:
    """At most n of each method, at random."""
    rng = np.random.default_rng(0)
    methods = sorted({given.method for given in crystals})
    groups = [[given for given in crystals if given.method == method] for method in methods]
    return [own[k] for own in groups for k in sorted(rng.permutation(len(own))[:n].tolist())]


def relax(crystals: Sequence[Given], potentials: Sequence[str], cache: Path | None, workers: Workers) -> list[Ended]:
    """Relax what is strictly valid by the first potential; the others give single points after it.

    What ends without a usable energy is left out.
    """
    eligible = [given for given in crystals if given.is_valid]
    relaxations = relax_many(
        [given.structure for given in eligible],
        RelaxSettings(potential=potentials[0]),
        workers=workers,
        folder=cache_folder("relaxations", cache),
        progress=ProgressLines(),
    )
    usable = [
        (given, found.structure, found.energy)
        for given, found in zip(eligible, relaxations, strict=True)
        if found.usable and found.structure is not None
    ]
    structures = [structure for _, structure, _ in usable]
    energies = {potentials[0]: [energy for _, _, energy in usable]} | {
        potential: kept_single_points(structures, potential, cache, workers) for potential in potentials[1:]
    }
    above = {
        potential: heights([given.hulls[potential] for given, _, _ in usable], structures, own)
        for potential, own in energies.items()
    }
    return [
        Ended(given=given, structure=structure, above={potential: own[k] for potential, own in above.items()})
        for k, (given, structure, _) in enumerate(usable)
    ]


def unique(ended: Sequence[Ended], workers: Workers) -> list[Ended]:
    """The first of equal ones of each method."""
    kept: list[Ended] = []
    for method in sorted({each.given.method for each in ended}):
        own = [each for each in ended if each.given.method == method]
        labels = group_equal([each.structure for each in own], workers=workers).tolist()
        kept += [each for k, each in enumerate(own) if labels[k] == k]
    return kept


def novel(ended: Sequence[Ended], learned: CrystalTable, workers: Workers, *, re_decorated: bool) -> list[Ended]:
    """Those that equal no crystal of the learned ones, or no such crystal with the elements put in either."""
    if not ended:
        return []
    structures = [each.structure for each in ended]
    compositions = reduced_compositions(from_structures(structures))
    table = substituted(learned, compositions) if re_decorated else learned.of_compositions(compositions)
    if not len(table):
        return list(ended)
    equal = match_any(structures, table.crystals, workers=workers).tolist()
    return [each for each, place in zip(ended, equal, strict=True) if place < 0]


def relaxed_figures(
    crystals: Sequence[Given],
    n: int,
    potentials: Sequence[str],
    learned: CrystalTable,
    cache: Path | None,
    workers: Workers,
) -> dict[str, Any]:
    """What relaxing some crystals of each method gives.

    Args:
        crystals: all of them.
        n: most of each method that are looked at.
        potentials: the first relaxes, the others judge what it gives.
        learned: crystals of all chemistries.
        cache: folder of finished energies.
        workers: that work them out.

    Returns:
        For JSON: by potential the comparison with DFT, and by method the share of those looked at that is strictly
        valid, metastable by all potentials, and of these what is unique, novel and new, each of what is left before.
    """
    chosen = picked(crystals, n)
    ended = relax(chosen, potentials, cache, workers)
    metastable = [each for each in ended if each.is_metastable]
    distinct = unique(metastable, workers)
    unknown = novel(distinct, learned, workers, re_decorated=False)
    stages = {
        "strictly valid": [given.method for given in chosen if given.is_valid],
        "metastable": [each.given.method for each in metastable],
        "unique": [each.given.method for each in distinct],
        "novel": [each.given.method for each in unknown],
        "new": [each.given.method for each in novel(unknown, learned, workers, re_decorated=True)],
    }
    looked_at = [given.method for given in chosen]
    return {
        "of_each": n,
        "relaxed": len(ended),
        "all": {
            potential: compared([each.above[potential] for each in ended], [each.given.dft for each in ended])
            for potential in potentials
        },
        "by_method": {
            method: {
                stage: Rate(numerator=members.count(method), denominator=looked_at.count(method)).record()
                for stage, members in stages.items()
            }
            for method in sorted(set(looked_at))
        },
    }
