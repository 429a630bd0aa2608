"""How large a file may be before it is refused, so that no file takes the machine with it."""

from __future__ import annotations

MAX_SITES = 10_000
"""Most atoms of one cell; the distances between all of them take seconds."""

MAX_BYTES = 2**27
"""Most bytes of one file, unpacked: 128 MiB."""

MAX_COLUMNS = 10_000
"""Most columns of a CSV file; the time to tell their names apart grows with their square."""


def too_many_sites(n_sites: int) -> str:
    """The reason why a cell of this size is not read."""
    return f"its cell has too many sites ({n_sites:,}; up to {MAX_SITES:,} are read)"


def too_many_bytes() -> str:
    """The reason why a file is not read."""
    return f"it is larger than {MAX_BYTES // 2**20} MiB; cut it into several"
