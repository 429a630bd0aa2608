"""Which crystals are the same? pymatgen's StructureMatcher, made affordable and unable to hang.

The tolerances are pymatgen's defaults (0.2, 0.3, 5°), cells are reduced to primitive ones and scaled to equal volume,
so that rates compare with the literature. Two facts about the matcher shape this file:

* ``fit(a, b)`` and ``fit(b, a)`` can differ. Here two crystals are equal when either direction says so.
* Equality is not transitive. A crystal is a copy of the *first kept* crystal that it matches, in the order given
  (a greedy pass); hence every two kept crystals were compared with each other, and differ.

Three things keep it cheap, and none can lose a match:

* Only crystals of one reduced formula are compared; the matcher refuses all others.
* Each crystal is reduced once (Niggli, then primitive), as the matcher itself would for every pair. It then refuses
  cells with different numbers of sites, so these pairs are skipped.
* ``fit(a, b)`` needs a basis of a's lattice whose vectors are at most 1.2 times as long as b's. The sorted lengths of
  a Niggli cell are the shortest possible, so if one of a's is more than 1.2 times b's, no such basis exists.

Reference:
    S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013) (pymatgen).
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import gcd
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.crystals.batch import Crystals

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure
    from pymatgen.core.structure_matcher import StructureMatcher

Progress = Callable[[int, int], None]
"""Called with (structures done, structures in all)."""

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.2, 0.3, 5.0
"""Relative length; fraction of (volume per atom)^(1/3); degrees."""

RMS_LENGTH_TOLERANCE, RMS_SITE_TOLERANCE, RMS_ANGLE_TOLERANCE = 0.5, 0.5, 10.0
"""Relative length; fraction of (volume per atom)^(1/3); degrees. Loose, because a relaxation moves atoms far; MatterGen
uses the same."""

TIME_LIMIT = 10.0
"""CPU seconds for one comparison or one reduction; ordinary ones take milliseconds."""

_MAX_LATTICE_POINTS = 1e6  # listing them takes under a second; ordinary cells have hundreds
_MIN_VOLUME = 0.1  # Å³; pymatgen's absolute tolerances fail in smaller cells
_LENGTH_MARGIN = 1.01  # Niggli reduction has a numerical tolerance of its own


@dataclass(kw_only=True)
class MatchLog:
    """What could not be decided, so that a rate can state it.

    Attributes:
        compared: pairs on which the matcher was run.
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


def matches(a: Structure, b: Structure, *, time_limit: float = TIME_LIMIT, log: MatchLog | None = None) -> bool:
    """Whether two structures are equal under the default tolerances, in either direction.

    Args:
        a: ordered structure; oxidation states are ignored.
        b: ordered structure.
        time_limit: CPU seconds after which the pair counts as different.
        log: receives the counts.

    Returns:
        Symmetric: ``matches(a, b) == matches(b, a)``.
    """
    index = ReferenceIndex([a], time_limit=time_limit)
    found = index.find(b) == 0
    if log is not None:
        log.add(index.log)
    return found


def group_equal(
    structures: Sequence[Structure],
    *,
    n_jobs: int = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> NDArray[np.int64]:
    """Label each structure by the first kept structure that it is equal to.

    Args:
        structures: ordered structures, best first if the best of equal ones should be kept.
        n_jobs: processes; the labels do not depend on it.
        time_limit: CPU seconds for one comparison.
        progress: called as the work goes on.
        log: receives the counts.

    Returns:
        Labels, (n,), int64. ``labels[k] == k`` exactly for the kept structures, of which no two are equal.
    """
    labels = np.arange(len(structures), dtype=np.int64)
    buckets = [
        _Bucket(members=members, structures=[structures[k] for k in members])
        for members in _by_formula(structures).values()
    ]
    for members, found in _run(buckets, n_jobs, time_limit, progress, log):
        labels[members] = found
    return labels


def match_any(
    structures: Sequence[Structure],
    reference: Sequence[Structure] | ReferenceIndex,
    *,
    n_jobs: int = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> NDArray[np.int64]:
    """Find for each structure the first reference that it is equal to.

    Args:
        structures: ordered structures.
        reference: structures to compare with, or an index of them, which keeps its own time limit and log and, with
            one process, what it has reduced for the next call.
        n_jobs: processes; the answer does not depend on it.
        time_limit: CPU seconds for one comparison.
        progress: called as the work goes on.
        log: receives the counts.

    Returns:
        Positions in ``reference``, (n,), int64; -1 where none is equal.
    """
    first = np.full(len(structures), -1, dtype=np.int64)
    if isinstance(reference, ReferenceIndex) and n_jobs == 1:
        for k, structure in enumerate(structures):
            first[k] = reference.find(structure)
            if progress is not None:
                progress(k + 1, len(structures))
        return first
    index = reference if isinstance(reference, ReferenceIndex) else ReferenceIndex(reference)
    buckets = [
        _Bucket(
            members=members,
            structures=[structures[k] for k in members],
            targets=index.of_formula(formula),
            references=[index.structure(k) for k in index.of_formula(formula)],
        )
        for formula, members in _by_formula(structures).items()
    ]
    for members, found in _run(buckets, n_jobs, time_limit, progress, log):
        first[members] = found
    return first


def match_all(
    structures: Sequence[Structure],
    reference: Sequence[Structure],
    *,
    n_jobs: int = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> list[list[int]]:
    """Find for each structure every reference that it is equal to; arguments as for `match_any`.

    Returns:
        Positions in ``reference``, ascending, one list per structure; empty where none is equal.
    """
    every: list[list[int]] = [[] for _ in structures]
    index = ReferenceIndex(reference)
    buckets = [
        _Bucket(
            members=members,
            structures=[structures[k] for k in members],
            targets=index.of_formula(formula),
            references=[reference[k] for k in index.of_formula(formula)],
            every=True,
        )
        for formula, members in _by_formula(structures).items()
    ]
    for members, found in _run(buckets, n_jobs, time_limit, progress, log):
        for member, positions in zip(members, found, strict=True):
            every[member] = positions
    return every


def rms_displacements(
    before: Sequence[Structure],
    after: Sequence[Structure],
    *,
    n_jobs: int = 1,
    time_limit: float = TIME_LIMIT,
    log: MatchLog | None = None,
) -> list[float | None]:
    """How far the atoms of each crystal moved, once the two cells are laid over each other as well as possible.

    The cells keep their volumes and are not made primitive, so that symmetry gained in between costs no match. Atoms
    may move by half of (volume per atom)^(1/3) in the root mean square; beyond that the pair does not match.

    Args:
        before: ordered structures.
        after: the same crystals later, with as many atoms each.
        n_jobs: processes; the answer does not depend on it.
        time_limit: CPU seconds for one pair.
        log: receives the counts.

    Returns:
        Root mean square displacement of each pair, Å; None where the two do not match, or time ran out.
    """
    from joblib import Parallel, delayed

    pairs = zip(before, after, strict=True)
    found: list[float | None] = []
    for value, counts in Parallel(n_jobs=n_jobs)(delayed(_displacement)(a, b, time_limit) for a, b in pairs):
        found.append(value)
        if log is not None:
            log.add(counts)
    return found


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
        self._members: defaultdict[_Formula, list[int]] = defaultdict(list)
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
            index._append(_formula(species), len(species), partial(_structure_of, crystals, k))
        return index

    def __len__(self) -> int:
        return len(self._structures)

    def add(self, structure: Structure) -> int:
        """Append a structure and return its position."""
        return self._append(_formula(structure.atomic_numbers), len(structure), structure)

    def find(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to, or -1."""
        members = self.of_formula(_formula(structure.atomic_numbers))
        return self._first(members, self._reduce(structure)) if members else -1

    def find_all(self, structure: Structure) -> list[int]:
        """Positions of all members that the structure is equal to, ascending."""
        members = self.of_formula(_formula(structure.atomic_numbers))
        asked = self._reduce(structure) if members else None
        return [k for k in self._possible(members, asked) if self._equal(self._of(k), asked)]

    def find_or_add(self, structure: Structure) -> int:
        """Position of the first member that the structure is equal to; it joins the index when there is none."""
        formula = _formula(structure.atomic_numbers)
        asked = self._reduce(structure)
        found = self._first(self.of_formula(formula), asked)
        if found < 0:
            found = self._append(formula, len(structure), structure)
            self._reduced[found] = asked
        return found

    def of_formula(self, formula: _Formula) -> list[int]:
        """Positions of the members with a reduced formula, ascending."""
        return self._members.get(formula, [])

    def structure(self, position: int) -> Structure:
        """The member at a position."""
        member = self._structures[position]
        if callable(member):
            member = self._structures[position] = member()
        return member

    def _first(self, members: Sequence[int], asked: _Reduced | None) -> int:
        return next((k for k in self._possible(members, asked) if self._equal(self._of(k), asked)), -1)

    def _possible(self, members: Sequence[int], asked: _Reduced | None) -> Iterator[int]:
        """Those whose primitive cell can have as many atoms as what is asked for; the others need no reduction."""
        return (k for k in members if asked is not None and self._sizes[k] % len(asked.structure) == 0)

    def _append(self, formula: _Formula, size: int, structure: Structure | Callable[[], Structure]) -> int:
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
        directions = [(x, y) for x, y in ((a, b), (b, a)) if _lattice_may_map(x, y)]
        if not directions:
            return False
        self.log.compared += 1
        fit = _matcher().fit
        try:
            with cpu_limit(self._time_limit):
                return any(fit(x.structure, y.structure, skip_structure_reduction=True) for x, y in directions)
        except TimeUp:
            self.log.timed_out += 1
            return False


def _structure_of(crystals: Crystals, position: int) -> Structure:
    from crystalgraph.crystals.conversion import to_structures

    return to_structures(crystals[position])[0]


_Formula = tuple[tuple[int, int], ...]
"""Reduced formula: (atomic number, count) by atomic number, counts without common divisor."""


class _CannotReduce(Exception):
    """The cell has no usable Niggli form."""


class TimeUp(Exception):
    """The time limit was reached."""


@dataclass(frozen=True)
class _Reduced:
    """A structure in its reduced cell and the sorted cell lengths at one Å³ per atom."""

    structure: Structure
    lengths: NDArray[np.float64] = field(compare=False)

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
            reduced = bare.get_reduced_structure("niggli").get_primitive_structure()
        except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError) as error:
            raise _CannotReduce from error
        return cls(reduced, np.sort(reduced.lattice.abc) / (reduced.volume / len(reduced)) ** (1 / 3))


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


def _lattice_may_map(a: _Reduced, b: _Reduced) -> bool:
    """Whether a's lattice can have a basis with vectors as long as b's, within the tolerance."""
    return bool((a.lengths <= (1 + LENGTH_TOLERANCE) * _LENGTH_MARGIN * b.lengths).all())


@lru_cache(maxsize=1)
def _matcher() -> StructureMatcher:
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE, primitive_cell=True, scale=True
    )


def _displacement(before: Structure, after: Structure, time_limit: float) -> tuple[float | None, MatchLog]:
    """The root mean square displacement, Å, or None, and the counts."""
    from pymatgen.core.structure_matcher import StructureMatcher

    log = MatchLog()
    if not (searchable(before.lattice.matrix) and searchable(after.lattice.matrix)):
        log.unreducible += 1
        return None, log
    matcher = StructureMatcher(
        ltol=RMS_LENGTH_TOLERANCE,
        stol=RMS_SITE_TOLERANCE,
        angle_tol=RMS_ANGLE_TOLERANCE,
        primitive_cell=False,
        scale=False,
    )
    log.compared += 1
    try:
        with cpu_limit(time_limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = matcher.get_rms_dist(before, after)
    except TimeUp:
        log.timed_out += 1
        return None, log
    except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError):
        log.unreducible += 1
        return None, log
    length = ((before.volume + after.volume) / (2 * len(before))) ** (1 / 3)
    return (None if found is None else float(found[0]) * length), log


def _formula(atomic_numbers: Iterable[int]) -> _Formula:
    counts: defaultdict[int, int] = defaultdict(int)
    for number in atomic_numbers:
        counts[number] += 1
    divisor = gcd(*counts.values())
    return tuple((number, counts[number] // divisor) for number in sorted(counts))


def _by_formula(structures: Sequence[Structure]) -> dict[_Formula, list[int]]:
    buckets: defaultdict[_Formula, list[int]] = defaultdict(list)
    for k, structure in enumerate(structures):
        buckets[_formula(structure.atomic_numbers)].append(k)
    return dict(buckets)


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    """Structures of one formula; without references they are compared with each other."""

    members: list[int]
    structures: list[Structure]
    targets: list[int] = field(default_factory=list)
    references: list[Structure] | None = None
    every: bool = False


def _match_bucket(bucket: _Bucket, time_limit: float) -> tuple[list[int], list[Any], MatchLog]:
    """Members of the bucket, the label of each (a list where every match is wanted), and the counts."""
    index = ReferenceIndex(bucket.references or (), time_limit=time_limit)
    labels: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate cells divide by zero inside NumPy; the outcome is judged anyway
        if bucket.every:
            labels = [[bucket.targets[k] for k in index.find_all(structure)] for structure in bucket.structures]
        elif bucket.references is not None:
            found = [index.find(structure) for structure in bucket.structures]
            labels = [bucket.targets[k] if k >= 0 else -1 for k in found]
        else:
            kept: list[int] = []
            for member, structure in zip(bucket.members, bucket.structures, strict=True):
                position = index.find_or_add(structure)
                if position == len(kept):
                    kept.append(member)
                labels.append(kept[position])
    return bucket.members, labels, index.log


def _run(
    buckets: list[_Bucket], n_jobs: int, time_limit: float, progress: Progress | None, log: MatchLog | None
) -> Iterator[tuple[list[int], list[Any]]]:
    """Work through the buckets, in this process or in several."""
    results: Iterable[tuple[list[int], list[Any], MatchLog]]
    if n_jobs == 1 or len(buckets) < 2:
        results = (_match_bucket(bucket, time_limit) for bucket in buckets)
    else:
        from joblib import Parallel, delayed

        largest_first = sorted(buckets, key=lambda bucket: -len(bucket.structures))
        pool = Parallel(n_jobs=n_jobs, return_as="generator")
        results = pool(delayed(_match_bucket)(bucket, time_limit) for bucket in largest_first)
    total, done = sum(len(bucket.members) for bucket in buckets), 0
    for members, labels, counts in results:
        done += len(members)
        if progress is not None:
            progress(done, total)
        if log is not None:
            log.add(counts)
        yield members, labels


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` after some CPU seconds of this process.

    CPU time, not wall time, so that a busy machine changes no result. Signals reach the main thread only; elsewhere,
    and on systems without interval timers, there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeUp

    previous = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
