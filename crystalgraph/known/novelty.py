"""What a crystal must differ from to be new: the crystals learned from, and those with other elements put in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.table import CrystalTable, Source, reduced_compositions
from crystalgraph.engine.workers import Workers
from crystalgraph.symmetry.substitute import substitutions


def substituted(learned: CrystalTable, compositions: NDArray[np.int64]) -> CrystalTable:
    """Crystals of the given reduced compositions, as they are and with other elements put in.

    Elements take the places of others in order of electronegativity, in every way that gives one of the compositions;
    several species may become one, as a generator may do that too. Lattices stay as they are, so only a comparison
    that scales volumes makes sense. Of crystals that are the same numbers to a thousandth after scaling the first is
    kept.

    Args:
        learned: crystals of any chemistry.
        compositions: see `crystalgraph.crystals.table.reduced_compositions`, (m, 119).

    Returns:
        Crystals under the ids of those that they were made from.
    """
    wanted = {row.tobytes() for row in compositions}
    own = learned.of_compositions(compositions)
    parts, ids = [own.crystals], list(own.ids)
    for present in sorted({tuple(np.flatnonzero(row).tolist()) for row in compositions}):
        for chosen, changed in substitutions(learned.crystals, list(present)):
            fits = [k for k, row in enumerate(reduced_compositions(changed)) if row.tobytes() in wanted]
            parts.append(changed[fits])
            ids += [learned.ids[k] for k in chosen[fits].tolist()]
    everything = Crystals.concatenate(parts)
    distinct = _distinct(everything)
    name = f"{learned.source.name}, re-decorated"
    return CrystalTable(
        crystals=everything[distinct],
        ids=[ids[k] for k in distinct],
        source=Source(name=name, sha256=learned.source.sha256),
    )


def templates_seen(
    phases: CrystalTable, training: CrystalTable, workers: int | Workers = 1
) -> list[tuple[str, bool | None]]:
    """The template of each phase, whatever its elements, and whether a crystal learned from has the same.

    Only crystals learned from that have the same stoichiometry, elements aside, and a whole number of the phase's
    primitive cells are looked at: no other can have the template.

    Args:
        phases: known phases.
        training: the crystals learned from.
        workers: processes.

    Returns:
        For each phase the name of its template (such as ``136:a/f``) and whether it was seen. Where no symmetry was
        found the name is empty and nothing is said.
    """
    from crystalgraph.symmetry.extract import extract

    found = extract(phases.crystals)
    names = [""] * len(phases)
    shapes = _shapes(phases.compositions)
    candidates: set[tuple[bytes, int]] = set()
    for source, name, n_atoms in zip(
        found.source.tolist(), found.templates.prototypes(), found.templates.num_atoms.tolist(), strict=True
    ):
        names[source] = name
        candidates.add((shapes[source], n_atoms))
    sizes: dict[bytes, set[int]] = {}
    for shape, n_atoms in candidates:
        sizes.setdefault(shape, set()).add(n_atoms)
    possible = [
        any(n_atoms % size == 0 for size in sizes.get(shape, ()))
        for shape, n_atoms in zip(_shapes(training.compositions), training.crystals.num_atoms.tolist(), strict=True)
    ]
    seen: set[str] = set()
    if any(possible):
        seen.update(extract(training[np.array(possible)].crystals, workers=workers).templates.prototypes())
    return [(name, name in seen if name else None) for name in names]


def _shapes(compositions: NDArray[np.int64]) -> list[bytes]:
    """The counts of each reduced formula, largest first, whatever the elements."""
    return [row.tobytes() for row in np.ascontiguousarray(np.sort(compositions, axis=1)[:, ::-1])]


def _distinct(crystals: Crystals) -> list[int]:
    """Positions of the crystals whose species, coordinates and scaled lattice no earlier one has, to a thousandth."""
    length = (crystals.volume / crystals.num_atoms) ** (1 / 3)
    lattice = (crystals.lattice / length[:, None, None] * 1000).round().int().numpy()
    frac_coords = (crystals.frac_coords * 1000).round().int().numpy()
    numbers, ptr = crystals.atomic_numbers.numpy(), crystals.ptr.tolist()
    first: dict[tuple[bytes, bytes, bytes], int] = {}
    for k, (begin, end) in enumerate(pairwise(ptr)):
        key = numbers[begin:end].tobytes(), frac_coords[begin:end].tobytes(), lattice[k].tobytes()
        first.setdefault(key, k)
    return list(first.values())
