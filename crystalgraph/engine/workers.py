"""Work handed to processes: of this machine, or of a dask cluster that somebody keeps.

A worker that dies costs the job that killed it and no other: whatever it had in hand is done again at the end, one job
at a time, and what kills a second worker all alone is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from crystalgraph.engine.connection import connected, one_line
from crystalgraph.engine.local_cluster import LocalCluster
from crystalgraph.engine.patience import DEATHS
from crystalgraph.errors import InputError, RunError

if TYPE_CHECKING:
    from distributed import Future

    from crystalgraph.engine.client import Connection

T = TypeVar("T")

_IN_HAND = 4  # jobs that each thread of a worker has, or waits for

_THREADS = 64  # of a worker that has a GPU, each with a crystal


class Workers:
    """Processes of one thread each that do pure work, for several calls of `answers` and `map`.

    A context manager. Those of this machine start when there is work and end on leaving, also on Ctrl-C and where the
    run is killed; a cluster is reached on entering.

    Args:
        number: processes on this machine, at least 1.
        scheduler: address of a dask scheduler, such as "tcp://10.0.0.1:8786"; its workers are used instead, and
            ``number`` becomes how many there are.
        device: "cpu", or that of `sharing`, such as "cuda"; workers of a scheduler are taken for CPUs.
        threads: of each process on this machine.

    Raises:
        InputError: if the number is below 1; on entering, if there is no such cluster, or it cannot work for us.
    """

    def __init__(self, number: int = 1, scheduler: str | None = None, *, device: str = "cpu", threads: int = 1) -> None:
        check_workers(number)
        self.number, self.scheduler = number, scheduler
        self.device = device if scheduler is None else "cpu"
        self._threads = threads
        self._sharing: Workers | None = None
        self._cluster: LocalCluster | None = None
        self._connection: Connection | None = None
        self._prepared: set[str] = set()

    def __enter__(self) -> Workers:
        if self.scheduler is not None:
            self.number = len(self._client().nthreads())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._sharing is not None:
            self._sharing.__exit__(kind, value, where)
            self._sharing = None
        if self._connection is not None:
            self._connection.end()
        if self._cluster is not None:
            self._cluster.end()
        self._connection = self._cluster = None
        self._prepared.clear()

    def sharing(self) -> Workers:
        """Those for work that a GPU does for many at once: a process of many threads; these, without such a device."""
        if self.device == "cpu":
            return self
        if self._sharing is None:
            self._sharing = Workers(device=self.device, threads=_THREADS)
        return self._sharing

    @property
    def is_this_process(self) -> bool:
        """Whether `map` works here."""
        return self.scheduler is None and self.number == 1

    def prepare(self, name: str, function: Callable[..., Any], *arguments: Any, load: Sequence[str] = ()) -> None:
        """Call a function once in each worker, before the first job that needs it: such as one that makes a calculator.

        Args:
            name: what is prepared; nothing happens where it is.
            function: of the package.
            *arguments: its arguments.
            load: modules that the function will import; should no process run yet, they are loaded once for all.

        Raises:
            InputError: if the function raises one, or there is no such cluster.
            RunError: if a worker cannot start, or dies of it.
        """
        if name in self._prepared:
            return
        client = self._client((function.__module__, *load))
        futures = [
            client.submit(function, *arguments, key=f"{function.__name__}-{uuid4()}", workers=[worker])
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
        if self.is_this_process or (self.scheduler is None and len(jobs) < 2):
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

        client, of = self._client((function.__module__,)), dict[str, tuple[str, tuple[Any, ...]]]()

        def submit(job: tuple[str, tuple[Any, ...]]) -> Future:
            future = client.submit(function, *job[1], key=f"{function.__name__}-{job[0]}")
            of[str(future.key)] = job
            return future

        running = as_completed([submit(first)], loop=client.loop)
        try:
            for job in islice(others, _IN_HAND * max(1, sum(client.nthreads().values())) - 1):
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

    def _client(self, load: Sequence[str] = ()) -> Connection:
        """The connection to the scheduler, made when it is first needed, for work that needs some modules."""
        if self._connection is None:
            if self.scheduler is not None:
                self._connection = connected(self.scheduler)
            else:
                self._cluster = LocalCluster(self.number, self._threads, load)
                self._connection = self._cluster.connected()
        return self._connection

    def _cause_of_death(self, future: Future) -> str:
        """What the worker said before it ended itself, if it did."""
        events = self._client().get_events(DEATHS)
        said = [event["why"] for _, event in events if event["key"] == future.key]
        return said[-1] if said else "the worker died of it (it crashed, or was killed, perhaps for lack of memory)"


def check_workers(workers: int | Workers) -> None:
    """Refuse a number of processes below 1 with an InputError."""
    if isinstance(workers, int) and workers < 1:
        raise InputError(f"workers {workers} is not a number of processes; give 1 or more")


@contextmanager
def at_work(workers: int | Workers, device: str = "cpu") -> Iterator[Workers]:
    """The workers that were given, or new ones, with a device, that end with the block."""
    if isinstance(workers, Workers):
        yield workers
        return
    with Workers(workers, device=device) as new:
        yield new


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

    failure = RunError(f"a worker failed: {type(error).__name__}: {one_line(error)}")
    failure.add_note("".join(traceback.format_exception(type(error), error, future.traceback())))
    return failure
