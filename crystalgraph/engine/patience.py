"""An end for workers that give no answer, from within."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEATHS = "crystalgraph-deaths"
"""The topic under which a worker says why it ends itself."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """End this process, a worker, unless the block is left in time; seconds of wall time."""
    from distributed import get_worker

    worker = get_worker()
    key, alone = worker.get_current_task(), worker.state.nthreads == 1

    def end() -> None:
        worker.log_event(DEATHS, {"key": key, "why": f"the worker gave no answer for {seconds:.0f} s and was ended"})
        threading.Timer(1.0, os._exit, (1,)).start()  # once it is said

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    if alone:  # a process has one such alarm, for where even the timer cannot run
        faulthandler.dump_traceback_later(seconds + 10, exit=True)
    try:
        yield
    finally:
        if alone:
            faulthandler.cancel_dump_traceback_later()
        timer.cancel()
