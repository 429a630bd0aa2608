"""How a command ends: a mistake or a fault of the machine is one line on stderr, a bug is a traceback."""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from crystalgraph.cli.surroundings import drop, settled
from crystalgraph.errors import CrystalgraphError, InputError

USAGE_ERROR: type[BaseException] = typer.BadParameter.__mro__[1]
"""Wrong options and arguments; typer raises it but does not export it."""

FAILED, USER_MISTAKE, INTERRUPTED = 1, 2, 130

FAULTS_OF_THE_MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENAMETOOLONG", "ESTALE", "EMLINK"),
        *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN"),
    )
)
"""Errors of files and processes that no program can do anything about."""


def run(app: typer.Typer, *, go_on: str) -> NoReturn:
    """Run a typer app as the whole program.

    Args:
        app: the app; its arguments are taken from ``sys.argv``.
        go_on: what is kept of a run that is broken off, and how to go on with it.

    Raises:
        SystemExit: always. Code 0 when the command succeeded, 1 after a fault of the machine, 2 after a user's mistake
            (`crystalgraph.errors.InputError` or a wrong option), 130 when interrupted, else the code the command chose
            with ``typer.Exit``.
    """
    with settled():
        try:
            for ending in (signal.SIGTERM, signal.SIGHUP):  # as a job scheduler sends them: ended as by Ctrl-C
                signal.signal(ending, _interrupt)
            code = app(standalone_mode=False)
            sys.stdout.flush()
        except InputError as error:
            stop(str(error))
        except CrystalgraphError as error:
            stop(f"{error}; {go_on}", FAILED)
        except USAGE_ERROR as error:
            stop(f"{error.format_message()} (--help shows what is allowed)")  # type: ignore[attr-defined]
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except MemoryError:
            stop(f"there is not enough memory; {go_on}", FAILED)
        except OSError as error:
            if error.errno not in FAULTS_OF_THE_MACHINE:
                raise
            drop(sys.stdout)
            place = f": {error.filename}" if error.filename else ""
            stop(f"{error.strerror}{place}; {go_on}", FAILED)
        if code == INTERRUPTED:  # typer makes it of Ctrl-C
            stop(f"interrupted; {go_on}", INTERRUPTED, "")
        sys.exit(code if isinstance(code, int) else 0)


def stop(message: str, code: int = USER_MISTAKE, kind: str = "error: ") -> NoReturn:
    """Print one line on stderr and end the program.

    Args:
        message: what went wrong; line breaks become spaces, and what would steer a terminal question marks.
        code: exit code.
        kind: what the line begins with.

    Raises:
        SystemExit: always.
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(message.split()))
    print(f"{kind}{line}", file=sys.stderr)
    sys.exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
