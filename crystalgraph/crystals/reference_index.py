"""Crystals to compare with, and when two are equal: pymatgen's StructureMatcher, made affordable, unable to hang.

The tolerances are pymatgen's defaults (0.2, 0.3, 5°), cells are reduced to primitive ones and scaled to equal volume,
so that rates compare with the literature. ``fit(a, b)`` and ``fit(b, a)`` of the matcher can differ; here two crystals
are equal when either direction says so.

Three things keep it cheap, and none can lose a match:

* Only crystals of one reduced formula are compared; the matcher refuses all others.
* Each crystal is reduced once (Niggli, then primitive), as the matcher itself would for every pair. It then refuses
  cells with different numbers of sites, so these pairs are skipped.
* ``fit(a, b)`` needs a basis of a's lattice whose vectors are at most 1.2 times as long as b's. The sorted lengths of
  a Niggli cell are the shortest possible, so if one of a's is more than 1.2 times b's, no such basis exists. What is
  left has its lattice vectors looked through for such a basis, angles included, before the matcher is run.

Reference:
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013) (pymatgen).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.lattice_mapping import LatticeVectors
from crystalgraph.crystals.primitive_cell import primitive_cell
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure
    from pymatgen.core.structure_matcher import StructureMatcher

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.2, 0.3, 5.0
"""Relative length; fraction of (volume per atom)^(1/3); degrees."""

TIME_LIMIT = 10.0
"""CPU seconds for one comparison or one reduction; ordinary ones take milliseconds."""

_MAX_LATTICE_POINTS = 1e6  # listing them takes under a second; ordinary cells have hundreds
_MIN_VOLUME = 0.1  # Å³; pymatgen's absolute tolerances fail in smaller cells
_LENGTH_MARGIN = 1.01  # Niggli reduction has a numerical tolerance of its own


@dataclass(kw_only=True)
class MatchLog:
    """What could not be decided, so that a rate can state it.

    Attributes:
        compared: pairs of as many atoms whose cells have lengths that may belong to each other.
        timed_out: pairs given up after the time limit and counted as different.
        unreducible: structures whose cell could not be reduced; they count as equal to nothing.
    """

    compared: int = 0
    timed_out: int = 0
    unreducible: int = 0

    def add(self, other: MatchLog) -> None:
        """Add the counts of another log to this one."""
        self.compared += other.compared
        self.timed_out += other.timed_out
        self.unreducible += other.unreducible


class ReferenceIndex:
    """Structures to compare with, sorted by reduced formula, each reduced when first needed and only once.

    Args:
        structures: ordered structures, in the order in which ``find`` tries them.
        time_limit: CPU seconds for one comparison.
    """

    def __init__(self, structures: Iterable[Structure] = (), *, time_limit: float = TIME_LIMIT) -> None:
        self.log = MatchLog()
        self._time_limit = time_limit
        self._structures: list[Structure | Callable[[], Structure]] = []
        self._sizes: list[int] = []
        self._reduced: dict[int, _Reduced | None] = {}
        self._members: defaultdict[Formula, list[int]] = defaultdict(list)
        for structure in structures:
            self.add(structure)

    @classmethod
    def from_crystals(cls, crystals: Crystals, *, time_limit: float = TIME_LIMIT) -> ReferenceIndex:
        """Index a large batch without turning every crystal into a Structure first."""
        index = cls(time_limit=time_limit)
        numbers = crystals.atomic_numbers.tolist()
        ptr = crystals.ptr.tolist()
        for k in range(len(crystals)):
            species = numbers[ptr[k] : ptr[k + 1]]
            index._append(Formula.from_atomic_numbers(species), len(species), partial(_structure_of, crystals, k))
        return index

    def __len__(self) -> int:
        return len(self._structures)

    def add(self, structure: Structure) -> int:
        """Append a structure and return its position."""
        return self._append(Formula.from_atomic_numbers(structure.atomic_numbers), len(structure), structure)

    def find(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to, or -1."""
        members = self.of_formula(Formula.from_atomic_numbers(structure.atomic_numbers))
        return self._first(members, self._reduce(structure)) if members else -1

    def find_all(self, structure: Structure) -> list[int]:
        """Positions of all members that the structure is equal to, ascending."""
        members = self.of_formula(Formula.from_atomic_numbers(structure.atomic_numbers))
        reduced = self._reduce(structure) if members else None
        return [k for k in self._possible(members, reduced) if self._equal(self._of(k), reduced)]

    def find_or_add(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to; it joins the index when there is none."""
        formula = Formula.from_atomic_numbers(structure.atomic_numbers)
        reduced = self._reduce(structure)
        position = self._first(self.of_formula(formula), reduced)
        if position < 0:
            position = self._append(formula, len(structure), structure)
            self._reduced[position] = reduced
        return position

    def of_formula(self, formula: Formula) -> list[int]:
        """Positions of the members with a reduced formula, ascending."""
        return self._members.get(formula, [])

    def structure(self, position: int) -> Structure:
        """The member at a position."""
        member = self._structures[position]
        if callable(member):
            member = self._structures[position] = member()
        return member

    def _first(self, members: Sequence[int], reduced: _Reduced | None) -> int:
        return next((k for k in self._possible(members, reduced) if self._equal(self._of(k), reduced)), -1)

    def _possible(self, members: Sequence[int], reduced: _Reduced | None) -> Iterator[int]:
        """Those whose primitive cell can have as many atoms as the given one; the others need no reduction."""
        return (k for k in members if reduced is not None and self._sizes[k] % len(reduced.structure) == 0)

    def _append(self, formula: Formula, size: int, structure: Structure | Callable[[], Structure]) -> int:
        self._structures.append(structure)
        self._sizes.append(size)
        self._members[formula].append(len(self) - 1)
        return len(self) - 1

    def _of(self, position: int) -> _Reduced | None:
        if position not in self._reduced:
            self._reduced[position] = self._reduce(self.structure(position))
        return self._reduced[position]

    def _reduce(self, structure: Structure) -> _Reduced | None:
        try:
            with cpu_limit(self._time_limit):
                return _Reduced.of(structure)
        except (TimeUp, _CannotReduce):
            self.log.unreducible += 1
            return None

    def _equal(self, a: _Reduced | None, b: _Reduced | None) -> bool:
        if a is None or b is None or len(a.structure) != len(b.structure):
            return False
        directions = [(x, y) for x, y in ((a, b), (b, a)) if _lengths_may_fit(x, y)]
        if not directions:
            return False
        self.log.compared += 1
        directions = [(x, y) for x, y in directions if _lattice_may_map(x, y)]
        fit = matcher().fit
        try:
            with cpu_limit(self._time_limit):
                return any(fit(x.structure, y.structure, skip_structure_reduction=True) for x, y in directions)
        except TimeUp:
            self.log.timed_out += 1
            return False


def searchable(lattice: NDArray[np.float64]) -> bool:
    """Whether the lattice vectors no longer than the cell's longest edge can be listed in reasonable time.

    Flat and needle-like cells hang pymatgen's compiled search, which no signal can interrupt.
    """
    volume = abs(np.linalg.det(lattice)) if np.isfinite(lattice).all() else 0.0
    if not _MIN_VOLUME <= volume < np.inf:
        return False
    radius = (1 + LENGTH_TOLERANCE) * np.linalg.norm(lattice, axis=1).max()
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    return bool(np.prod(2 * radius / heights + 1) < _MAX_LATTICE_POINTS)


def _structure_of(crystals: Crystals, position: int) -> Structure:
    from crystalgraph.crystals.conversion import to_structures

    return to_structures(crystals[position])[0]


class _CannotReduce(Exception):
    """The cell has no usable Niggli form."""


@dataclass(frozen=True)
class _Reduced:
    """A structure in its reduced cell, the lattice vectors of that, and the sorted cell lengths at one Å³ per atom."""

    structure: Structure
    lengths: NDArray[np.float64] = field(compare=False)
    vectors: LatticeVectors = field(compare=False)

    @classmethod
    def of(cls, structure: Structure) -> _Reduced:
        from pymatgen.core import Element, Structure

        matrix, frac_coords = structure.lattice.matrix, structure.frac_coords
        if not (np.isfinite(frac_coords).all() and searchable(matrix)):
            raise _CannotReduce
        species = [Element.from_Z(number) for number in structure.atomic_numbers]
        bare = Structure(structure.lattice, species, frac_coords)
        try:
            # The order of StructureMatcher's own reduction.
            reduced = primitive_cell(bare.get_reduced_structure("niggli"))
        except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError) as error:
            raise _CannotReduce from error
        lengths = np.sort(reduced.lattice.abc) / (reduced.volume / len(reduced)) ** (1 / 3)
        return cls(reduced, lengths, LatticeVectors(reduced.lattice.matrix, len(reduced)))


def _lengths_may_fit(a: _Reduced, b: _Reduced) -> bool:
    """Whether a's lattice can have three vectors as short as b's, within the tolerance."""
    return bool((a.lengths <= (1 + LENGTH_TOLERANCE) * _LENGTH_MARGIN * b.lengths).all())


def _lattice_may_map(a: _Reduced, b: _Reduced) -> bool:
    """Whether a's lattice can have a basis with lengths and angles like b's, within the tolerances."""
    return a.vectors.may_have_basis_like(b.vectors, LENGTH_TOLERANCE, ANGLE_TOLERANCE)


@lru_cache(maxsize=1)
def matcher() -> StructureMatcher:
    """Pymatgen's, with the tolerances that equality has."""
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=True, scale=True
    )
