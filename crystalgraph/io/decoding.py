"""The text of a file, whatever wrote it: compressed with gzip or not, in UTF-8 or UTF-16, with any line ends."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from crystalgraph.io.bounds import MAX_BYTES, too_many_bytes

_GZIP = b"\x1f\x8b"

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

#: What DOS and tapes fill the end of a file with.
_FILLERS = str.maketrans({"\0": " ", "\x1a": " "})


def read_text(file: Path) -> str:
    """The text of a file, lines ended by a line feed.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is too large, or its compression is broken.
    """
    return decoded(_unpacked(file))


def decoded(content: bytes) -> str:
    """The text that bytes stand for; bytes that stand for nothing are replaced."""
    encoding, start = _encoding(content)
    text = content[start:].decode(encoding, errors="replace").translate(_FILLERS)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def require_readable_size(file: Path) -> None:
    """Make sure that a file is not too large to be read whole.

    Raises:
        ValueError: if it is.
    """
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(too_many_bytes())


def _unpacked(file: Path) -> bytes:
    require_readable_size(file)
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if content.startswith(_GZIP):
        try:
            with gzip.open(file) as stream:
                content = stream.read(MAX_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"its gzip compression is broken: {error}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(too_many_bytes())
    return content


def _encoding(content: bytes) -> tuple[str, int]:
    """The encoding, and how many bytes at the start only mark it."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding, len(mark)
    head = content[:400]
    # Text in Latin letters has every other byte zero in UTF-16.
    if len(head) >= 4 and head[::2].count(0) > 0.8 * len(head[::2]) and head[1::2].count(0) < 0.2 * len(head[1::2]):
        return "utf-16-be", 0
    if len(head) >= 4 and head[1::2].count(0) > 0.8 * len(head[1::2]) and head[::2].count(0) < 0.2 * len(head[::2]):
        return "utf-16-le", 0
    return "utf-8", 0
