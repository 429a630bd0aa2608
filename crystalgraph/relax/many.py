"""Relax many crystals, and ask for the energies of many, in worker processes.

Every crystal is relaxed in a worker, also with one worker only, so that the results do not depend on their number, and
a worker that dies costs only its crystal. A potential takes some seconds to start in each worker; `Workers` can be kept
for several calls, and for several potentials.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.progress import Progress, at_stage
from crystalgraph.relax.cache import read_relaxation, write_relaxation
from crystalgraph.relax.jobs import CalculatorSpec, energy, energy_forces_stress, prepare, relaxation
from crystalgraph.relax.potentials import is_together, modules_of, potential_identity
from crystalgraph.relax.relaxation import (
    Derivatives,
    Relaxation,
    RelaxSettings,
    relaxation_key,
    structure_key,
    structure_record,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull

T = TypeVar("T")

_PATIENCE = 120.0  # seconds of wall time for one energy; relaxations get their own time on top
_PATIENCE_FOR_CALCULATOR = 600.0  # seconds of wall time to make one


def relax_many(
    structures: Sequence[Structure],
    settings: RelaxSettings,
    *,
    workers: int | Workers = 1,
    hull: Hull | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Relaxation]:
    """Relax crystals in parallel; equal ones are relaxed once.

    Args:
        structures: ordered structures, of one chemical system if there is a hull.
        settings: how.
        workers: number of processes, at least 1, or `Workers` that run already; the results do not depend on it.
        hull: needed for abort thresholds and the saddle check, see `crystalgraph.relax.relaxer.relax`.
        folder: each finished relaxation is written here at once, under a name made from all that it depends on, and
            taken from here if it is there already. Several processes may share it. What a dying worker took along is
            not written.
        progress: called as the work goes on.

    Returns:
        One relaxation for each structure, in their order.

    Raises:
        InputError: if the calculator cannot be made, or the number of workers is below 1.
        ValueError: if the settings need a hull and there is none.
    """
    if hull is None and (settings.abort or settings.saddle_check):
        raise ValueError("abort thresholds and the saddle check need a hull")
    report = at_stage(progress, "relaxation")
    results: dict[int, Relaxation] = {}
    first_with: dict[str, int] = {}
    copies: dict[int, list[int]] = {}
    for position, structure in enumerate(structures):
        if fault := structure_fault(structure):
            results[position] = Relaxation(status="failed", reason=fault)
            continue
        key = relaxation_key(structure, settings, hull)
        first = first_with.setdefault(key, position)
        copies.setdefault(first, []).append(position)
    keys = {first: key for key, first in first_with.items()}
    for first, key in keys.items():
        if folder is not None and (earlier := read_relaxation(folder, key)) is not None:
            results |= dict.fromkeys(copies[first], earlier)
    report(len(results), len(structures))
    position_of = {key: first for first, key in keys.items() if first not in results}
    with at_work(workers) as running:
        spec = _spec(settings.potential, running)
        job = (spec, _PATIENCE + 5 * settings.max_seconds, settings, hull)
        todo = ((key, (structure_record(structures[first]), *job)) for key, first in position_of.items())
        for key, record, death in _answers(running, relaxation, spec, todo):
            relaxed = Relaxation(status="failed", reason=str(death)) if record is None else Relaxation.from_dict(record)
            first = position_of[key]
            if folder is not None and record is not None:
                write_relaxation(folder, key, structures[first], settings, record)
            results |= dict.fromkeys(copies[first], relaxed)
            report(len(results), len(structures))
    return [results[position] for position in range(len(structures))]


def single_points(
    structures: Sequence[Structure],
    potential: str,
    *,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> list[float]:
    """Energies of crystals as they are.

    Args:
        structures: ordered structures.
        potential: name, see `crystalgraph.relax.potentials.make_calculator`.
        workers: as for `relax_many`.
        progress: called as the work goes on.

    Returns:
        eV/atom, in the order given; NaN where the calculator has no answer or the cell is not believable.

    Raises:
        InputError: if the calculator cannot be made, or the number of workers is below 1.
    """
    energies = _of_each(energy, structures, potential, workers, at_stage(progress, "single points"))
    return [nan if found is None else found for found in energies]


def many_derivatives(
    structures: Sequence[Structure],
    potential: str,
    *,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> list[Derivatives | None]:
    """Energies, forces and stresses of crystals as they are; arguments and errors as for `single_points`.

    Returns:
        In the order given; None where the calculator has no answer or the cell is not believable.
    """
    return _of_each(energy_forces_stress, structures, potential, workers, at_stage(progress, "derivatives"))


def ready_for(workers: Workers, potentials: Sequence[str]) -> None:
    """Make sure that a cluster's workers have some potentials, before work is spent; those of this machine have them.

    Raises:
        InputError: if a worker lacks one, or has other weights.
        RunError: if a worker dies of it.
    """
    if workers.scheduler is not None:
        for potential in potentials:
            workers.prepare(potential, prepare, _spec(potential, workers))


def _of_each(
    function: Callable[..., T],
    structures: Sequence[Structure],
    potential: str,
    workers: int | Workers,
    report: Callable[[int, int], None],
) -> list[T | None]:
    """What the workers say of each crystal; None for what is no crystal, and where a worker died of it."""
    found = list[T | None]([None] * len(structures))
    positions: dict[str, list[int]] = {}
    for position, structure in enumerate(structures):
        if structure_fault(structure) is None:
            positions.setdefault(structure_key(structure), []).append(position)
    done = len(structures) - sum(map(len, positions.values()))
    of_potential = hashlib.sha256(json.dumps(potential_identity(potential), sort_keys=True).encode()).hexdigest()[:16]
    with at_work(workers) as running:
        spec = _spec(potential, running)
        jobs = (
            (f"{of_potential}-{key}", (structure_record(structures[same[0]]), spec, _PATIENCE))
            for key, same in positions.items()
        )
        for key, answer, _death in _answers(running, function, spec, jobs):
            for position in positions[key.rpartition("-")[2]]:
                found[position] = answer
                done += 1
            report(done, len(structures))
    return found


def _answers(
    workers: Workers, function: Callable[..., T], spec: CalculatorSpec, jobs: Iterator[tuple[str, tuple[Any, ...]]]
) -> Iterator[tuple[str, T | None, str | None]]:
    """The answers to jobs, of which there may be none, of workers that have the calculator."""
    if (first := next(jobs, None)) is not None:
        chosen = workers if spec.device == "cpu" else workers.sharing()
        chosen.prepare(spec.potential, prepare, spec, load=modules_of(spec.potential))
        yield from chosen.answers(function, chain([first], jobs))


def _spec(potential: str, workers: Workers) -> CalculatorSpec:
    return CalculatorSpec(
        potential=potential,
        identity=potential_identity(potential),
        patience=_PATIENCE_FOR_CALCULATOR,
        device=workers.device if is_together(potential) else "cpu",
    )
