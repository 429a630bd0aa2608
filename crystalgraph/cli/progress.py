"""The progress bar of all commands: what, how far, how long, how it stands; on stderr, and readable in a log file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crystalgraph.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LOG_WIDTH = 160
"""Columns where nobody looks on: a log file has no edge to stop at."""


def progress_bar() -> Bars:
    """A bar that has not been started; tasks have a description and the field ``state``, a text shown at the end."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=LOG_WIDTH)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("ETA"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[state]}"),
        console=console,
    )


@contextmanager
def stage_bars(*, show: bool) -> Iterator[Progress | None]:
    """A bar for each stage of a long work, as the listener that moves them; None if not shown.

    Nothing appears before the first call, so that a request that is refused ends in one line.
    """
    if not show:
        yield None
        return
    bar, tasks = progress_bar(), dict[str, "TaskID"]()

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
