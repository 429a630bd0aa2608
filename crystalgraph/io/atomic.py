"""Files and folders appear whole or not at all: written beside their place under another name, then moved onto it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crystalgraph.errors import InputError


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; missing parent folders are made, an existing file is replaced.

    A reader, or a run that was killed, sees the old content or the new one, never a part.

    Args:
        path: the file.
        data: its content.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a move is atomic only within one file system.
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, in UTF-8 and with the line ends it has; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write indented JSON atomically; see `write_bytes`.

    Args:
        path: the file.
        content: what `json.dumps` takes; the order of keys is kept.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill; it appears under its name when the block ends, and not at all when the block fails.

    Args:
        out: its name; missing parents are made.

    Raises:
        InputError: if something of that name came to exist in the meantime.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
    try:
        folder = partial / out.name  # made by mkdir, so that its permissions follow the umask
        folder.mkdir()
        yield folder
        try:
            folder.rename(out)
        except OSError:
            raise InputError(f"output {out} came to exist meanwhile; name another with --out") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path) -> None:
    """Make sure that a run folder can be made, before any work is done.

    Args:
        out: the folder.

    Raises:
        InputError: if something of that name exists, or its parent cannot be a folder.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"output {out} already exists; name another folder with --out, or remove it")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    try:  # permissions do not tell everything
        Path(tempfile.mkdtemp(dir=parent, prefix=f".{out.name}.")).rmdir()
    except OSError:
        raise InputError(
            f"cannot make {out}: {parent} is not a folder one can write to; name another with --out"
        ) from None


def free_name(out: Path) -> Path:
    """The folder, or with the first number that makes it new: a default must not be in the user's way."""
    number, free = 1, out
    while free.exists() or free.is_symlink():
        number += 1
        free = out.with_name(f"{out.name}-{number}")
    return free
