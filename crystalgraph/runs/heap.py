"""Memory that tensors give back stays with the process: to ask for it anew takes a fifth of the time of a draw.

A network makes thousands of tensors of some ten MB, and glibc returns each to the kernel, which fills it with zeros
before it gives it out again, page by page.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h

LARGEST_KEPT, MOST_KEPT = 64 * 2**20, 2**30
"""Bytes of an allocation that is kept, and of all of them that are free at the end of the heap."""


def keep_freed_memory() -> None:
    """Let malloc keep what is freed for what comes next; without glibc nothing is changed."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # macOS and musl have none, Windows no such library
        return
    mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(_TRIM_THRESHOLD, MOST_KEPT)
