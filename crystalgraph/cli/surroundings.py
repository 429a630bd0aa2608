"""What a command finds around it and must not depend on: streams, encodings, warnings, and what would show plots."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO

_PLOTS, _WARNINGS = "MPLBACKEND", "PYTHONWARNINGS"
_UNHEARD = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # as Python has it


class ForgivingStream:
    """A text stream that nobody has to read to its end.

    Args:
        stream: where the text goes.
        forgiven: what may happen to it; whatever follows is lost in silence.
    """

    def __init__(self, stream: TextIO, forgiven: type[OSError]) -> None:
        self._stream, self._forgiven = stream, forgiven

    def write(self, text: str) -> int:
        """Write, if that can be done."""
        try:
            self._stream.write(text)
        except self._forgiven:
            drop(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        try:
            self._stream.flush()
        except self._forgiven:
            drop(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def settled() -> Iterator[None]:
    """Let a command run the same way everywhere; what was there before comes back at the end.

    Closed streams are opened to nowhere, letters that an encoding lacks become question marks, what stderr does not
    take gets lost, warnings are no errors, and plots are drawn without a screen or a notebook.
    """
    _open_closed_descriptors()
    streams = sys.stdout, sys.stderr
    options = sys.warnoptions[:]
    environment = {name: os.environ.get(name) for name in (_PLOTS, _WARNINGS)}
    handlers = {ending: signal.getsignal(ending) for ending in (signal.SIGTERM, signal.SIGHUP)}
    output = ForgivingStream(_lenient(sys.stdout, 1), BrokenPipeError)  # the reader (head, less) has seen enough
    sys.stdout, sys.stderr = output, ForgivingStream(_lenient(sys.stderr, 2), OSError)  # type: ignore[assignment]
    os.environ[_PLOTS] = "agg"
    os.environ.pop(_WARNINGS, None)
    try:
        with warnings.catch_warnings():
            if any(option.startswith("error") for option in options):
                sys.warnoptions.clear()  # processes that this one starts are given them
                warnings.resetwarnings()
                for category in _UNHEARD:
                    warnings.simplefilter("ignore", category)
            yield
    finally:
        sys.stdout, sys.stderr = streams
        sys.warnoptions[:] = options
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for ending, handler in handlers.items():
            signal.signal(ending, handler)


def _open_closed_descriptors() -> None:
    """Open stdin, stdout and stderr to nowhere where they are closed, lest a file gets their number and their text."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def drop(stream: TextIO) -> None:
    """Send to nowhere what a stream has not written yet, lest it is tried again at exit and ends in a traceback."""
    with suppress(OSError):  # of streams that are no files
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _lenient(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        return open(descriptor, "w", encoding="utf-8", closefd=False)
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream
