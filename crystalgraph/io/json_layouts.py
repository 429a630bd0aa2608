"""JSON files: the crystals in whatever layout pymatgen, monty, pandas, matminer, JARVIS or OPTIMADE wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pymatgen.core import Structure

from crystalgraph.io.documents import is_jarvis, is_structure, loads, structure_from_document
from crystalgraph.io.tables import row_id, structure_of_row

#: Keys one of which an entry has beside what else is known of its crystal.
_STRUCTURE_KEYS = ("structure", "atoms", "cif", "attributes", "lattice_vectors")


def json_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each crystal of a JSON file: its name, and what parses it.

    Raises:
        ValueError: if it is no JSON, or nothing in it is a crystal, naming the layout.
    """
    try:
        content = loads(text)
    except ValueError as error:
        # Several documents one after the other are one a line; a broken line does not take the others with it.
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not any(_is_object(line) for line in lines[:2]):
            raise ValueError(f"it is not JSON: {error}") from None
        for number, line in enumerate(lines):
            yield str(number), partial(_structure_of_line, line)
        return
    for name, document in _named(content):
        yield name, partial(_structure_of, document)


def _is_object(line: str) -> bool:
    try:
        return isinstance(loads(line), dict)
    except ValueError:
        return False


def _structure_of_line(line: str) -> Structure:
    return _structure_of(loads(line))


def _structure_of(document: Any) -> Structure:
    if _is_entry(document) and not (is_structure(document) or is_jarvis(document)):
        return structure_of_row(document)
    return structure_from_document(document)


def _named(content: Any) -> list[tuple[str, Any]]:
    """The documents of a file with their names."""
    if isinstance(content, list):
        if content and all(isinstance(row, list) for row in content):
            raise ValueError("it is a list of lists (pandas, orient='values'), which names no columns; use 'records'")
        if content and not any(isinstance(row, Mapping | str) for row in content):
            raise ValueError(f"it is a list of {len(content):,} values, none of which is a structure")
        return [(row_id(document) or str(number), document) for number, document in enumerate(content)]
    if not isinstance(content, Mapping):
        return [("0", content)]
    if is_structure(content) or is_jarvis(content):
        return [("0", content)]
    if (rows := _rows(content)) is not None:
        return _named(rows)
    if any(key in content for key in _STRUCTURE_KEYS):
        return [("0", content)]
    if "ids" in content and "nextid" in content:
        raise ValueError("it is a database of ASE in JSON; save it as .db or .extxyz")
    entries = [value for value in content.values() if _is_entry(value)]
    if not entries and "@class" in content:
        structure_from_document(content)  # which says what it is
    if not entries and content:
        raise ValueError(_layout(content))
    return list(content.items())


def _is_entry(document: Any) -> bool:
    """Whether this is a structure or something that has one."""
    return (
        is_structure(document)
        or is_jarvis(document)
        or (isinstance(document, Mapping) and any(key in document for key in _STRUCTURE_KEYS))
    )


def _rows(content: Mapping[str, Any]) -> Any:
    """The rows of a table of pandas or of an answer of an OPTIMADE server; None where this is neither."""
    data = content.get("data")
    if content.get("@class") == "DataFrame":
        return loads(data) if isinstance(data, str) else data
    if isinstance(data, list) and isinstance(content.get("columns"), list):
        return _split(content["columns"], content.get("index"), data)
    if "data" in content and not _is_entry(content) and (_is_optimade(data) or "schema" in content):
        return data if isinstance(data, list) else [data]
    for key in ("structure", "atoms", "cif"):  # a column of all crystals, beside others
        column = content.get(key)
        if not isinstance(column, Mapping) or is_structure(column) or is_jarvis(column):
            continue
        if any(is_structure(v) or is_jarvis(v) or isinstance(v, str) for v in column.values()):
            columns = {name: values for name, values in content.items() if isinstance(values, Mapping)}
            return [{name: values.get(row) for name, values in columns.items()} for row in column]
    return None


def _is_optimade(data: Any) -> bool:
    first = data[0] if isinstance(data, list) and data else data
    return isinstance(first, Mapping) and "attributes" in first


def _split(columns: Sequence[Any], index: Any, data: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of a table whose columns are named once (pandas, orient='split'; matminer)."""
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        raise ValueError(f"its {len(columns)} columns do not fit its rows")
    rows = [dict(zip(map(str, columns), row, strict=True)) for row in data]
    if isinstance(index, list) and len(index) == len(rows) and not any(row_id(row) for row in rows):
        rows = [
            row if isinstance(one, int) else {"material_id": one} | row for row, one in zip(rows, index, strict=True)
        ]
    return rows


def _layout(content: Mapping[str, Any]) -> str:
    """What a file without crystals at its top holds instead."""
    if path := _path_to_structure(content):
        return f"its structures lie deeper, under {path}; write that part into a file of its own"
    keys = ", ".join(repr(str(key)[:30]) for key in list(content)[:4])
    return f"no structure is in it; its keys are {keys}{', …' if len(content) > 4 else ''}"


def _path_to_structure(content: Any, depth: int = 4) -> str:
    """Where in a document the first structure is, a/b; empty where none is."""
    if depth == 0:
        return ""
    items = content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    for key, value in [*items][:100]:
        if _is_entry(value):
            return "" if isinstance(key, int) else str(key)[:30]
        deeper = _path_to_structure(value, depth - 1)
        if deeper or (isinstance(value, list) and any(_is_entry(one) for one in value[:100])):
            return f"{key}/{deeper}".rstrip("/")
    return ""
