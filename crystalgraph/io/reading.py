"""Read crystals from the files chemists keep them in.

A file, or a block or frame of one, that does not give a crystal is kept with its reason; the others are read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.crystals.table import CrystalTable, Source, plain
from crystalgraph.errors import InputError
from crystalgraph.io.cif import cif_parts
from crystalgraph.io.columns import FORMER_NAMES
from crystalgraph.io.csv_table import unescaped
from crystalgraph.io.run_layout import CANDIDATES, EXTXYZ_FILE, RUN_RECORD, STRUCTURES_FOLDER
from crystalgraph.io.tables import ID_COLUMNS, ase_parts, csv_parts, parquet_parts, structure_from_atoms
from crystalgraph.progress import Progress, at_stage

Part = tuple[str, Callable[[], Structure]]
"""A block or frame of a file: its name and what turns it into a structure."""

Reader = Callable[[Path], Iterator[Part]]
"""Cuts one kind of file into parts."""

#: What the parsers of pymatgen and ASE raise on files that are not what they seem.
_PARSE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadPoscarWarning,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

_JSON = (".json", ".jsonl")
_TABLES = (".csv", ".db", ".parquet")

#: Formats in which ``name`` is what the crystal is called, and not its mineral's name.
_NAMED = (".db", ".extxyz", ".xyz")


def read_structures(path: str | os.PathLike[str], *, progress: Progress | None = None) -> CrystalTable:
    """Read a CIF (one or many blocks), an extxyz (one or many frames), a POSCAR, pymatgen JSON, a table, or a folder.

    In a folder the files ``*.cif``, ``*.extxyz``, ``*.xyz``, ``*.vasp``, ``*.poscar``, ``POSCAR*`` and ``CONTCAR*``
    are read in the order of their names; other files and subfolders are left alone. ``*.json`` and ``*.jsonl`` are
    read where there are no others, and ``*.csv``, ``*.db`` and ``*.parquet`` where there are none of these either. Of
    a run folder, which keeps the same crystals in several formats, only one is read: extxyz, else CIF, else POSCAR.

    JSON holds structures as pymatgen writes them (``Structure.as_dict``): one, a list, a table by name, or one a line;
    a structure may also be the ``structure`` of an entry. Tables are CSV, ASE databases and Parquet, see
    `crystalgraph.io.tables`.

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
    readers = _choose_files(Path(path))
    report = at_stage(progress, "read")
    stems = Counter(file.stem for file in readers)
    structures: dict[str, Structure] = {}
    failures: dict[str, str] = {}
    taken: dict[str, None] = {}
    for position, (file, reader) in enumerate(readers.items()):
        label = file.stem if stems[file.stem] == 1 else file.name
        for part, result in _read_file(file, reader, report if len(readers) == 1 else None):
            name = _free_name(f"{label}#{part}" if part else label, taken)
            taken[name] = None
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
        source=Source(name=os.fspath(path), sha256=_checksum(files), files=files),
    )


def own_ids(table: CrystalTable) -> list[str]:
    """What a file calls its crystals, where they come from a single file that names them; else the ids of the table."""
    if len(table.source.files) != 1:
        return table.ids
    (file,) = table.source.files
    keys = (*ID_COLUMNS, "name") if file.suffix.lower() in _NAMED else ID_COLUMNS
    stated = [table.columns[key] for key in keys if key in table.columns]
    own: dict[str, None] = {}
    for position, name in enumerate(table.ids):
        values = (plain(column[position]) for column in stated)
        own_id = next((str(value) for value in values if value is not None), "")
        own[_free_name(own_id or name.removeprefix(f"{file.stem}#"), own)] = None
    return list(own)


def _checksum(files: Sequence[Path]) -> str:
    """SHA-256 of files, names and content, wherever their folder lies."""
    digest = hashlib.sha256()
    for file in files:
        try:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            content = "unreadable"
        digest.update(f"{file.name}\0{content}\n".encode())
    return digest.hexdigest()


def _candidates(path: Path) -> dict[str, dict[str, Any]]:
    """What a run says about each candidate that it selected, by the name of its file; nothing where this is no run."""
    run = next((folder for folder in (path, path.parent) if (folder / RUN_RECORD).is_file()), None)
    if run is None:
        return {}
    try:
        with (run / CANDIDATES).open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("file")]
    except OSError:
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


def _choose_files(path: Path) -> dict[Path, Reader]:
    """The files to read at a path, each with its reader."""
    known = "*.cif, *.extxyz, *.xyz, *.vasp, *.poscar, POSCAR*, CONTCAR*, *.json, *.jsonl, *.csv, *.db, *.parquet"
    if path.is_dir():
        for folder, ends in _places(path):
            if readers := _readers_in(folder, ends):
                return readers
        raise InputError(f"folder {str(path)!r} holds no structure file; it needs at least one of {known}")
    if not path.exists():
        raise InputError(f"{str(path)!r} does not exist; name a structure file or a folder of them")
    if reader := _reader(path):
        return {path: reader}
    raise InputError(f"{str(path)!r} is not a known kind of structure file; allowed are {known}")


def _places(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Folders to look into, and for which ends of names, until one of them holds something."""
    if (path / RUN_RECORD).is_file() and (path / STRUCTURES_FOLDER).is_dir():
        yield path, (EXTXYZ_FILE,)
        yield path / STRUCTURES_FOLDER, (".cif",)
        yield path / STRUCTURES_FOLDER, (".vasp",)
    else:
        yield path, ()
        yield path, _JSON
        yield path, _TABLES


def _readers_in(folder: Path, ends: tuple[str, ...]) -> dict[Path, Reader]:
    """Structure files of a folder by name, with their readers; without ends all kinds but JSON and tables."""
    readers: dict[Path, Reader] = {}
    for file in sorted(entry for entry in folder.iterdir() if not entry.is_dir()):
        name = file.name.lower()
        wanted = name.endswith(ends) if ends else not name.endswith((*_JSON, *_TABLES))
        if wanted and (reader := _reader(file)):
            readers[file] = reader
    return readers


def _reader(file: Path) -> Reader | None:
    """The reader of this kind of file, or None if the kind is not known."""
    if file.name.startswith("."):
        return None
    if file.suffix.lower() in _READERS:
        return _READERS[file.suffix.lower()]
    return _text(_poscar_part) if file.name.upper().startswith(("POSCAR", "CONTCAR")) else None


def _text(cut: Callable[[str], Iterator[Part]]) -> Reader:
    """A reader of files from what cuts their text."""
    return lambda file: cut(file.read_text(encoding="utf-8", errors="replace"))


def _read_file(
    file: Path, reader: Reader, report: Callable[[int, int], None] | None
) -> Iterator[tuple[str, Structure | str]]:
    """Each part of a file (its name, empty if it is the only one) with its structure, or why there is none."""
    try:
        parts = list(reader(file))
    except OSError as error:
        yield "", f"it cannot be read ({error.strerror})"
        return
    except ValueError as error:
        yield "", f"it cannot be read ({error})"
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
            return f"it cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__})"
    return structure_fault(structure) or structure


def _poscar_part(text: str) -> Iterator[Part]:
    yield "", lambda: _parse_poscar(text)


def _parse_poscar(text: str) -> Structure:
    with warnings.catch_warnings():
        # An old POSCAR without symbols; pymatgen would call its elements H, He, Li and so on.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Elements in POSCAR cannot be determined", category=BadPoscarWarning)
        try:
            return Poscar.from_str(_with_length_scale(text), read_velocities=False).structure
        except BadPoscarWarning as error:
            raise ValueError("it names no elements" if "determined" in str(error) else str(error)) from error


def _with_length_scale(text: str) -> str:
    """Replace a negative scale, which means the volume, by the factor for lengths.

    pymatgen does so for the lattice, but multiplies Cartesian coordinates by the volume.
    """
    lines = text.split("\n")
    scale = float(lines[1].split()[0])
    if scale >= 0:
        return text
    lattice = np.array([[float(number) for number in line.split()[:3]] for line in lines[2:5]])
    lines[1] = repr(float((-scale / abs(np.linalg.det(lattice))) ** (1 / 3)))
    return "\n".join(lines)


def _extxyz_parts(text: str) -> Iterator[Part]:
    # Cut by hand, so that one broken frame does not take the others with it.
    lines = text.splitlines()
    start = frame = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        count = int(lines[start]) if lines[start].strip().isdecimal() else None
        end = len(lines) if count is None else start + count + 2
        named = re.search(r'\bname=(?:"([^"]*)"|(\S+))', lines[start + 1]) if start + 1 < len(lines) else None
        name = (named.group(1) or named.group(2)) if named else str(frame)
        yield name, lambda chunk=lines[start:end], count=count: _parse_frame(chunk, count)  # type: ignore[misc]
        start, frame = end, frame + 1


def _parse_frame(lines: list[str], count: int | None) -> Structure:
    from ase.io import iread

    if count is None:
        raise ValueError(f"a frame starts with its number of atoms, not with {lines[0][:40]!r}")
    if len(lines) < count + 2:
        raise ValueError(f"{count} atoms are announced but the file ends after {max(len(lines) - 2, 0)}")
    (atoms,) = iread(io.StringIO("\n".join(lines) + "\n"), format="extxyz")
    return structure_from_atoms(atoms)


def _json_parts(text: str) -> Iterator[Part]:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        # Several documents one after the other are one a line; a broken line does not take the others with it.
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise ValueError(f"it is not JSON: {error}") from None
        for number, line in enumerate(lines):
            yield str(number), partial(_parse_json_line, line)
        return
    if isinstance(content, dict) and not _is_entry(content):
        named = list(content.items())
    else:
        documents = content if isinstance(content, list) else [content]
        named = [(_entry_id(document) or str(number), document) for number, document in enumerate(documents)]
    for name, document in named:
        yield name, partial(_structure_of, document)


def _parse_json_line(line: str) -> Structure:
    return _structure_of(json.loads(line))


def _is_entry(document: Any) -> bool:
    """Whether this is a structure or something that has one, rather than a table of them."""
    return isinstance(document, dict) and ("lattice" in document or "structure" in document)


def _entry_id(document: Any) -> str:
    """What databases call the crystal, or nothing."""
    if not isinstance(document, dict):
        return ""
    return next((str(document[key]) for key in ("material_id", "entry_id") if document.get(key)), "")


def _structure_of(document: Any) -> Structure:
    if not _is_entry(document):
        raise ValueError("it is no structure as pymatgen writes it, with lattice and sites")
    if "lattice" in document:
        return Structure.from_dict(document)
    structure = Structure.from_dict(document["structure"])
    structure.properties |= {key: value for key, value in document.items() if key != "structure"}
    return structure


_READERS: dict[str, Reader] = {
    ".cif": _text(cif_parts),
    ".extxyz": _text(_extxyz_parts),
    ".xyz": _text(_extxyz_parts),
    ".vasp": _text(_poscar_part),
    ".poscar": _text(_poscar_part),
    ".json": _text(_json_parts),
    ".jsonl": _text(_json_parts),
    ".csv": csv_parts,
    ".db": ase_parts,
    ".parquet": parquet_parts,
}


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it new."""
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
