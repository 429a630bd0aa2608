"""Work handed to processes of one thread each: of this machine, or of a dask cluster that somebody keeps.

Threads are limited before NumPy and SciPy load: with more than one, SciPy's make a step many times slower. A worker
that dies costs the job that killed it and no other: whatever it had in hand is done again at the end, one job at a
time, and what kills a second worker all alone is given up.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from crystalgraph.errors import InputError, RunError

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

T = TypeVar("T")

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # what tensors give back stays with the process; dask's own setting returns it to the kernel every time
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "PYTHONWARNINGS": "ignore",  # nobody reads them, and as errors they would end the libraries
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # who is to blame is found out here
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    **{f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": "False" for name in ("TARGET", "SPILL", "PAUSE")},
}

_CREDENTIALS = (
    "tls_ca_file",
    *(f"tls_{who}_{what}" for who in ("client", "scheduler", "worker") for what in ("key", "cert")),
)

_START = "from crystalgraph.engine.local_cluster import main; main()"

_PATIENCE = 120.0  # seconds of wall time for a cluster to start
_PATIENCE_FOR_ANSWER = 20.0  # seconds of wall time for a scheduler or its first worker to answer

_IN_HAND = 4  # jobs that each worker has, or waits for

_DEATHS = "crystalgraph-deaths"  # the topic under which a worker says why it ends itself


class Workers:
    """Processes that do pure work, for several calls of `answers` and `map`.

    A context manager: they start when there is work and end on leaving, also on Ctrl-C and where the run is killed.

    Args:
        number: processes on this machine, at least 1.
        scheduler: address of a dask scheduler, such as "tcp://10.0.0.1:8786"; its workers are used instead.

    Raises:
        InputError: if the number is below 1.
    """

    def __init__(self, number: int = 1, scheduler: str | None = None) -> None:
        check_workers(number)
        self.number, self.scheduler = number, scheduler
        self._cluster: _LocalCluster | None = None
        self._connection: Client | None = None
        self._prepared: set[str] = set()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close(timeout=1)
        if self._cluster is not None:
            self._cluster.end()
        self._connection = self._cluster = None
        self._prepared.clear()

    def prepare(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function once in each worker, before the first job that needs it: such as one that makes a calculator.

        Args:
            name: what is prepared; nothing happens where it is.
            function: of the package.
            *arguments: its arguments.

        Raises:
            InputError: if the function raises one, or there is no such cluster.
            RunError: if a worker cannot start, or dies of it.
        """
        if name in self._prepared:
            return
        client = self._client()
        futures = [
            client.submit(_call, _packed(function, arguments), key=f"{function.__name__}-{uuid4()}", workers=[worker])
            for worker in client.nthreads()
        ]
        for future in futures:
            if _killed(future):
                raise RunError(f"a worker could not start: {self._cause_of_death(future)}")
            _result(future)
        self._prepared.add(name)

    def answers(
        self, function: Callable[..., T], jobs: Iterable[tuple[str, tuple[Any, ...]]]
    ) -> Iterator[tuple[str, T | None, str | None]]:
        """Do jobs, and hand out what comes back in the order in which it comes.

        Args:
            function: pure, of the package, so that each worker can import it.
            jobs: the key of each, and the arguments. Jobs of one key are the same work and done once on a cluster,
                whoever asks.

        Yields:
            The key, the answer, and None; or the key, None, and why a worker died of it.

        Raises:
            InputError: if a job raises one, or there is no such cluster.
            RunError: if no worker can start, if the cluster is lost, or for an error that no job should cause; its
                traceback is a note of the error.
        """
        waiting = iter(jobs)
        if (first := next(waiting, None)) is None:
            return
        suspects = list[tuple[str, tuple[Any, ...]]]()
        for job, future in self._finished(function, first, waiting):
            if _killed(future):
                suspects.append(job)
            else:
                yield job[0], _result(future), None
        for job in suspects:
            for _, future in self._finished(function, job, iter(())):
                if _killed(future):
                    yield job[0], None, self._cause_of_death(future)
                else:
                    yield job[0], _result(future), None

    def map(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """The answers to jobs of which none kills a worker, in their order; one process is this one.

        Raises:
            InputError, RunError: as for `answers`; also if a worker dies.
        """
        if self.scheduler is None and min(self.number, len(jobs)) < 2:
            for arguments in jobs:
                yield function(*arguments)
            return
        call, found, following = uuid4(), dict[int, T](), 0
        for key, answer, death in self.answers(function, ((f"{call}-{k}", job) for k, job in enumerate(jobs))):
            if death is not None:
                raise RunError(f"the work was not done: {death}")
            found[int(key.rpartition("-")[2])] = answer  # type: ignore[assignment]
            while following in found:
                yield found.pop(following)
                following += 1

    def _finished(
        self, function: Callable[..., Any], first: tuple[str, tuple[Any, ...]], others: Iterator[Any]
    ) -> Iterator[tuple[tuple[str, tuple[Any, ...]], Future]]:
        """Jobs as they end, with the future of each; no more are in hand than the workers need."""
        from distributed import as_completed

        client, of = self._client(), dict[str, tuple[str, tuple[Any, ...]]]()

        def submit(job: tuple[str, tuple[Any, ...]]) -> Future:
            future = client.submit(_call, _packed(function, job[1]), key=f"{function.__name__}-{job[0]}")
            of[str(future.key)] = job
            return future

        running = as_completed([submit(first)], loop=client.loop)
        try:
            for job in islice(others, _IN_HAND * max(1, len(client.nthreads())) - 1):
                running.add(submit(job))
            for future in running:
                job = of.pop(str(future.key))
                for following in islice(others, 1):
                    running.add(submit(following))
                yield job, future
                future.release()
        finally:
            with suppress(Exception):  # what is left of a call that was broken off
                client.cancel([f for f in running.futures if f.status == "pending"], force=True)

    def _client(self) -> Client:
        """The connection to the scheduler, made when it is first needed."""
        if self._connection is None:
            if self.scheduler is not None:
                self._connection = _connected(self.scheduler)
            else:
                self._cluster = _LocalCluster(self.number)
                self._connection = self._cluster.connected()
        return self._connection

    def _cause_of_death(self, future: Future) -> str:
        """What the worker said before it ended itself, if it did."""
        events = self._client().get_events(_DEATHS)
        said = [event["why"] for _, event in events if event["key"] == future.key]
        return said[-1] if said else "the worker died of it (it crashed, or was killed, perhaps for lack of memory)"


def check_workers(workers: int | Workers) -> None:
    """Refuse a number of processes below 1 with an InputError."""
    if isinstance(workers, int) and workers < 1:
        raise InputError(f"workers {workers} is not a number of processes; give 1 or more")


@contextmanager
def at_work(workers: int | Workers) -> Iterator[Workers]:
    """The workers that were given, or new ones that end with the block."""
    if isinstance(workers, Workers):
        yield workers
        return
    with Workers(workers) as new:
        yield new


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """End this process, a worker, unless the block is left in time; seconds of wall time."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def end() -> None:
        worker.log_event(_DEATHS, {"key": key, "why": f"the worker gave no answer for {seconds:.0f} s and was ended"})
        threading.Timer(1.0, os._exit, (1,)).start()  # once it is said

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + 10, exit=True)  # where even the timer cannot run
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()


class _LocalCluster:
    """The process of `crystalgraph.engine.local_cluster`, with credentials that nobody else has."""

    def __init__(self, number: int) -> None:
        from distributed.security import Security

        self._security: Security = Security.temporary()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="crystalgraph-"))
        except OSError as error:
            raise RunError(f"workers need a folder for temporary files ({error}); name one with TMPDIR") from error
        self._log = self._folder / "cluster.log"
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | _ENVIRONMENT | {"DASK_TEMPORARY_DIRECTORY": str(self._folder), "PYTHONPATH": path},
                cwd=self._folder,  # CHGNet leaves a file where it fails
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
        assert self._process.stdin is not None
        credentials = {name: getattr(self._security, name) for name in _CREDENTIALS}
        wanted = {"workers": number, "security": {"require_encryption": True, **credentials}}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()

    def connected(self) -> Client:
        """A connection to the scheduler, once the workers are there."""
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            address = output.readline().decode().strip() if selector.select(_PATIENCE) else None
        if not address:
            said = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
            last = next((line for line in reversed(said) if line.strip()), "no message")
            code = self._process.poll()
            self.end()
            silent = address is None and code is None
            how = f"no answer for {_PATIENCE:.0f} s" if silent else f"the process ended: {_one_line(last)}"
            raise RunError(f"a worker could not start: {how}")
        return _new_client(address, _PATIENCE, self._security)

    def end(self) -> None:
        """End the process and its workers; it removes its folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _connected(address: str) -> Client:
    """A connection to a cluster that exists, whose workers have this version of the package."""
    from crystalgraph import __version__

    advice = "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
    try:
        client = _new_client(address, _PATIENCE_FOR_ANSWER, None)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"no scheduler answers at {address} ({_one_line(error)}); {advice}") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_FOR_ANSWER)
    except TimeoutError:
        client.close()
        raise InputError(f"the scheduler at {address} has no workers; {advice}") from None
    for worker, version in client.run(_version, on_error="return").items():
        if version != __version__:
            client.close()
            found = f"it cannot be loaded ({_one_line(version)})" if isinstance(version, Exception) else version
            raise InputError(f"worker {worker} needs crystalgraph {__version__}, and there: {found}; install it there")
    return client


def _new_client(address: str, timeout: float, security: Security | None) -> Client:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it reports each lost worker, as we do
    return Client(address, timeout=timeout, security=security, set_as_default=False)


def _version() -> str:
    from crystalgraph import __version__

    return __version__


def _packed(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """A call as the bytes that dask sends: the scheduler passes them on and need not load what they are made of."""
    from distributed.protocol import pickle

    return pickle.dumps((function, arguments))


def _call(packed: bytes) -> Any:
    """Do what `_packed` asks for, in a worker."""
    from distributed.protocol import pickle

    function, arguments = pickle.loads(packed)
    return function(*arguments)


def _killed(future: Future) -> bool:
    """Whether a job ended with the worker that was at it."""
    from distributed.scheduler import KilledWorker

    return isinstance(_raised(future), KilledWorker)


def _raised(future: Future) -> BaseException | None:
    """What a job raised, once it has ended."""
    with _lost_scheduler_said():
        return future.exception()


def _result(future: Future) -> Any:
    """The answer of a job, once there is one."""
    if (error := _raised(future)) is not None:
        raise _failure(error, future)
    with _lost_scheduler_said():
        return future.result()


@contextmanager
def _lost_scheduler_said() -> Iterator[None]:
    from distributed.client import FutureCancelledError

    try:
        yield
    except FutureCancelledError:
        lost = "the workers' scheduler was lost; what is finished is kept, and the same command goes on there"
        raise RunError(lost) from None


def _failure(error: BaseException, future: Future) -> BaseException:
    """The same error where it tells the user something, one with the traceback as a note where it is a bug."""
    if isinstance(error, InputError):
        return error
    import traceback

    failure = RunError(f"a worker failed: {type(error).__name__}: {_one_line(error)}")
    failure.add_note("".join(traceback.format_exception(type(error), error, future.traceback())))
    return failure


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]
