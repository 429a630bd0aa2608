"""What energies make of the samples of structure prediction: their order by single points, and what relaxes lowest.

All crystals of a case have one formula, so that energies per atom order them without a hull.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pymatgen.core import Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.engine.workers import Workers
from crystalgraph.io.cache import cache_folder
from crystalgraph.progress import Progress
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.relaxation import RelaxSettings
from tools.bench.judge import kept_single_points

AT_A_TIME = 20
"""Cases whose single points are kept together, so that a run that was killed goes on."""


def by_single_point(pools: Sequence[Crystals], potential: str, cache: Path | None, workers: Workers) -> list[list[int]]:
    """Positions in each pool, the lowest energy first; those without an energy are left out.

    Args:
        pools: crystals of one formula each.
        potential: gives the energies of the crystals as they are.
        cache: see `tools.bench.judge.kept_single_points`.
        workers: that work them out.
    """
    orders: list[list[int]] = []
    for start in range(0, len(pools), AT_A_TIME):
        some = pools[start : start + AT_A_TIME]
        structures = [structure for pool in some for structure in to_structures(pool)]
        energies = iter(kept_single_points(structures, potential, cache, workers) if structures else [])
        for pool in some:
            own = [next(energies) for _ in range(len(pool))]
            orders.append(sorted((k for k, energy in enumerate(own) if math.isfinite(energy)), key=own.__getitem__))
    return orders


def relaxed(
    lists: Sequence[Sequence[Structure]],
    potential: str,
    cache: Path | None,
    workers: Workers,
    progress: Progress | None = None,
) -> tuple[list[list[Structure]], list[float]]:
    """What the crystals of each list become, the lowest energy first, and the CPU seconds that each list took.

    Those that end without a usable energy are left out. The arguments are as for `by_single_point`.
    """
    results = iter(
        relax_many(
            list(chain.from_iterable(lists)),
            RelaxSettings(potential=potential),
            workers=workers,
            folder=cache_folder("relaxations", cache),
            progress=progress,
        )
    )
    found: list[list[Structure]] = []
    seconds: list[float] = []
    for some in lists:
        own = [next(results) for _ in some]
        usable = sorted((result for result in own if result.usable), key=lambda result: result.energy)
        found.append([result.structure for result in usable if result.structure is not None])
        seconds.append(sum(result.seconds for result in own))
    return found, seconds
