"""Measured powder patterns from text files: 2θ and counts, a pair a line."""

from __future__ import annotations

import math
import re
from pathlib import Path

from crystalgraph.errors import InputError

FEWEST_POINTS = 20
"""That a measured pattern has."""

MAX_BYTES = 20_000_000
"""A file with more is no list of counts."""

_DECIMAL_COMMA = re.compile(r"^\s*[-+]?\d+,\d+[\s;]")


def read_powder_pattern(path: str | Path) -> tuple[list[float], list[float]]:
    """A pattern from a file of two columns, 2θ and counts; what stands behind is left, and lines without two numbers.

    Args:
        path: text, separated by blanks, commas or semicolons; decimal commas are read.

    Returns:
        Angles (2θ, degrees), rising, and counts.

    Raises:
        InputError: if the file cannot be read, or is no pattern.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is no pattern: it has more than {MAX_BYTES // 1_000_000} MB")
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"pattern {path} cannot be read ({error.strerror}); give a file of 2θ and counts") from error
    points = sorted(filter(None, map(_point, re.split(r"\r\n?|\n", text))), key=lambda point: point[0])
    if len(points) < FEWEST_POINTS:
        raise InputError(
            f"{path} is no pattern: {len(points)} lines with two numbers, and {FEWEST_POINTS} are the fewest; give 2θ "
            "in degrees and counts, a pair a line"
        )
    first, last = points[0][0], points[-1][0]
    if first < 0 or last > 180 or last - first < 5:
        raise InputError(
            f"{path} is no pattern: its first column goes from {first:g} to {last:g}; 2θ in degrees lies between 0 and "
            "180, and spans 5 at least"
        )
    if not any(counts > 0 for _, counts in points):
        raise InputError(f"{path} is no pattern: no count is above zero; give 2θ in degrees and counts")
    return [angle for angle, _ in points], [counts for _, counts in points]


def _point(line: str) -> tuple[float, float] | None:
    has_commas = _DECIMAL_COMMA.match(line) and "." not in line  # for points
    fields = re.split(r"[\s,;]+", (re.sub(r"(\d),(\d)", r"\1.\2", line) if has_commas else line).strip())
    try:
        angle, counts = float(fields[0]), float(fields[1])
    except (ValueError, IndexError):
        return None
    return (angle, counts) if math.isfinite(angle) and math.isfinite(counts) else None
