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
    key = worker.get_current_task()

    def end() -> None:
        worker.log_event(DEATHS, {"key": key, "why": f"the worker gave no answer for {seconds:.0f} s and was ended"})
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
