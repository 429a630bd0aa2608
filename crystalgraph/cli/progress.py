"""How far a command is: a bar for each stage on a terminal, a line every ten seconds in a pipe or file; on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from crystalgraph.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

SECONDS_A_LINE = 10.0
"""Time between two lines where nothing can be redrawn; the end of a stage that had one has a line at once."""


@contextmanager
def stage_bars(*, show: bool) -> Iterator[Progress | None]:
    """Show the stages of a long work, and what the package has to say meanwhile.

    Nothing appears before the first call or the first ten seconds, so that a request that is refused ends in one line.

    Args:
        show: whether anything is shown.

    Yields:
        What is to be called as the work goes on; None if nothing is shown.
    """
    if not show:
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    handler, logger = _Lines(console), logging.getLogger("crystalgraph")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with _bars(console) if console.is_terminal else _lines(console) as update:
            yield update
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """A bar for each stage."""
    from rich import progress

    bar, tasks = (
        progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("ETA"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[state]}"),
            console=console,
        ),
        dict[str, "TaskID"](),
    )

    def update(stage: str, done: int, total: int, state: str = "") -> None:
        if stage not in tasks:
            bar.start()
            tasks[stage] = bar.add_task(stage, total=total or None, state=state)
        bar.update(tasks[stage], completed=done, total=total or None, state=state)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


@contextmanager
def _lines(console: Console) -> Iterator[Progress]:
    """Every ten seconds a line that says where the work is; whatever takes no longer says nothing."""
    begun = monotonic()
    latest = ("", "getting ready")
    printed: set[str] = set()
    over = Event()

    def update(stage: str, done: int, total: int, state: str = "") -> None:
        nonlocal latest
        said = f": {state}" if state else ""
        line = f"{stage} {done:,}{f' of {total:,}' if total else ''}{said}"
        latest = (stage, line if done < total or not total else f"{stage}: done, going on")
        if done >= total > 0 and stage in printed:
            printed.discard(stage)
            console.print(f"{_clock(monotonic() - begun)} {line}", markup=False, highlight=False)

    def speak() -> None:
        while not over.wait(SECONDS_A_LINE):
            stage, line = latest
            printed.add(stage)
            console.print(f"{_clock(monotonic() - begun)} {line}", markup=False, highlight=False)

    speaker = Thread(target=speak, name="progress", daemon=True)
    speaker.start()
    try:
        yield update
    finally:
        over.set()
        speaker.join()


def _clock(seconds: float) -> str:
    """Minutes and seconds since the beginning, with hours where there are any."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class _Lines(logging.Handler):
    """Prints what is logged, above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self._console.print(record.getMessage(), markup=False, highlight=False)
