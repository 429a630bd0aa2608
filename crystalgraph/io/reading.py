"""Read crystals from the files chemists keep them in.

A file, or a block or frame of one, that does not give a crystal is kept with its reason; the others are read.
"""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.crystals.table import CrystalTable, Source, plain
from crystalgraph.io.bounds import MAX_BYTES
from crystalgraph.io.columns import FORMER_NAMES
from crystalgraph.io.csv_table import unescaped
from crystalgraph.io.folders import Reader, files_at, own_stem, printable
from crystalgraph.io.run_layout import CANDIDATES, RUN_RECORD
from crystalgraph.io.tables import ID_COLUMNS, TABLE_ERRORS
from crystalgraph.progress import Progress, at_stage

#: What the parsers of pymatgen and ASE raise on files that are not what they seem.
_PARSE_ERRORS = (*TABLE_ERRORS, AssertionError, AttributeError, LookupError, MemoryError, SyntaxError, TypeError)

_LONGEST_TEXT = 300  # characters of a reason or of a name within a file

#: Formats in which ``name`` is what the crystal is called, and not its mineral's name.
_NAMED = (".db", ".extxyz", ".xyz")


def read_structures(path: str | os.PathLike[str], *, progress: Progress | None = None) -> CrystalTable:
    """Read a CIF (one or many blocks), an extxyz (one or many frames), a POSCAR, JSON, a table, or a folder.

    In a folder the files ``*.cif``, ``*.mcif``, ``*.extxyz``, ``*.xyz``, ``*.vasp``, ``*.poscar``, ``*.contcar``,
    ``POSCAR*``, ``CONTCAR*`` and ``SPOSCAR*`` are read in the order of their names. ``*.json`` and ``*.jsonl`` are read
    where there are no others, and ``*.csv``, ``*.db`` and ``*.parquet`` where there are none of these either. Texts may
    be compressed (``*.gz``). Whatever else is there, subfolders too, is named among the gaps of the source. Of a run
    folder, which keeps the same crystals in several formats, only one is read: extxyz, else CIF, else POSCAR.

    JSON holds structures as pymatgen writes them (``Structure.as_dict``): one, a list, a table by name, or one a line;
    a structure may also be the ``structure`` of an entry, in the layouts of pandas, matminer, JARVIS and OPTIMADE.
    Tables are CSV, ASE databases and Parquet, see `crystalgraph.io.tables`. Files above 128 MiB and cells above 10,000
    sites are refused.

    Args:
        path: file or folder.
        progress: called as the work goes on, with the files of a folder or the crystals of a single file.

    Returns:
        The crystals, and the reason for everything that could not be read. An id is the name of the file without
        ending, then ``#`` and the block or frame where the file holds several. Columns are what the files say besides
        the crystals, such as an energy.

    Raises:
        InputError: if the path does not exist, its kind is not known, or the folder holds no file of a known kind.
    """
    readers, passed_over = files_at(Path(path))
    report = at_stage(progress, "read")
    stems = Counter(own_stem(file) for file in readers)
    structures: dict[str, Structure] = {}
    failures: dict[str, str] = {}
    taken: dict[str, int] = {}
    for position, (file, reader) in enumerate(readers.items()):
        label = own_stem(file) if stems[own_stem(file)] == 1 else printable(file.name)
        for part, result in _read_file(file, reader, report if len(readers) == 1 else None):
            name = _free_name(f"{label}#{_in_one_line(part)}" if part else label, taken)
            if isinstance(result, str):
                failures[name] = result
            else:
                structures[name] = result
        if len(readers) > 1:
            report(position + 1, len(readers))
    properties = [dict(structure.properties) for structure in structures.values()]
    candidates = _candidates(Path(path))
    for name, own in zip(structures, properties, strict=True):
        # What a file says about a crystal itself holds for its state, relaxed or not.
        own |= {k: v for k, v in candidates.get(str(own.get("name", name)), {}).items() if k not in own}
    files = tuple(readers)
    return CrystalTable.of_structures(
        structures,
        properties=properties,
        failures=failures,
        order=list(taken),
        source=Source(
            name=printable(path), sha256=_checksum(files), files=files, gaps=_not_read(len(files), passed_over)
        ),
    )


def _not_read(n_files: int, passed_over: Mapping[str, str]) -> tuple[str, ...]:
    """What a folder holds besides the files that were read, in one sentence."""
    if not passed_over:
        return ()
    shown = ", ".join(f"{name} ({why})" for name, why in list(passed_over.items())[:10])
    more = f", and {len(passed_over) - 10} more" if len(passed_over) > 10 else ""
    return (f"Beside the {n_files} files that were read, the folder holds {shown}{more}.",)


def own_ids(table: CrystalTable) -> list[str]:
    """What a file calls its crystals, where they come from a single file that names them; else the ids of the table."""
    if len(table.source.files) != 1:
        return table.ids
    (file,) = table.source.files
    keys = (*ID_COLUMNS, "name") if file.suffix.lower() in _NAMED else ID_COLUMNS
    stated = [table.columns[key] for key in keys if key in table.columns]
    own: dict[str, int] = {}
    for position, name in enumerate(table.ids):
        values = (plain(column[position]) for column in stated)
        own_id = next((str(value) for value in values if value is not None), "")
        _free_name(_in_one_line(own_id) or name.removeprefix(f"{own_stem(file)}#"), own)
    return list(own)


def _checksum(files: Sequence[Path]) -> str:
    """SHA-256 of files, names and content, wherever their folder lies."""
    digest = hashlib.sha256()
    for file in files:
        try:
            content = "too large" if file.stat().st_size > MAX_BYTES else hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            content = "unreadable"
        digest.update(os.fsencode(file.name) + f"\0{content}\n".encode())
    return digest.hexdigest()


def _candidates(path: Path) -> dict[str, dict[str, Any]]:
    """What a run says about each candidate that it selected, by the name of its file; nothing where this is no run."""
    run = next((folder for folder in (path, path.parent) if (folder / RUN_RECORD).is_file()), None)
    if run is None:
        return {}
    try:
        with (run / CANDIDATES).open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("file")]
    except (OSError, ValueError, csv.Error):
        return {}
    return {
        name: {FORMER_NAMES.get(key, key): _number(text) for key, text in row.items() if key != "file"}
        for row in rows
        for name in filter(None, (row.get("drawn_file"), row["file"]))
    }


def _number(text: str) -> Any:
    if text in ("yes", "no"):
        return text == "yes"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return unescaped(text)


def _read_file(
    file: Path, reader: Reader, report: Callable[[int, int], None] | None
) -> Iterator[tuple[str, Structure | str]]:
    """Each part of a file (its name, empty if it is the only one) with its structure, or why there is none."""
    try:
        parts = list(reader(file))
    except OSError as error:
        yield "", f"it cannot be read ({error.strerror or error})"
        return
    except _PARSE_ERRORS as error:
        yield "", f"it cannot be read ({_in_one_line(str(error)) or type(error).__name__})"
        return
    if not parts:
        yield "", "it holds no crystal"
    for done, (name, parse) in enumerate(parts, start=1):
        yield name if len(parts) > 1 else "", _parse(parse)
        if report is not None:
            report(done, len(parts))


def _parse(parse: Callable[[], Structure]) -> Structure | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parsers warn about much that does not change the crystal
        try:
            structure = parse()
        except _PARSE_ERRORS as error:
            return f"it cannot be read ({_in_one_line(str(error)) or type(error).__name__})"
    return structure_fault(structure) or structure


def _in_one_line(text: str) -> str:
    """A text of a file, or about one, as it may stand in a table: printable, short, no line breaks."""
    return printable(" ".join(text.split())[:_LONGEST_TEXT])


def _free_name(name: str, taken: dict[str, int]) -> str:
    """The name, or with the first number that makes it new; it is taken from then on.

    Args:
        name: wanted.
        taken: names that are, each with the last number that was tried for it.
    """
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name}#{taken[name]}"
    taken[free] = 1
    return free
