"""How a command ends: a user's mistake is one line on stderr and exit code 2, a bug is a traceback."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from crystalgraph.errors import InputError

USAGE_ERROR: type[BaseException] = typer.BadParameter.__mro__[1]
"""Wrong options and arguments; typer raises it but does not export it."""

USER_MISTAKE, INTERRUPTED = 2, 130


def run(app: typer.Typer) -> NoReturn:
    """Run a typer app as the whole program.

    Args:
        app: the app; its arguments are taken from ``sys.argv``.

    Raises:
        SystemExit: always. Code 0 when the command succeeded, 2 after a user's mistake
            (`crystalgraph.errors.InputError` or a wrong option), 130 when interrupted,
            else the code the command chose with ``typer.Exit``.
    """
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        stop(str(error))
    except USAGE_ERROR as error:
        stop(f"{error.format_message()} (--help shows what is allowed)")  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; without this the last flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def stop(message: str) -> NoReturn:
    """Print one line on stderr and end the program with code 2.

    Args:
        message: what went wrong; line breaks become spaces.

    Raises:
        SystemExit: always.
    """
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(USER_MISTAKE)
