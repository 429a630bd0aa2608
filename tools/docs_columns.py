"""Write docs/columns.md from the contract of all columns: python -m tools.docs_columns"""

from __future__ import annotations

from pathlib import Path

from crystalgraph.io.columns import COLUMNS, FORMER_NAMES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "columns.md"

HEAD = """# Columns

*Every column of `candidates.csv` (a row for each sample that `cg-generate` drew) and `structures.csv` (a row for each
input of `cg-evaluate`); one word means one thing in both. Written by `python -m tools.docs_columns` from
`crystalgraph/io/columns.py`.*

Empty means: not known, not looked for, or not applicable. Energies are those of the potential that the record names.
"""

FORMER = """
## Up to version 0.1

Folders of then are still read. Their columns were called:
"""


def page() -> str:
    """The text of docs/columns.md."""
    columns = [("column", "unit", "meaning"), ("---", "---", "---")]
    columns += [(f"`{name}`", column.unit, column.meaning) for name, column in COLUMNS.items()]
    former = [("then", "now"), ("---", "---")]
    former += [(f"`{then}`", f"`{now}`") for then, now in FORMER_NAMES.items()]
    return "\n".join((HEAD, *map(_row, columns), FORMER, *map(_row, former), ""))


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
