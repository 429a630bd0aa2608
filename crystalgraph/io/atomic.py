"""Files and folders appear whole or not at all: written beside their place under another name, then moved onto it.

What is written has reached the disk before it gets its name, so that neither a kill nor a power cut leaves a part.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crystalgraph.errors import InputError

PARTIAL, PARTIAL_FILE = ".partial", ".part"
"""Endings of what is not whole yet."""

_LONGEST_NAME = 240  # bytes; a run keeps things beside its folder under names that are longer by an ending
_LONGEST_STEM = 200  # bytes; file systems take names of 255, and a number and an ending are added


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
    partial = target.with_name(f"{hidden_stem(target.name)}.{os.getpid()}{PARTIAL_FILE}")
    try:
        partial.write_bytes(data)
        _sync(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def hidden_stem(name: str) -> str:
    """What the name of a passing file or folder begins with: a dot, and whose place it is to take."""
    short = len(os.fsencode(name)) <= _LONGEST_STEM
    return f".{name}" if short else f".{hashlib.sha256(os.fsencode(name)).hexdigest()}"


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # of file systems that cannot be asked
            raise
    finally:
        os.close(descriptor)


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
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{hidden_stem(out.name)}.", suffix=PARTIAL))
    try:
        folder = partial / out.name  # made by mkdir, so that its permissions follow the umask
        folder.mkdir()
        yield folder
        for path in (*folder.rglob("*"), folder):
            _sync(path)
        try:
            folder.rename(out)
        except OSError:
            raise InputError(f"output {out} came to exist meanwhile; name another with --out") from None
        _sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path) -> None:
    """Make sure that a run folder can be made, before any work is done.

    Args:
        out: the folder.

    Raises:
        InputError: if something of that name exists, or its parent cannot be a folder.
    """
    if os.path.lexists(out):
        raise InputError(f"output {out} already exists; name another folder with --out, or remove it")
    check_name(out)
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    try:  # permissions do not tell everything
        Path(tempfile.mkdtemp(dir=parent, prefix=f"{hidden_stem(out.name)}.")).rmdir()
    except OSError:
        raise InputError(
            f"cannot make {out}: {parent} is not a folder one can write to; name another with --out"
        ) from None


def check_name(out: Path) -> None:
    """Make sure that a folder can have its name, with room for an ending.

    Raises:
        InputError: if it is too long.
    """
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in out.parts):
        raise InputError(f"output {out} has too long a name; name another with --out, of at most {_LONGEST_NAME} bytes")


def free_name(out: Path) -> Path:
    """The folder, or with the first number that makes it new: a default must not be in the user's way."""
    number, free = 1, out
    while os.path.lexists(free):
        number += 1
        free = out.with_name(f"{out.name}-{number}")
    return free
