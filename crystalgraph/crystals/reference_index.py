"""Crystals to compare with, and when two are equal: pymatgen's StructureMatcher, made affordable, unable to hang.

The tolerances are pymatgen's defaults (0.2, 0.3, 5°), cells are reduced to primitive ones and scaled to equal volume,
so that rates compare with the literature. ``fit(a, b)`` and ``fit(b, a)`` of the matcher can differ; here two crystals
are equal when either direction says so.

Four things keep it cheap, and none can lose a match:

* Only crystals of one reduced formula are compared; the matcher refuses all others.
* Each crystal is reduced once (Niggli, then primitive), as the matcher itself would for every pair. It then refuses
  cells with different numbers of sites, so these pairs are skipped.
* ``fit(a, b)`` needs a basis of a's lattice whose vectors are at most 1.2 times as long as b's. The sorted lengths of
  a Niggli cell are the shortest possible, so if one of a's is more than 1.2 times b's, no such basis exists. What is
  left has its lattice vectors looked through for such bases, angles included. A member with as many atoms as the
  primitive cell of what is looked for is primitive or different, so all this is asked of its lattice as it was given,
  before its atoms are reduced.
* The matcher is run where the atoms of the two may lie near each other in one of these bases, see `overlay`.

Reference:
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013) (pymatgen).
"""

from __future__ import annotations

import itertools
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
from crystalgraph.crystals.overlay import Cell, may_lie_over
from crystalgraph.crystals.primitive_cell import may_have_translation, primitive_cell
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
        compared: pairs that pymatgen's matcher was asked about, as nothing simpler told them apart.
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
        self._given: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]] = []
        self._cells: dict[int, Cell | None] = {}
        self._may_shrink: dict[int, bool] = {}
        self._reduced: dict[int, _Reduced | None] = {}
        self._members: defaultdict[Formula, list[int]] = defaultdict(list)
        for structure in structures:
            self.add(structure)

    @classmethod
    def from_crystals(cls, crystals: Crystals, *, time_limit: float = TIME_LIMIT) -> ReferenceIndex:
        """Index a large batch without turning every crystal into a Structure first."""
        index = cls(time_limit=time_limit)
        index._crystals = crystals
        lattices, frac_coords = crystals.lattice.double().numpy(), crystals.frac_coords.double().numpy()
        numbers = crystals.atomic_numbers.numpy()
        for k, atoms in enumerate(itertools.starmap(slice, itertools.pairwise(crystals.ptr.tolist()))):
            index._append(lattices[k], frac_coords[atoms], numbers[atoms], partial(_structure_of, crystals, k))
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
        numbers = np.array(structure.atomic_numbers)
        return self._append(structure.lattice.matrix, structure.frac_coords, numbers, structure)

    def exchange(self, position: int, structure: Structure) -> None:
        """Put a structure of the same reduced formula in the place of a member."""
        numbers = np.array(structure.atomic_numbers)
        self._crystals = None
        self._structures[position] = structure
        self._given[position] = structure.lattice.matrix, structure.frac_coords, numbers
        for kept in (self._cells, self._may_shrink, self._reduced):
            kept.pop(position, None)  # type: ignore[attr-defined]  # of dictionaries of several types

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
        lattice: NDArray[np.float64],
        frac_coords: NDArray[np.float64],
        atomic_numbers: NDArray[np.int64],
        structure: Structure | Callable[[], Structure],
    ) -> int:
        self._structures.append(structure)
        self._given.append((lattice, frac_coords, atomic_numbers))
        self._members[Formula.from_atomic_numbers(atomic_numbers.tolist())].append(len(self) - 1)
        return len(self) - 1

    def _first(self, members: Sequence[int], given: _Reduced | None) -> int:
        return -1 if given is None else next((k for k in members if self._is(k, given)), -1)

    def _is(self, position: int, given: _Reduced) -> bool:
        """Whether a member is equal; it is reduced only where its cell as given may be equal, or too large."""
        size, n_atoms = len(self._given[position][2]), len(given.structure)
        if size % n_atoms:
            return False
        if position not in self._reduced and (cell := self._cell(position)) is not None:
            if size == n_atoms:  # it is primitive, or not equal
                possible = _may_match(cell, given.cell) or _may_match(given.cell, cell)
            else:
                possible = self._shrinks(position, cell)
            if not possible:
                return False
        member = self._of(position)
        return member is not None and len(member.structure) == n_atoms and self._equal(member, given)

    def _cell(self, position: int) -> Cell | None:
        """A member in the Niggli cell of the lattice that it was given in; None if there is none."""
        if position not in self._cells:
            lattice, frac_coords, numbers = self._given[position]
            cell = None
            if np.isfinite(frac_coords).all() and searchable(lattice):
                with suppress(TimeUp, *_IRREDUCIBLE), cpu_limit(self._time_limit):
                    niggli = _niggli(lattice.tobytes())
                    vectors = LatticeVectors(niggli, len(numbers))
                    cell = Cell(vectors, frac_coords @ (lattice @ np.linalg.inv(niggli)), numbers)
            self._cells[position] = cell
        return self._cells[position]

    def _shrinks(self, position: int, cell: Cell) -> bool:
        """Whether the primitive cell of a member may be smaller than the one it was given in."""
        if position not in self._may_shrink:
            lengths = np.linalg.norm(_niggli(self._given[position][0].tobytes()), axis=1)
            self._may_shrink[position] = may_have_translation(cell.frac_coords, cell.atomic_numbers, lengths)
        return self._may_shrink[position]

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
        pairs = [(a, b) for a, b in ((member, given), (given, member)) if _may_match(a.cell, b.cell)]
        if not pairs:
            return False
        self.log.compared += 1
        fit = matcher().fit
        try:
            with cpu_limit(self._time_limit):
                return any(fit(a.structure, b.structure, skip_structure_reduction=True) for a, b in pairs)
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


def _may_match(one: Cell, another: Cell) -> bool:
    """Whether the matcher may lay a crystal over another, in a basis of its lattice within the tolerances."""
    factor = (1 + LENGTH_TOLERANCE) * _LENGTH_MARGIN
    if any(a > factor * b for a, b in zip(one.vectors.shortest, another.vectors.shortest, strict=True)):
        return False
    bases = one.vectors.bases_like(another.vectors, LENGTH_TOLERANCE, ANGLE_TOLERANCE)
    return bases is None or may_lie_over(one, another, bases, SITE_TOLERANCE)


@lru_cache(maxsize=65536)
def _niggli(lattice: bytes) -> NDArray[np.float64]:
    """Vectors of the Niggli cell as rows, in the orientation of the lattice."""
    from pymatgen.core import Lattice

    matrix: NDArray[np.float64] = Lattice(np.frombuffer(lattice).reshape(3, 3)).get_niggli_reduced_lattice().matrix
    return matrix


@dataclass(frozen=True)
class _Reduced:
    """A structure in its reduced primitive cell."""

    structure: Structure
    cell: Cell

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
        vectors = LatticeVectors(reduced.lattice.matrix, len(reduced))
        return _Reduced(reduced, Cell(vectors, reduced.frac_coords, np.array(reduced.atomic_numbers)))
    except _IRREDUCIBLE as error:
        raise _CannotReduce from error


@lru_cache(maxsize=1)
def matcher() -> StructureMatcher:
    """Pymatgen's, with the tolerances that equality has."""
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=True, scale=True
    )
