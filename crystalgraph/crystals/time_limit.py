"""A limit of CPU time for calls into other packages' code, which can take forever on an odd crystal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeUp(Exception):
    """The time limit was reached."""


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
