"""How far a command is: a bar for each stage on a terminal, a line now and then in a log file; on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from crystalgraph.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

SECONDS_A_LINE = 10.0
"""Least time between two lines of one stage, where nothing can be redrawn; its end has a line at once."""


@contextmanager
def stage_bars(*, show: bool) -> Iterator[Progress | None]:
    """Show the stages of a long work, and what the package has to say meanwhile.

    Nothing appears before the first call, so that a request that is refused ends in one line.

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
        if console.is_terminal:
            with _bars(console) as update:
                yield update
        else:
            yield _lines(console)
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
            tasks[stage] = bar.add_task(stage, total=total, state=state)
        bar.update(tasks[stage], completed=done, total=total, state=state)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


def _lines(console: Console) -> Progress:
    """A line for a stage when it begins and ends, and now and then between."""
    last: dict[str, float] = {}

    def update(stage: str, done: int, total: int, state: str = "") -> None:
        now = monotonic()
        if done < total and now - last.get(stage, -SECONDS_A_LINE) < SECONDS_A_LINE:
            return
        last[stage] = now
        said = f": {state}" if state else ""
        console.print(f"{stage} {done:,} of {total:,}{said}", markup=False, highlight=False)

    return update


class _Lines(logging.Handler):
    """Prints what is logged, above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self._console.print(record.getMessage(), markup=False, highlight=False)
