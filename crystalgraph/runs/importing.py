"""Make a dataset of files or of what a server holds, as ``cg-data import`` does."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from crystalgraph.errors import InputError
from crystalgraph.io.claim import claimed
from crystalgraph.io.entries import from_files, from_optimade
from crystalgraph.io.importing import Imported, check_out, write_import
from crystalgraph.io.optimade import Query, fetch
from crystalgraph.progress import Progress
from crystalgraph.runs.alone import one_thread


def import_dataset(
    source: Path | Query,
    out: Path,
    *,
    title: str | None = None,
    licence: str | None = None,
    attribution: str | None = None,
    keep_copies: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Read entries, check them, merge copies, and write the folder of a dataset.

    Args:
        source: a file or folder, or what to ask an OPTIMADE server.
        out: the folder; it must not exist. Pages of a server are kept in ``out`` + ".partial" until it is written.
        title: of the card.
        licence: of entries that do not say their own.
        attribution: whom to name.
        keep_copies: whether equal crystals all stay.
        resume: go on behind the pages that an earlier call left.
        progress: called as the work goes on.

    Returns:
        What became of the entries.

    Raises:
        InputError: if the folder is in the way, the source cannot be read, or no entry is left.
    """
    with claimed(out), one_thread():
        check_out(out)
        return _import(
            source, out, title, licence, attribution, keep_copies=keep_copies, resume=resume, progress=progress
        )


def _import(
    source: Path | Query,
    out: Path,
    title: str | None,
    licence: str | None,
    attribution: str | None,
    *,
    keep_copies: bool,
    resume: bool,
    progress: Progress | None,
) -> Imported:
    if isinstance(source, Path):
        entries = from_files(source, licence=licence, attribution=attribution, progress=progress)
        return write_import(entries, out, title=title, keep_copies=keep_copies, progress=progress)
    pages = out.with_name(f"{out.name}.partial")
    answer = fetch(source, pages, resume=resume, progress=progress)
    if not answer.entries:
        rmtree(pages)
        raise InputError(f"{source.base} has no entry for the filter {source.filter!r}; try another")
    entries = from_optimade(source, answer, licence=licence, attribution=attribution)
    imported = write_import(entries, out, title=title, keep_copies=keep_copies, progress=progress)
    rmtree(pages)
    return imported
