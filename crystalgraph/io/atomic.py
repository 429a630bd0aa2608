"""Files appear whole or not at all: written beside their place under another name, then moved onto it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
