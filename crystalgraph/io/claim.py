"""One run at a time writes to a folder: the second is refused before it does any work."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crystalgraph.errors import InputError
from crystalgraph.io.atomic import PARTIAL, PARTIAL_FILE, check_name, hidden_stem

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def claimed(out: Path | None) -> Iterator[None]:
    """Nobody else writes to a folder, or makes it, until the block ends.

    The lock lies beside the folder and is held by the process: it ends with it, however that ends. What a run that was
    killed left half-written under the folder's name is removed. Where the file system has no locks there is none.

    Args:
        out: the folder, which need not exist; None claims nothing.

    Raises:
        InputError: if another run has claimed it, its name is too long, or its parent cannot be written to.
    """
    if out is None:
        yield
        return
    check_name(out)
    out = out.resolve()
    lock = out.with_name(f"{hidden_stem(out.name)}.lock")
    new = [parent for parent in out.parents if not os.path.lexists(parent)]
    descriptor = _lock(lock, out)
    try:
        _remove_leftovers(out)
        yield
    finally:
        with suppress(OSError):  # a disk that was taken away hides no other fault
            lock.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # what is in use stays
            for parent in new:
                parent.rmdir()


def _lock(lock: Path, out: Path) -> int:
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(
                f"cannot make {out}: {lock.parent} is not a folder one can write to ({error.strerror}); name another "
                "with --out"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            raise InputError(f"another run is writing to {out}; wait for its end, or name another with --out") from None
        try:
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # the run before has just removed the file that was opened


def _remove_leftovers(out: Path) -> None:
    """Remove what runs that were killed had begun to write."""
    folder = re.compile(re.escape(f"{hidden_stem(out.name)}.") + r"[a-z0-9_]{8}" + re.escape(PARTIAL))
    for path in out.parent.glob(f".*{PARTIAL}"):
        if folder.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    file = re.compile(r"\..+\.\d+" + re.escape(PARTIAL_FILE))
    for own in (out, out.with_name(out.name + PARTIAL)):
        for path in own.rglob(f".*{PARTIAL_FILE}") if own.is_dir() else ():
            if file.fullmatch(path.name):
                path.unlink(missing_ok=True)
