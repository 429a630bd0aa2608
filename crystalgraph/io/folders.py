"""Which files at a path hold crystals, and which reader each of them needs; what is left aside is said."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pymatgen.core import Structure

from crystalgraph.errors import InputError
from crystalgraph.io.cif import cif_parts
from crystalgraph.io.decoding import read_text
from crystalgraph.io.json_layouts import json_parts
from crystalgraph.io.poscar import poscar_parts
from crystalgraph.io.run_layout import EXTXYZ_FILE, RUN_RECORD, STRUCTURES_FOLDER
from crystalgraph.io.tables import ase_parts, csv_parts, parquet_parts
from crystalgraph.io.xyz import extxyz_parts

Part = tuple[str, Callable[[], Structure]]
"""A block or frame of a file: its name and what turns it into a structure."""

Reader = Callable[[Path], Iterator[Part]]
"""Cuts one kind of file into parts."""

_KNOWN = (
    "*.cif, *.mcif, *.extxyz, *.xyz, *.vasp, *.poscar, *.contcar, POSCAR*, CONTCAR*, SPOSCAR*, *.json, *.jsonl, *.csv, "
    "*.db, *.parquet, and those of text compressed as *.gz"
)
_JSON = (".json", ".jsonl")
_TABLES = (".csv", ".db", ".parquet")
_ARCHIVES = (".7z", ".bz2", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst")
_POSCAR_NAME = re.compile(r"(S?POSCAR|CONTCAR)", re.IGNORECASE)


def _text(cut: Callable[[str], Iterator[Part]]) -> Reader:
    """A reader of files from what cuts their text."""
    return lambda file: cut(read_text(file))


_READERS: dict[str, Reader] = {
    ".cif": _text(cif_parts),
    ".mcif": _text(cif_parts),
    ".extxyz": _text(extxyz_parts),
    ".xyz": _text(extxyz_parts),
    ".vasp": _text(poscar_parts),
    ".poscar": _text(poscar_parts),
    ".contcar": _text(poscar_parts),
    ".json": _text(json_parts),
    ".jsonl": _text(json_parts),
    ".csv": _text(csv_parts),
    ".db": ase_parts,
    ".parquet": parquet_parts,
}

#: Kinds that are no text, which nobody compresses once more.
_BINARY = (".db", ".parquet")


def files_at(path: Path) -> tuple[dict[Path, Reader], dict[str, str]]:
    """The files to read at a path, each with its reader, and what else is in the folder with why it is left aside.

    Raises:
        InputError: if the path does not exist, its kind is not known, or the folder holds no file of a known kind.
    """
    try:
        is_folder, exists = path.is_dir(), path.exists()
        entries = sorted(path.iterdir()) if is_folder else []
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)[:200]!r} cannot be read ({why}); name a structure file or a folder") from None
    if is_folder:
        return _files_in(path, entries)
    if not exists:
        raise InputError(f"{str(path)[:200]!r} does not exist; name a structure file or a folder of them")
    if not path.is_file():
        raise InputError(f"{str(path)!r} is neither a file nor a folder; name one that is")
    if reader := _reader(path):
        return {path: reader}, {}
    raise InputError(f"{str(path)!r} is not a known kind of structure file; allowed are {_KNOWN}")


def own_stem(file: Path) -> str:
    """Name of a file without endings, printable whatever its bytes."""
    name = Path(file.stem if file.suffix.lower() == ".gz" else file.name)
    return printable(name.stem)


def printable(name: str | os.PathLike[str]) -> str:
    """A name or text with escapes for what cannot be printed: bytes that are no text, control characters."""
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in os.fspath(name))


def _escape(letter: str) -> str:
    is_raw_byte = "\udc80" <= letter <= "\udcff"  # as Python keeps bytes of names that are not UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if is_raw_byte else repr(letter)[1:-1]


def _files_in(path: Path, entries: list[Path]) -> tuple[dict[Path, Reader], dict[str, str]]:
    if (path / RUN_RECORD).is_file() and (path / STRUCTURES_FOLDER).is_dir():
        return _files_of_run(path), {}
    passed_over = {printable(entry.name): why for entry in entries if (why := _why_not(entry))}
    readers = {entry: reader for entry in entries if not _why_not(entry) and (reader := _reader(entry))}
    # JSON beside structures is somebody's record, and so is a table beside JSON.
    for kinds in ((), _JSON, _TABLES):
        chosen = {file: reader for file, reader in readers.items() if _is_of(file, kinds)}
        if chosen:
            beside = "it may describe the structures beside it; read it by its own name"
            return chosen, passed_over | {printable(file.name): beside for file in readers if file not in chosen}
    raise InputError(
        f"folder {str(path)!r} holds no structure file{_instead(passed_over)}; it needs at least one of {_KNOWN}"
    )


def _files_of_run(path: Path) -> dict[Path, Reader]:
    """Of a run, which keeps the same crystals in several formats, one of them."""
    structures = sorted((path / STRUCTURES_FOLDER).iterdir())
    for files in (
        [path / EXTXYZ_FILE],
        [file for file in structures if file.name.lower().endswith(".cif")],
        [file for file in structures if file.name.lower().endswith(".vasp")],
    ):
        if readers := {file: _READERS[file.suffix.lower()] for file in files if not _why_not(file)}:
            return readers
    raise InputError(f"the run {str(path)!r} holds no structures; it needs cif, extxyz or vasp files")


def _instead(passed_over: dict[str, str]) -> str:
    first = [f"{name!r} ({why})" for name, why in list(passed_over.items())[:3]]
    more = f" and {len(passed_over) - len(first)} more" if len(passed_over) > len(first) else ""
    return f" but {', '.join(first)}{more}" if first else ""


def _is_of(file: Path, kinds: tuple[str, ...]) -> bool:
    """Whether a file is of these kinds; without any, whether it is neither JSON nor a table."""
    return _kind(file) in kinds if kinds else _kind(file) not in (*_JSON, *_TABLES)


def _kind(file: Path) -> str:
    """The ending that says what a file is, in lower case, that of compression left off."""
    suffix = file.suffix.lower()
    if suffix != ".gz":
        return suffix
    inner = Path(file.stem).suffix.lower()
    return "" if inner in _BINARY else inner


def _why_not(entry: Path) -> str:
    """Why this is left aside in a folder; empty if it is read."""
    try:
        if entry.is_dir():
            return "a folder; read it by its own name"
        if entry.exists() and not entry.is_file():
            return "neither a file nor a folder"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    if entry.name.startswith("."):
        return "a hidden file"
    if _reader(entry):
        return "" if entry.exists() or entry.is_symlink() else "it is not there"
    return "an archive; unpack it" if _kind(entry) in _ARCHIVES else "not a known kind of structure file"


def _reader(file: Path) -> Reader | None:
    """The reader of this kind of file, or None if the kind is not known."""
    if file.name.startswith("."):
        return None
    if (kind := _kind(file)) in _READERS:
        return _READERS[kind]
    return _READERS[".poscar"] if _POSCAR_NAME.match(file.name) else None
