"""JSON files that are believed only if every byte is as it was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from crystalgraph.io.atomic import write_bytes

_BEFORE, _AFTER = b'{"sha256": "', b'", "content": '
_DIGITS = 64


def write_sealed(path: Path, content: Any) -> None:
    """Write content with its checksum atomically, as JSON with the two keys ``sha256`` and ``content``.

    Args:
        path: the file.
        content: what `json.dumps` takes.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    body = _AFTER + json.dumps(content, allow_nan=False).encode() + b"}\n"
    write_bytes(path, _BEFORE + hashlib.sha256(body).hexdigest().encode() + body)


def read_sealed(path: Path) -> Any:
    """Read what `write_sealed` wrote.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a byte of it is not as it was written.
    """
    data = path.read_bytes()
    start = len(_BEFORE) + _DIGITS
    digest, body = data[len(_BEFORE) : start], data[start:]
    if not data.startswith(_BEFORE) or hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its checksum does not fit its content")
    return json.loads(body[len(_AFTER) : -len(b"}\n")])
