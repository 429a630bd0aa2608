"""Crystals in and out: the commands ``cg-data import`` and ``cg-data export``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystalgraph.cli.progress import stage_bars
from crystalgraph.cli.tables import print_lines, print_table
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from crystalgraph.io.importing import Imported

CELLS = {"cif": "conventional", "cif-primitive": "primitive", "poscar": "primitive"}
"""What cells a format has; the others leave each crystal in its own."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def import_crystals(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Folder or file: CIF, POSCAR, extxyz, pymatgen JSON, an ASE database (.db), CSV with a column cif "
            "(as MP-20), or Parquet."
        ),
    ] = None,
    optimade: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of SOURCE: base URL of an OPTIMADE server.")
    ] = None,
    filter_: Annotated[str, typer.Option("--filter", help="In OPTIMADE's language; all entries without it.")] = "",
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", help="Of an OPTIMADE server: keep this property too, such as _mp_band_gap."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the dataset; it must not exist.")] = None,
    name: Annotated[str | None, typer.Option(help="Title on the card.  [default: after the source]")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of entries that do not say their own.  [default: the server's, or not stated]")
    ] = None,
    attribution: Annotated[str | None, typer.Option(help="Whom to name.  [default: the server, or not stated]")] = None,
    keep_copies: Annotated[bool, typer.Option("--keep-copies", help="Do not merge equal crystals.")] = False,
    page_limit: Annotated[int, typer.Option("--page-limit", help="Entries a page of an OPTIMADE server.")] = 100,
    pause: Annotated[float, typer.Option(help="Seconds between two pages.")] = 0.5,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", metavar="URL", help="Another server that the OPTIMADE server may redirect or link to."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on behind the pages in OUT.partial, after a kill or a busy server.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset of your crystals: checked, without copies, with a card.

    The folder can be named wherever a dataset's name can. What is left out has its reason in rejected.csv.
    Crystals of equal formula and space group that StructureMatcher calls equal become one.
    """
    if (source is None) == (optimade is None):
        raise InputError("name one source: a file or folder, or a server with --optimade URL")
    if optimade is None and (filter_ or properties or resume):
        raise InputError("--filter, --property and --resume are for a server; name one with --optimade URL")
    if out is None:
        raise InputError("where should the dataset go? Name a new folder with --out")

    from crystalgraph.io.optimade import Query
    from crystalgraph.runs.importing import import_dataset

    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # a crystal without symmetry is in group 1
    entries: Path | Query = source or Query(
        url=optimade or "",
        filter=filter_,
        properties=tuple(properties or ()),
        page_limit=page_limit,
        pause=pause,
        allowed=tuple(allow_origin or ()),
    )
    with stage_bars(show=not (quiet or as_json)) as progress:
        imported = import_dataset(
            entries,
            out,
            title=name,
            licence=licence,
            attribution=attribution,
            keep_copies=keep_copies,
            resume=resume,
            progress=progress,
        )
    if as_json:
        from dataclasses import asdict

        print(json.dumps({"out": str(out), **asdict(imported)}, indent=2))
    elif not quiet:
        _print_imported(imported, out)


def export_crystals(
    source: Annotated[
        str, typer.Argument(help="Dataset (name or folder), run folder, structure file, or a folder of them.")
    ],
    out: Annotated[Path | None, typer.Option(help="File or folder to write; it must not exist.")] = None,
    fmt: Annotated[
        str | None,
        typer.Option(
            "--format", help="A folder of cif, cif-primitive or poscar; a file of extxyz, ase-db, json or parquet."
        ),
    ] = None,
    vasp: Annotated[
        bool, typer.Option("--vasp", help="Instead of --format: INCAR, KPOINTS, POSCAR and POTCAR.spec of each.")
    ] = False,
    input_set: Annotated[str, typer.Option("--set", help="With --vasp: pymatgen's input set.")] = "MPRelaxSet",
    top: Annotated[int | None, typer.Option(help="Only the first so many; a run's are ranked.")] = None,
    ids: Annotated[str | None, typer.Option(help="Only these ids or names, separated by commas.")] = None,
    as_drawn: Annotated[
        bool, typer.Option("--as-drawn", help="Of a relaxed run: all that were selected, before relaxation.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand crystals over to other programs; of a relaxed run, the relaxed ones.

    A CIF has the conventional cell with its symmetry; cif-primitive, poscar and --vasp have the primitive cell.
    POTCAR.spec holds the names of the potentials, never their content.
    """
    if vasp == (fmt is not None):
        raise InputError("say what to write: either --format or --vasp")
    if out is None:
        raise InputError("where should it go? Name a new file or folder with --out")

    from crystalgraph.io.exporting import export, export_vasp, relaxed_part, select

    wanted = [name.strip() for name in (ids or "").split(",") if name.strip()]
    selection = select(source, top=top, ids=wanted, as_drawn=as_drawn)
    states = ("as drawn" if as_drawn else "relaxed",) if relaxed_part(source) else ()
    failures: dict[str, str] = {}
    remarks: dict[str, int] = {}
    if fmt is not None:
        export(selection, fmt, out)
    else:
        with stage_bars(show=not (quiet or as_json)) as progress:
            failures, remarks = export_vasp(selection, out, input_set=input_set, progress=progress)
    left_out = selection.failures | failures
    written = len(selection) - len(failures)
    what = _what(written, states, CELLS.get(fmt or "poscar"))
    if as_json:
        report = {"out": str(out), "what": what, "written": written, "left_out": left_out}
        report |= {"remarks": remarks}
        print(json.dumps(report, indent=2))
    elif not quiet:
        lines = [f"{count} × {text}" for text, count in remarks.items()]
        lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
        print_lines(*lines, f"{what}, written to {out}")


def _what(n_crystals: int, states: tuple[str, ...], cell: str | None) -> str:
    """What was written, in words: so many crystals, relaxed or not, and in which cells."""
    one = n_crystals == 1
    words = (f"{n_crystals:,}", *states, "crystal" if one else "crystals", "in", "its" if one else "their")
    return " ".join((*words, cell or "own", "cell" if one else "cells"))


def _print_imported(imported: Imported, out: Path) -> None:
    lost = [(f"lost: {reason}", count) for reason, count in imported.reasons.items()]
    rows = [("entries", imported.n_entries), *lost, ("lost: copy of one kept", imported.n_copies)]
    shown = [(title, f"{count:,}") for title, count in rows if count]
    print_table(("", "how many"), [*shown, ("crystals", f"{imported.n_crystals:,}")])
    print_lines(f"written to {out}, with its card in README.md and what was left out in rejected.csv")
