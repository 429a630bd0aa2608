"""The one dialect of CSV that every command writes."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from math import isfinite
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\n]")  # what a spreadsheet runs, and such a text after it was escaped


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Render rows as CSV.

    Args:
        rows: one mapping per line.
        columns: header, and the keys taken from each row.

    Returns:
        CSV with Unix line ends. Numbers have six digits, so that they do not show the last bit of a sum; None, NaN
        and infinities are empty. A text that a spreadsheet would run as a formula has an apostrophe before it, see
        `unescaped`.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def unescaped(cell: str) -> str:
    """The text of a cell that `csv_text` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")  # which would end the line, for it is not quoted
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
