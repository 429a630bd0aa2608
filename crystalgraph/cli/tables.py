"""Tables and lines on stdout, for people."""

from __future__ import annotations

from collections.abc import Sequence


def print_lines(*lines: str) -> None:
    """Print lines as they are."""
    from rich.console import Console

    for line in lines:
        Console(soft_wrap=True).print(line, markup=False, highlight=False)


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; what is counted stands on the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in header:
        table.add_column(title, justify="right" if title in ("crystals", "how many") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
