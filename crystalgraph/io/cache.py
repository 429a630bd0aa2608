"""Where what is computed once is kept, so that several runs and processes share it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from crystalgraph.errors import InputError

CACHE_VARIABLE = "CRYSTALGRAPH_CACHE"
"""Environment variable that names the cache folder; without it, ``~/.cache/crystalgraph``."""


def cache_folder(part: str, root: Path | None = None) -> Path:
    """A folder for what is computed once, made if it does not exist.

    Args:
        part: name of the folder.
        root: where it lies; None means ``$CRYSTALGRAPH_CACHE``, or else ``~/.cache/crystalgraph``.

    Raises:
        InputError: if it cannot be made or written to.
    """
    named = os.environ.get(CACHE_VARIABLE)
    try:
        folder = (root or (Path(named).expanduser() if named else Path.home() / ".cache" / "crystalgraph")) / part
    except RuntimeError as error:  # nobody's home is known
        raise InputError(f"no cache folder: {error} Name one with {CACHE_VARIABLE}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # hours of work are to be kept there
            pass
    except OSError as error:
        raise InputError(
            f"the cache folder {folder} cannot be written to ({error.strerror}); name another one with {CACHE_VARIABLE}"
        ) from error
    return folder
