"""How long work says how far it is: one kind of callback, whatever the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called again and again while work goes on."""

    def __call__(self, stage: str, done: int, total: int, state: str = "", /) -> None:
        """Say how far a stage is.

        Args:
            stage: what is being done, such as "relaxation".
            done: how many are done.
            total: of how many; 0 where nobody knows.
            state: what else there is to say, in a few words.
        """


def at_stage(progress: Progress | None, stage: str) -> Callable[[int, int], None]:
    """Report under one name: a function of (done, total), which does nothing where nobody listens."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done, total)

    return report


def relabelled(progress: Progress | None, stage: str) -> Progress | None:
    """The same listener, who hears another name, whatever the work calls itself; None where nobody listens."""
    if progress is None:
        return None

    def report(_stage: str, done: int, total: int, state: str = "") -> None:
        progress(stage, done, total, state)

    return report


def continued(progress: Progress | None, earlier: int, total: int) -> Progress | None:
    """The same listener, who hears of work that began before; None where nobody listens.

    Args:
        progress: the listener.
        earlier: how many were done before.
        total: of how many in all.
    """
    if progress is None:
        return None

    def report(stage: str, done: int, _total: int, state: str = "") -> None:
        progress(stage, earlier + done, total, state)

    return report
