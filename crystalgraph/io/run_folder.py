"""The folder a run leaves: structures, one CSV row for every sample with its fate, and the record of how it was made.

The folder appears whole or not at all. Structures and ``candidates.csv`` depend on the request alone, so that two
identical commands leave identical bytes; whatever differs between runs (times, versions) is in ``run.json``.
"""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph import __version__
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import new_folder, write_json, write_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

FORMATS = ("cif", "extxyz", "poscar")
"""What candidates can be written as: a CIF or a POSCAR each, or one extxyz with all."""

RELAXED_FOLDER, RELAXED_FILE = "structures_relaxed", "relaxed.extxyz"
"""Where relaxed candidates go."""

EXTENSION = {"cif": ".cif", "poscar": ".vasp"}

LIBRARIES = (
    *("torch", "torch-geometric", "pymatgen", "pymatgen-core", "spglib", "moyopy", "numpy", "scikit-learn"),
    *("ase", "chgnet"),
)
"""Packages whose versions can change a result."""


def check_free(out: Path) -> None:
    """Make sure that a run folder can be made, before any work is done.

    Args:
        out: the folder.

    Raises:
        InputError: if something of that name exists, or its parent cannot be a folder.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"output {out} already exists; name another folder with --out, or remove it")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot make {out}: {parent} is not a folder one can write to; name another with --out")


def free_name(out: Path) -> Path:
    """The folder, or with the first number that makes it new: a default must not be in the user's way."""
    number, free = 1, out
    while free.exists() or free.is_symlink():
        number += 1
        free = out.with_name(f"{out.name}-{number}")
    return free


def write_run(
    out: Path,
    *,
    structures: Sequence[Structure],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    record: Mapping[str, Any],
    formats: Sequence[str] = ("cif",),
    relaxed: Sequence[Structure] | None = None,
) -> None:
    """Write a run folder.

    Args:
        out: the folder; it must not exist.
        structures: the kept candidates, best first.
        names: their file names without extension, in the same order.
        rows: one mapping per sample drawn, with the values of ``columns``.
        columns: header of ``candidates.csv``.
        record: content of ``run.json``.
        formats: any of ``FORMATS``.
        relaxed: the first of ``structures`` after relaxation. They get a folder ``structures_relaxed`` and a file
            ``relaxed.extxyz``, in the same order and under the same names; None where nothing was to be relaxed.

    Raises:
        InputError: if ``out`` exists, also when it came to exist during the writing.
    """
    from crystalgraph.io.structures import EXTXYZ_FILE, write_structures

    check_free(out)
    with new_folder(out) as folder:
        (folder / "structures").mkdir()
        if relaxed is not None:
            (folder / RELAXED_FOLDER).mkdir()
        for fmt in formats:
            if relaxed is not None:
                first = names[: len(relaxed)]
                write_structures(relaxed, first, folder if fmt == "extxyz" else folder / RELAXED_FOLDER, fmt)
                if fmt == "extxyz":
                    (folder / EXTXYZ_FILE).rename(folder / RELAXED_FILE)
            write_structures(structures, names, folder if fmt == "extxyz" else folder / "structures", fmt)
        write_text(folder / "candidates.csv", table(rows, columns))
        write_json(folder / "run.json", record)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Render rows as CSV.

    Args:
        rows: one mapping per line.
        columns: header, and the keys taken from each row.

    Returns:
        CSV with Unix line ends. Numbers have six digits, so that they do not show the last bit of a sum; None, NaN
        and infinities are empty.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, crystalgraph and the libraries that can change a result, and of more where installed."""
    found = {"crystalgraph": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
