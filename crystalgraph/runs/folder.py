"""The folder a run leaves: structures, one CSV row for every sample with its status, and the record of how it was made.

The folder appears whole or not at all. Structures and ``candidates.csv`` depend on the request alone, so that two
identical commands leave identical bytes; whatever differs between runs (times, versions) is in ``run.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.io.atomic import check_free, new_folder, write_json, write_text
from crystalgraph.io.csv_table import csv_text
from crystalgraph.io.run_layout import (
    CANDIDATES,
    EXTXYZ_FILE,
    RELAXED_FILE,
    RELAXED_FOLDER,
    RUN_RECORD,
    STRUCTURES_FOLDER,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure


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
    drawn_names: Sequence[str] | None = None,
    page: Callable[[Path], object] | None = None,
) -> None:
    """Write a run folder.

    Args:
        out: the folder; it must not exist.
        structures: the selected candidates as drawn, best first.
        names: their file names without extension, in the same order; of the relaxed crystal where there is one.
        rows: one mapping per sample drawn, with the values of ``columns``.
        columns: header of ``candidates.csv``.
        record: content of ``run.json``.
        formats: any of `crystalgraph.io.writing.FORMATS`: a CIF or a POSCAR each, or one extxyz with all.
        relaxed: the first of ``structures`` after relaxation. They get a folder ``relaxed`` and a file
            ``relaxed.extxyz``, in the same order; None where nothing was to be relaxed.
        drawn_names: names of ``structures``; None means ``names``.
        page: writes the report into the folder, which is whole but for that and has not got its name yet.

    Raises:
        InputError: if ``out`` exists, also when it came to exist during the writing.
    """
    from crystalgraph.io.writing import write_structures

    check_free(out)
    with new_folder(out) as folder:
        (folder / STRUCTURES_FOLDER).mkdir()
        if relaxed is not None:
            (folder / RELAXED_FOLDER).mkdir()
        for fmt in formats:
            if relaxed is not None:
                first = names[: len(relaxed)]
                write_structures(relaxed, first, folder if fmt == "extxyz" else folder / RELAXED_FOLDER, fmt)
                if fmt == "extxyz":
                    (folder / EXTXYZ_FILE).rename(folder / RELAXED_FILE)
            drawn = names if drawn_names is None else drawn_names
            write_structures(structures, drawn, folder if fmt == "extxyz" else folder / STRUCTURES_FOLDER, fmt)
        write_text(folder / CANDIDATES, csv_text(rows, columns))
        write_json(folder / RUN_RECORD, record)
        if page is not None:
            page(folder)
