"""Which crystals are the same? Asked of a pair, of a list, and of a list against references; and how far atoms moved.

What *equal* means is said in `crystalgraph.crystals.reference_index`. Equality is not transitive: a crystal is a copy
of the *first kept* crystal that it matches, in the order given (a greedy pass); hence every two kept crystals were
compared with each other, and differ.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.reference_index import TIME_LIMIT, MatchLog, ReferenceIndex, searchable
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit
from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.progress import Progress, at_stage

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

STAGE = "matching"
"""What progress is reported as."""

RMS_LENGTH_TOLERANCE, RMS_SITE_TOLERANCE, RMS_ANGLE_TOLERANCE = 0.5, 0.5, 10.0
"""Relative length; fraction of (volume per atom)^(1/3); degrees. Loose, because a relaxation moves atoms far; MatterGen
uses the same."""


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
    is_equal = index.find(b) == 0
    if log is not None:
        log.add(index.log)
    return is_equal


def group_equal(
    structures: Sequence[Structure],
    *,
    workers: int | Workers = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> NDArray[np.int64]:
    """Label each structure by the first kept structure that it is equal to.

    Args:
        structures: ordered structures, best first if the best of equal ones should be kept.
        workers: processes; the labels do not depend on them.
        time_limit: CPU seconds for one comparison.
        progress: called as the work goes on.
        log: receives the counts.

    Returns:
        Labels, (n,), int64. ``labels[k] == k`` exactly for the kept structures, of which no two are equal.
    """
    labels = np.arange(len(structures), dtype=np.int64)
    buckets = [
        _Bucket(
            members=members,
            structures=[structures[k] for k in members],
            references=ReferenceIndex(time_limit=time_limit),
        )
        for members in _by_formula(structures).values()
    ]
    for members, kept in _run(buckets, workers, progress, log):
        labels[members] = kept
    return labels


def match_any(
    structures: Sequence[Structure],
    reference: Sequence[Structure] | Crystals | ReferenceIndex,
    *,
    workers: int | Workers = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> NDArray[np.int64]:
    """Find for each structure the first reference that it is equal to.

    Args:
        structures: ordered structures.
        reference: crystals to compare with, thousands best as a batch; or an index of them, which keeps its own time
            limit and log and, with one process, what it has reduced for the next call.
        workers: processes; the answer does not depend on them.
        time_limit: CPU seconds for one comparison.
        progress: called as the work goes on.
        log: receives the counts.

    Returns:
        Positions in ``reference``, (n,), int64; -1 where none is equal.
    """
    first = np.full(len(structures), -1, dtype=np.int64)
    here = workers.is_this_process if isinstance(workers, Workers) else workers == 1
    if isinstance(reference, ReferenceIndex) and here:
        report = at_stage(progress, STAGE)
        for k, structure in enumerate(structures):
            first[k] = reference.find(structure)
            report(k + 1, len(structures))
        return first
    index = reference if isinstance(reference, ReferenceIndex) else _index(reference, time_limit)
    buckets = _buckets(structures, index)
    for members, positions in _run(buckets, workers, progress, log):
        first[members] = positions
    return first


def match_all(
    structures: Sequence[Structure],
    reference: Sequence[Structure] | Crystals,
    *,
    workers: int | Workers = 1,
    time_limit: float = TIME_LIMIT,
    progress: Progress | None = None,
    log: MatchLog | None = None,
) -> list[list[int]]:
    """Find for each structure every reference that it is equal to; arguments as for `match_any`.

    Returns:
        Positions in ``reference``, ascending, one list per structure; empty where none is equal.
    """
    every: list[list[int]] = [[] for _ in structures]
    buckets = _buckets(structures, _index(reference, time_limit), every=True)
    for members, answers in _run(buckets, workers, progress, log):
        for member, positions in zip(members, answers, strict=True):
            every[member] = positions
    return every


def rms_displacements(
    before: Sequence[Structure],
    after: Sequence[Structure],
    *,
    workers: int | Workers = 1,
    time_limit: float = TIME_LIMIT,
    log: MatchLog | None = None,
) -> list[float | None]:
    """How far the atoms of each crystal moved, once the two cells are laid over each other as well as possible.

    The cells keep their volumes and are not made primitive, so that symmetry gained in between costs no match. Atoms
    may move by half of (volume per atom)^(1/3) in the root mean square; beyond that the pair does not match.

    Args:
        before: ordered structures.
        after: the same crystals later, with as many atoms each.
        workers: processes; the answer does not depend on them.
        time_limit: CPU seconds for one pair.
        log: receives the counts.

    Returns:
        Root mean square displacement of each pair, Å; None where the two do not match, or time ran out.
    """
    pairs = [(a, b, time_limit) for a, b in zip(before, after, strict=True)]
    displacements: list[float | None] = []
    with at_work(workers) as running:
        for value, counts in running.map(_displacement, pairs):
            displacements.append(value)
            if log is not None:
                log.add(counts)
    return displacements


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
            displacement = matcher.get_rms_dist(before, after)
    except TimeUp:
        log.timed_out += 1
        return None, log
    except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError):
        log.unreducible += 1
        return None, log
    length = ((before.volume + after.volume) / (2 * len(before))) ** (1 / 3)
    return (None if displacement is None else float(displacement[0]) * length), log


def _by_formula(structures: Sequence[Structure]) -> dict[Formula, list[int]]:
    buckets: defaultdict[Formula, list[int]] = defaultdict(list)
    for k, structure in enumerate(structures):
        buckets[Formula.from_atomic_numbers(structure.atomic_numbers)].append(k)
    return dict(buckets)


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    """Structures of one formula, and what they are compared with; with each other where that has no positions."""

    members: list[int]
    structures: list[Structure]
    references: ReferenceIndex
    targets: list[int] | None = None
    every: bool = False


def _buckets(structures: Sequence[Structure], index: ReferenceIndex, *, every: bool = False) -> list[_Bucket]:
    """Each with the references of its formula."""
    return [
        _Bucket(
            members=members,
            structures=[structures[k] for k in members],
            references=index.part(index.of_formula(formula)),
            targets=index.of_formula(formula),
            every=every,
        )
        for formula, members in _by_formula(structures).items()
    ]


def _index(reference: Sequence[Structure] | Crystals, time_limit: float) -> ReferenceIndex:
    if isinstance(reference, Crystals):
        return ReferenceIndex.from_crystals(reference, time_limit=time_limit)
    return ReferenceIndex(reference, time_limit=time_limit)


def _match_bucket(bucket: _Bucket) -> tuple[list[int], list[Any], MatchLog]:
    """Members of the bucket, the label of each (a list where every match is wanted), and the counts."""
    index, labels = bucket.references, list[Any]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate cells divide by zero inside NumPy; the outcome is judged anyway
        if bucket.targets is None:
            kept: list[int] = []
            for member, structure in zip(bucket.members, bucket.structures, strict=True):
                position = index.find_or_add(structure)
                if position == len(kept):
                    kept.append(member)
                labels.append(kept[position])
        elif bucket.every:
            labels = [[bucket.targets[k] for k in index.find_all(structure)] for structure in bucket.structures]
        else:
            positions = [index.find(structure) for structure in bucket.structures]
            labels = [bucket.targets[k] if k >= 0 else -1 for k in positions]
    return bucket.members, labels, index.log


def _run(
    buckets: list[_Bucket], workers: int | Workers, progress: Progress | None, log: MatchLog | None
) -> Iterator[tuple[list[int], list[Any]]]:
    """Work through the buckets, in this process or in several."""
    largest_first = sorted(buckets, key=lambda bucket: -len(bucket.structures))
    total, done, report = sum(len(bucket.members) for bucket in buckets), 0, at_stage(progress, STAGE)
    with at_work(workers) as running:
        for members, labels, counts in running.map(_match_bucket, [(bucket,) for bucket in largest_first]):
            done += len(members)
            report(done, total)
            if log is not None:
                log.add(counts)
            yield members, labels
