"""A limit of CPU time for calls into other packages' code, which can take forever on an odd crystal."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.2  # seconds of wall time between two looks at a clock


class TimeUp(Exception):
    """The time limit was reached."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` after some CPU seconds of this thread, at its next step in Python.

    CPU time, not wall time, so that a busy machine changes no result. It works in any thread, as workers have theirs;
    where threads have no clocks of their own there is no limit. Limits may be nested.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        yield
        return
    limit = _Limit(seconds)
    _GUARD.add(limit)
    try:
        yield
    finally:
        limit.lift()


class _Limit:
    """What one thread may still spend."""

    def __init__(self, seconds: float) -> None:
        self._thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._end = time.clock_gettime(self._clock) + seconds
        self._lock, self.over = threading.Lock(), False

    def look(self) -> None:
        """Stop the thread if its time is up."""
        with self._lock:
            if not self.over and time.clock_gettime(self._clock) >= self._end:
                self.over = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(TimeUp))

    def lift(self) -> None:
        """End the limit; what was sent and has not arrived is taken back."""
        with self._lock:
            if self.over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)
            self.over = True


class _Guard:
    """One thread that looks at the limits of all others while there are any."""

    def __init__(self) -> None:
        self._limits, self._lock, self._some = list[_Limit](), threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, limit: _Limit) -> None:
        """Watch a limit until it is over."""
        with self._lock:
            self._limits.append(limit)
            if self._thread is None or not self._thread.is_alive():  # none yet, or lost in a fork
                self._thread = threading.Thread(target=self._look, name="cpu limits", daemon=True)
                self._thread.start()
        self._some.set()

    def _look(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_LOOK_EVERY)
            with self._lock:
                self._limits = [limit for limit in self._limits if not limit.over]
                if not self._limits:
                    self._some.clear()
            for limit in self._limits:
                limit.look()


_GUARD = _Guard()
