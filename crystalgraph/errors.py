"""Every failure the package raises on purpose.

A message says what was received, what is allowed and the next step, in one line.
"""


class CrystalgraphError(Exception):
    """Base of all errors raised on purpose."""


class RunError(CrystalgraphError):
    """What was asked for cannot be done here and now; the commands print it in one line and exit with code 1."""


class InputError(CrystalgraphError):
    """What the user asked for cannot be done; the commands print it in one line and exit with code 2."""
