"""Space groups of finished crystals, found once each, and whether a group contains the one that was asked for.

Atoms that land on special positions, or lengths that happen to agree within the tolerance, give a crystal more
symmetry than its template has. It then still has every operation that was asked for.

Reference:
    A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv. Mater. Methods 4, 2384822 (2024) (spglib).
    International Tables for Crystallography A1 (2010) (maximal subgroups).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from spglib import SpglibDataset

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # its C code would write to stderr; a search that fails is reported here

SYMPREC = 0.01
"""Å; atoms this close to a symmetric arrangement count as symmetric: in names, tables, pages and files of a run."""

DATASET_SYMPREC = 0.1
"""Å; the same for the crystals of a dataset, which come from many sources and with rounded coordinates."""

ANGLE_TOLERANCE = 5.0
"""Degrees; pymatgen's default, by which some crystals are more symmetric. spglib's own follows from the distances."""

NOT_FOUND = 0
"""Stands for the space group of a crystal in which spglib finds none."""

_REMEMBERED = 4096  # searches, a few kB each


def symmetry_dataset(
    structure: Structure, symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> SpglibDataset | None:
    """All that spglib finds out about the symmetry of a structure; asked again, it is remembered.

    Args:
        structure: ordered structure, in any cell.
        symprec: tolerance, Å.
        angle_tolerance: degrees; None for what follows from ``symprec``.

    Returns:
        spglib's dataset, which must not be changed; None where the search fails, as for overlapping atoms or a flat
        cell. Structures with the same lattice, coordinates and elements to the last bit cost one search, as long as
        it is among the latest few thousand.
    """
    lattice = np.ascontiguousarray(structure.lattice.matrix, dtype=np.float64)
    frac_coords = np.ascontiguousarray(structure.frac_coords, dtype=np.float64)
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all() and structure.volume > 0):
        return None
    return _search(lattice.tobytes(), frac_coords.tobytes(), tuple(structure.atomic_numbers), symprec, angle_tolerance)


def space_groups(
    structures: Sequence[Structure], symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> list[int]:
    """Number of the space group of each structure.

    Args:
        structures: ordered structures, in any cell.
        symprec: tolerance, Å.
        angle_tolerance: degrees; None for what follows from ``symprec``.

    Returns:
        Numbers from 1 to 230; 0 where the search fails, as for overlapping atoms or a flat cell.
    """
    datasets = (symmetry_dataset(structure, symprec, angle_tolerance) for structure in structures)
    return [NOT_FOUND if dataset is None else int(dataset.number) for dataset in datasets]


def is_supergroup(group: int, subgroup: int) -> bool:
    """Whether crystals of a space group have those of another among their symmetry operations.

    Decided from the types of the groups: they are the same, or the first leads to the second through maximal
    subgroups, those with a larger cell included. For a crystal that was built in the second group this confirms it;
    for any other crystal it says that the second group is possible, in a large enough cell. (pymatgen's own
    ``is_supergroup`` compares numbers of operations of conventional cells first, and so misses Fmmm in P4/mmm.)

    Args:
        group: number of the space group of a crystal, 1 to 230, or 0 when none was found.
        subgroup: number of the space group that it should have, 1 to 230.

    Returns:
        Also true when both are equal; never true for 0.

    Raises:
        ValueError: if a number is out of range.
    """
    if not 0 <= group <= 230 or not 1 <= subgroup <= 230:
        raise ValueError(f"space groups {group} and {subgroup} were given; they run from 1 to 230")
    return group != NOT_FOUND and subgroup in subgroups(group)


@lru_cache(maxsize=230)
def subgroups(number: int) -> frozenset[int]:
    """Types of all subgroups of a space group, itself included."""
    from pymatgen.symmetry.groups import SYMM_DATA

    maximal = SYMM_DATA["maximal_subgroups"]
    seen, waiting = {number}, [number]
    while waiting:
        for subgroup in maximal[str(waiting.pop())]:
            if subgroup not in seen:
                seen.add(subgroup)
                waiting.append(subgroup)
    return frozenset(seen)


@lru_cache(maxsize=_REMEMBERED)
def _search(
    lattice: bytes,
    frac_coords: bytes,
    atomic_numbers: tuple[int, ...],
    symprec: float,
    angle_tolerance: float | None,
) -> SpglibDataset | None:
    import spglib

    rows, sites = (np.frombuffer(content).reshape(-1, 3).tolist() for content in (lattice, frac_coords))
    degrees = -1.0 if angle_tolerance is None else angle_tolerance  # spglib's word for its own
    try:
        return spglib.get_symmetry_dataset((rows, sites, atomic_numbers), symprec=symprec, angle_tolerance=degrees)
    except spglib.SpglibError:
        return None
