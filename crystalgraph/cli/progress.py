"""The progress bar of all commands: what, how far, how long, how it stands; on stderr, and readable in a log file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_WIDTH = 160
"""Columns where nobody looks on: a log file has no edge to stop at."""


def progress_bar() -> Progress:
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
