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
  left has its lattice vectors looked through for such a basis, angles included, before the matcher is run. A member
  with as many atoms as the primitive cell of what is looked for is primitive or different, so all this is asked of its
  lattice as it was given, before its atoms are reduced.

Reference:
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013) (pymatgen).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
    from pymatgen.core import Lattice, Structure
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
        compared: pairs that pymatgen's matcher was asked about: of as many atoms, in lattices that may be alike.
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
        self._crystals: Crystals | None = None
        self._lattices: list[NDArray[np.float64]] = []
        self._sizes: list[int] = []
        self._shapes: dict[int, _Shape | None] = {}
        self._reduced: dict[int, _Reduced | None] = {}
        self._members: defaultdict[Formula, list[int]] = defaultdict(list)
        for structure in structures:
            self.add(structure)

    @classmethod
    def from_crystals(cls, crystals: Crystals, *, time_limit: float = TIME_LIMIT) -> ReferenceIndex:
        """Index a large batch without turning every crystal into a Structure first."""
        index = cls(time_limit=time_limit)
        index._crystals = crystals
        lattices, numbers = crystals.lattice.double().numpy(), crystals.atomic_numbers.tolist()
        ptr = crystals.ptr.tolist()
        for k in range(len(crystals)):
            index._append(numbers[ptr[k] : ptr[k + 1]], lattices[k], partial(_structure_of, crystals, k))
        return index

    def part(self, positions: Sequence[int]) -> ReferenceIndex:
        """An index of some members alone, which have reached it in one way: as structures, or as a batch."""
        if self._crystals is not None:
            return self.from_crystals(self._crystals[list(positions)], time_limit=self._time_limit)
        return ReferenceIndex([self.structure(k) for k in positions], time_limit=self._time_limit)

    def __len__(self) -> int:
        return len(self._structures)

    def add(self, structure: Structure) -> int:
        """Append a structure and return its position."""
        self._crystals = None
        return self._append(structure.atomic_numbers, structure.lattice.matrix, structure)

    def find(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to, or -1."""
        members = self.of_formula(Formula.from_atomic_numbers(structure.atomic_numbers))
        return self._first(members, self._reduce(structure)) if members else -1

    def find_all(self, structure: Structure) -> list[int]:
        """Positions of all members that the structure is equal to, ascending."""
        members = self.of_formula(Formula.from_atomic_numbers(structure.atomic_numbers))
        reduced = self._reduce(structure) if members else None
        return [] if reduced is None else [k for k in members if self._is(k, reduced)]

    def find_or_add(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to; it joins the index when there is none."""
        members = self.of_formula(Formula.from_atomic_numbers(structure.atomic_numbers))
        reduced = self._reduce(structure)
        position = self._first(members, reduced)
        if position < 0:
            position = self.add(structure)
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

    def _append(
        self,
        atomic_numbers: Sequence[int],
        lattice: NDArray[np.float64],
        structure: Structure | Callable[[], Structure],
    ) -> int:
        self._structures.append(structure)
        self._lattices.append(lattice)
        self._sizes.append(len(atomic_numbers))
        self._members[Formula.from_atomic_numbers(atomic_numbers)].append(len(self) - 1)
        return len(self) - 1

    def _first(self, members: Sequence[int], given: _Reduced | None) -> int:
        return -1 if given is None else next((k for k in members if self._is(k, given)), -1)

    def _is(self, position: int, given: _Reduced) -> bool:
        """Whether a member is equal; it is reduced only where neither its size nor its lattice says that it is not."""
        size, n_atoms = self._sizes[position], len(given.structure)
        if size % n_atoms:
            return False
        if size == n_atoms and position not in self._reduced:  # it is primitive, or not equal
            shape = self._shape(position)
            if shape is not None and not _directions(shape, given.shape):
                return False
        member = self._of(position)
        return member is not None and len(member.structure) == n_atoms and self._equal(member, given)

    def _shape(self, position: int) -> _Shape | None:
        """Of the lattice that a member was given in; None if it cannot be reduced."""
        if position not in self._shapes:
            from pymatgen.core import Lattice

            matrix, shape = self._lattices[position], None
            if searchable(matrix):
                with suppress(TimeUp, *_IRREDUCIBLE), cpu_limit(self._time_limit):
                    shape = _Shape.of(Lattice(matrix).get_niggli_reduced_lattice(), self._sizes[position])
            self._shapes[position] = shape
        return self._shapes[position]

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

    def _equal(self, member: _Reduced, given: _Reduced) -> bool:
        one, another = member.structure, given.structure
        pairs = [(one, another), (another, one)]
        asked = [pairs[k] for k in _directions(member.shape, given.shape)]
        if not asked:
            return False
        self.log.compared += 1
        fit = matcher().fit
        try:
            with cpu_limit(self._time_limit):
                return any(fit(a, b, skip_structure_reduction=True) for a, b in asked)
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


_IRREDUCIBLE = ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError
"""What pymatgen raises where it finds no Niggli cell."""


class _CannotReduce(Exception):
    """The cell has no usable Niggli form."""


@dataclass(frozen=True)
class _Shape:
    """A Niggli cell: its sorted lengths at one Å³ per atom, and the vectors of its lattice."""

    lengths: NDArray[np.float64]
    vectors: LatticeVectors

    @classmethod
    def of(cls, niggli: Lattice, n_atoms: int) -> _Shape:
        """Of as many atoms in the cell."""
        lengths = np.sort(niggli.abc) / (niggli.volume / n_atoms) ** (1 / 3)
        return cls(lengths, LatticeVectors(niggli.matrix, n_atoms))

    def may_map(self, other: _Shape) -> bool:
        """Whether this lattice can have a basis like the other, within the tolerances."""
        return bool(
            (self.lengths <= (1 + LENGTH_TOLERANCE) * _LENGTH_MARGIN * other.lengths).all()
        ) and self.vectors.may_have_basis_like(other.vectors, LENGTH_TOLERANCE, ANGLE_TOLERANCE)


def _directions(one: _Shape, another: _Shape) -> list[int]:
    """In which directions two crystals may match: 0 if a basis of the first may be like the second, 1 the other way."""
    return [k for k, (a, b) in enumerate(((one, another), (another, one))) if a.may_map(b)]


@dataclass(frozen=True)
class _Reduced:
    """A structure in its reduced cell, and the shape of that."""

    structure: Structure
    shape: _Shape

    @classmethod
    def of(cls, structure: Structure) -> _Reduced:
        """Reduced in the order of StructureMatcher's own reduction; what was reduced lately is remembered.

        Raises:
            _CannotReduce: if there is no such cell.
        """
        numbers = tuple(structure.atomic_numbers)
        return _reduced(structure.lattice.matrix.tobytes(), structure.frac_coords.tobytes(), numbers)


@lru_cache(maxsize=4096)
def _reduced(lattice: bytes, frac_coords: bytes, atomic_numbers: tuple[int, ...]) -> _Reduced:
    from pymatgen.core import Element, Structure

    matrix = np.frombuffer(lattice).reshape(3, 3)
    places = np.frombuffer(frac_coords).reshape(-1, 3)
    if not (np.isfinite(places).all() and searchable(matrix)):
        raise _CannotReduce
    bare = Structure(matrix, [Element.from_Z(number) for number in atomic_numbers], places)
    try:
        reduced = primitive_cell(bare.get_reduced_structure("niggli"))
        return _Reduced(reduced, _Shape.of(reduced.lattice, len(reduced)))
    except _IRREDUCIBLE as error:
        raise _CannotReduce from error


@lru_cache(maxsize=1)
def matcher() -> StructureMatcher:
    """Pymatgen's, with the tolerances that equality has."""
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=True, scale=True
    )
