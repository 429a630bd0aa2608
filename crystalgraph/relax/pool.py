"""Relax many crystals in worker processes, one thread each; a worker that dies costs only its crystal.

Every crystal is relaxed in a worker, also with one worker only, so that the results do not depend on their number.
Threads are limited before NumPy and SciPy load: with more than one, SciPy's make a step many times slower. A potential
takes some seconds to start in each worker; `Workers` can be kept for several calls, and for several potentials.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import nan
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.errors import InputError, RunError
from crystalgraph.io.sealed import read_sealed, write_sealed
from crystalgraph.progress import Progress, at_stage
from crystalgraph.relax.potentials import potential_identity
from crystalgraph.relax.relaxation import Derivatives, Relaxation, RelaxSettings, relaxation_key, structure_record
from crystalgraph.relax.worker import Task

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull

LOGGER = logging.getLogger("crystalgraph.relax")
"""Hears what is worth a line; the commands print it."""

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PYTHONWARNINGS": "ignore",  # nobody reads them, and as errors they would end the libraries
}

_START = "from crystalgraph.relax.worker import main; main()"

_PATIENCE = 120.0  # seconds of wall time for a start, or for one energy; relaxations get their own time on top
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
        if folder is not None and (earlier := _read(folder, key)) is not None:
            results |= dict.fromkeys(copies[first], earlier)
    report(len(results), len(structures))
    todo = {first: structures[first] for first in keys if first not in results}
    patience = _PATIENCE + 5 * settings.max_seconds
    task = Task(potential=settings.potential, settings=settings, hull=hull)
    with _running(workers) as running:
        for first, record, death in running.answers(task, todo, patience):
            relaxation = Relaxation(status="failed", reason=death) if death else Relaxation.from_dict(record)
            if folder is not None and not death:
                _write(folder, keys[first], structures[first], settings, record)
            results |= dict.fromkeys(copies[first], relaxation)
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
    energies = _answers(structures, Task(potential=potential), workers, at_stage(progress, "single points"))
    return [nan if energy is None else energy for energy in energies]


def many_derivatives(
    structures: Sequence[Structure],
    potential: str,
    *,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> list[Derivatives | None]:
    """Energies, forces and stresses of crystals as they are.

    Args:
        structures: ordered structures.
        potential: name, see `crystalgraph.relax.potentials.make_calculator`.
        workers: as for `relax_many`.
        progress: called as the work goes on.

    Returns:
        In the order given; None where the calculator has no answer or the cell is not believable.

    Raises:
        InputError: if the calculator cannot be made, or the number of workers is below 1.
    """
    return _answers(structures, Task(potential=potential, derivatives=True), workers, at_stage(progress, "derivatives"))


def _answers(
    structures: Sequence[Structure],
    task: Task,
    workers: int | Workers,
    report: Callable[[int, int], None],
) -> list[Any]:
    """What the workers say of each crystal; None for what is no crystal."""
    answers: list[Any] = [None] * len(structures)
    todo = {k: structure for k, structure in enumerate(structures) if structure_fault(structure) is None}
    done = len(structures) - len(todo)
    with _running(workers) as running:
        for position, answer, _death in running.answers(task, todo, _PATIENCE):
            answers[position] = answer
            done += 1
            report(done, len(structures))
    return answers


class Workers:
    """Processes that make the calculators they need and keep them, for several calls of `relax_many` and others.

    A context manager: they start when there is work and end on leaving, also on Ctrl-C.

    Args:
        number: how many processes at most, at least 1.

    Raises:
        InputError: if the number is below 1.
        RunError: without a folder for temporary files.
    """

    def __init__(self, number: int = 1) -> None:
        if number < 1:
            raise InputError(f"{number} workers cannot work; ask for at least 1")
        self.number = number
        self._workers: list[_Worker] = []
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="crystalgraph-")
        except OSError as error:
            raise RunError(f"workers need a folder for temporary files ({error}); name one with TMPDIR") from error

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._folder.cleanup()

    def answers(
        self, task: Task, structures: dict[int, Structure], patience: float
    ) -> Iterator[tuple[int, Any, str | None]]:
        """Hand the structures out and collect what comes back, in the order in which it comes.

        Args:
            task: what to do with each.
            structures: by any key.
            patience: seconds of wall time after which a silent worker is ended.

        Yields:
            The key, the answer, and None; or the key, None, and why the worker died.

        Raises:
            InputError: if a worker cannot make the calculator.
            RunError: if a worker cannot start, or for an error in it that no crystal should cause; its traceback is a
                note of the error.
        """
        waiting = list(reversed(structures))
        while len(self._workers) < min(self.number, len(waiting)):
            self._workers.append(_Worker(Path(self._folder.name)))
        for worker in self._workers:
            worker.task = task
        try:
            while waiting or any(worker.job is not None for worker in self._workers):
                for worker in self._workers:
                    free = worker.ready and worker.job is None
                    if free and waiting and worker.give(waiting[-1], structures[waiting[-1]], patience):
                        waiting.pop()
                wait([worker.connection for worker in self._workers], timeout=1.0)
                for position, worker in enumerate(self._workers):
                    if (answer := worker.collect()) is None:
                        continue
                    job, result, death = answer
                    if death is not None:
                        worker.end()
                        self._workers[position] = _Worker(Path(self._folder.name), task)
                    if job is not None:
                        yield job, result, death
        finally:  # a call that was broken off leaves no worker behind with its answer
            for worker in [worker for worker in self._workers if worker.job is not None]:
                worker.end()
                self._workers.remove(worker)


class _Worker:
    """One process, the socket to it, and the crystal it is at."""

    def __init__(self, folder: Path, task: Task | None = None) -> None:
        here, there = socket.socketpair()
        with there, tempfile.NamedTemporaryFile(dir=folder, suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(there.fileno()), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[there.fileno()],
                env=os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                cwd=folder,  # CHGNet leaves a file where it fails
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
        self.connection = Connection(here.detach())
        self.ready = False
        self.task = task
        self._sent: Task | None = None
        self._made: set[str] = set()
        self.job: int | None = None
        self._patience, self._deadline = _PATIENCE, time.monotonic() + _PATIENCE

    def give(self, job: int, structure: Structure, patience: float) -> bool:
        """Send a crystal, and the task before it if it is new; False if the process is dead already."""
        try:
            if self.task is not self._sent:
                self.connection.send(self.task)
                self._sent = self.task
            self.connection.send(structure_record(structure))
        except OSError:
            return False
        self.job, self._patience = job, patience
        self._deadline = time.monotonic() + (patience if self._can_calculate() else _PATIENCE_FOR_CALCULATOR)
        return True

    def collect(self) -> tuple[int | None, Any, str | None] | None:
        """The job, its result, and why the worker died; None if there is nothing new."""
        try:
            if not self.connection.poll():
                if (self.job is None and self.ready) or time.monotonic() < self._deadline:
                    return None
                death = "the worker gave no answer for too long and was ended"
            else:
                kind, content = self.connection.recv()
                if kind == "input error":
                    raise InputError(content)
                if kind == "ready":
                    self.ready = True
                    return None
                if kind == "made":
                    self._made.add(content)
                    self._deadline = time.monotonic() + self._patience
                    return None
                job, self.job = self.job, None
                return job, content, None
        except (EOFError, OSError):
            death = self._cause_of_death()
        if not self.ready or (self.job is not None and not self._can_calculate()):
            raise RunError(f"a worker could not start: {death}")
        return self.job, None, death

    def end(self) -> None:
        """Kill the process if it lives."""
        self._process.kill()  # first, for a worker that is left alone removes the folder of all
        self._process.wait()
        self.connection.close()

    def _can_calculate(self) -> bool:
        """Whether the calculator of the task is made."""
        return self.task is not None and self.task.potential in self._made

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "the worker closed its connection"
        if code == -signal.SIGKILL:
            return "the worker was killed (SIGKILL), perhaps for lack of memory"
        if code < 0:
            return f"the worker crashed ({signal.Signals(-code).name})"
        log = self._log.read_text(errors="replace").strip()
        if code == 1 and "Traceback" in log:  # not the crystal's fault
            error = RunError(f"a worker failed: {_one_line(log.splitlines()[-1])}")
            error.add_note(log)
            raise error
        return f"the worker ended with exit code {code}: {_one_line(log.splitlines()[-1]) if log else 'no message'}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


@contextmanager
def _running(workers: int | Workers) -> Iterator[Workers]:
    """The workers that were given, or new ones that end with the block."""
    if isinstance(workers, Workers):
        yield workers
        return
    with Workers(workers) as new:
        yield new


def _read(folder: Path, key: str) -> Relaxation | None:
    """The relaxation kept under a key, or None if there is none; one that is damaged is said and made anew."""
    path = folder / f"{key}.json"
    try:
        content = read_sealed(path)
        if content["key"] != key:
            raise ValueError("it is another relaxation's")
        return Relaxation.from_dict(content["relaxation"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOGGER.warning("%s is not believed (%s); the relaxation is done again", path, error)
        return None


def _write(folder: Path, key: str, structure: Structure, settings: RelaxSettings, record: dict[str, Any]) -> None:
    """Keep a relaxation with what it depends on."""
    write_sealed(
        folder / f"{key}.json",
        {
            "key": key,
            "formula": str(Formula.from_atomic_numbers(structure.atomic_numbers)),
            "potential": potential_identity(settings.potential),
            "settings": asdict(settings),
            "relaxation": record,
        },
    )
