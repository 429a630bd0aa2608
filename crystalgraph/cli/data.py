"""``cg-data``: which crystals come with the package, what is in them; crystals in, and out to other programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.progress import stage_bars
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from crystalgraph.crystals.counts import Counts
    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.io.importing import Imported
    from crystalgraph.io.optimade import Answer, Query
    from crystalgraph.progress import Progress

EXAMPLES = {
    "list": ("cg-data list",),
    "info": ("cg-data info corpus", "cg-data info nbo --json", "cg-data info mine"),
    "import": (
        "cg-data import cifs/ --out mine --licence CC-BY-4.0",
        "cg-data import mp20.csv --out mp20 --keep-copies",
        'cg-data import --optimade https://oqmd.org/optimade --filter \'elements HAS ALL "Nb","O"\' --out oqmd-nbo',
    ),
    "export": (
        "cg-data export runs/Nb-O-n100-seed0 --top 10 --format poscar --out poscars",
        "cg-data export nbo --ids mp-2311,mp-1470 --format ase-db --out nbo.db",
        "cg-data export runs/Nb-O-n100-seed0 --top 5 --vasp --set MPRelaxSet --out vasp",
    ),
}


def _epilog(*commands: str) -> str:
    return "\n\n".join(("Examples:", *(f"`{line}`" for command in commands for line in EXAMPLES[command])))


app = typer.Typer(
    help="Crystals that come with crystalgraph, and crystals in and out: list, count, import, export.",
    epilog=_epilog(*EXAMPLES),
    rich_markup_mode="markdown",
)

DISAGREES = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback(invoke_without_command=True)
def no_command(context: typer.Context) -> None:
    """Show the help when no command is given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list", epilog=_epilog("list"))
def list_datasets(as_json: AsJson = False) -> None:
    """List the datasets: name, number of crystals, title."""
    from crystalgraph.io.datasets import dataset_names, read_card

    cards = [read_card(name) for name in dataset_names()]
    if as_json:
        names = {card["name"]: {"title": card["title"], "crystals": card["counts"]["size"]["all"]} for card in cards}
        print(json.dumps(names, indent=2, ensure_ascii=False))
    else:
        rows = [(card["name"], f"{card['counts']['size']['all']:,}", card["title"]) for card in cards]
        _print_table(("name", "crystals", "title"), rows)


@app.command(epilog=_epilog("info"))
def info(
    name: Annotated[str, typer.Argument(help="A shipped dataset (see `cg-data list`), or the folder of one.")],
    as_json: AsJson = False,
) -> None:
    """Count a dataset's crystals, and say whether its card gives the same figures.

    The exit code is 1 if the card gives others.
    """
    from crystalgraph.crystals.counts import count_crystals
    from crystalgraph.io.datasets import load_dataset

    dataset = load_dataset(name)
    counts = count_crystals(dataset.crystals, dataset.columns)
    disagreeing = _disagreeing(counts, dataset.source.card.get("counts", {}))
    if as_json:
        print(json.dumps(_report(dataset, counts, disagreeing), indent=2, ensure_ascii=False))
    else:
        _print_report(dataset, counts, disagreeing)
    if disagreeing:
        raise typer.Exit(DISAGREES)


@app.command("import", epilog=_epilog("import"))
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

    from crystalgraph.io.entries import from_files, from_optimade
    from crystalgraph.io.importing import check_out, write_import
    from crystalgraph.io.optimade import Query

    check_out(out)
    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # a crystal without symmetry is in group 1
    with stage_bars(show=sys.stdout.isatty() and not (quiet or as_json)) as progress:
        if source is not None:
            entries = from_files(source, licence=licence, attribution=attribution, progress=progress)
            imported = write_import(entries, out, title=name, keep_copies=keep_copies, progress=progress)
        else:
            query = Query(
                url=optimade or "",
                filter=filter_,
                properties=tuple(properties or ()),
                page_limit=page_limit,
                pause=pause,
            )
            with _pages(query, out.with_name(f"{out.name}.partial"), resume=resume, progress=progress) as answer:
                entries = from_optimade(query, answer, licence=licence, attribution=attribution)
                imported = write_import(entries, out, title=name, keep_copies=keep_copies, progress=progress)
    if as_json:
        from dataclasses import asdict

        print(json.dumps({"out": str(out), **asdict(imported)}, indent=2, ensure_ascii=False))
    elif not quiet:
        _print_imported(imported, out)


@contextmanager
def _pages(query: Query, kept: Path, *, resume: bool, progress: Progress | None) -> Iterator[Answer]:
    """What a server gives; the pages are kept until the block that writes them elsewhere has ended."""
    from shutil import rmtree

    from crystalgraph.io.optimade import fetch

    answer = fetch(query, kept, resume=resume, progress=progress)
    if not answer.entries:
        rmtree(kept)
        raise InputError(f"{query.base} has no entry for the filter {query.filter!r}; try another")
    yield answer
    rmtree(kept)


@app.command("export", epilog=_epilog("export"))
def export_crystals(
    source: Annotated[
        str, typer.Argument(help="Dataset (name or folder), run folder, structure file, or a folder of them.")
    ],
    out: Annotated[Path | None, typer.Option(help="File or folder to write; it must not exist.")] = None,
    fmt: Annotated[
        str | None,
        typer.Option("--format", help="A folder of cif or poscar; a file of extxyz, ase-db, json or parquet."),
    ] = None,
    vasp: Annotated[
        bool, typer.Option("--vasp", help="Instead of --format: INCAR, KPOINTS, POSCAR and POTCAR.spec of each.")
    ] = False,
    input_set: Annotated[str, typer.Option("--set", help="With --vasp: pymatgen's input set.")] = "MPRelaxSet",
    top: Annotated[int | None, typer.Option(help="Only the first so many; a run's are ranked.")] = None,
    ids: Annotated[str | None, typer.Option(help="Only these ids or names, separated by commas.")] = None,
    relaxed: Annotated[bool, typer.Option("--relaxed", help="Of a run: the relaxed structures.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand crystals over to other programs.

    POTCAR.spec holds the names of the potentials, never their content.
    """
    if vasp == (fmt is not None):
        raise InputError("say what to write: either --format or --vasp")
    if out is None:
        raise InputError("where should it go? Name a new file or folder with --out")

    from crystalgraph.io.exporting import export, export_vasp, select

    wanted = [name.strip() for name in (ids or "").split(",") if name.strip()]
    selection = select(source, top=top, ids=wanted, relaxed=relaxed)
    failures: dict[str, str] = {}
    remarks: dict[str, int] = {}
    if fmt is not None:
        export(selection, fmt, out)
    else:
        with stage_bars(show=sys.stdout.isatty() and not (quiet or as_json)) as progress:
            failures, remarks = export_vasp(selection, out, input_set=input_set, progress=progress)
    left_out = selection.failures | failures
    written = len(selection) - len(failures)
    if as_json:
        report = {"out": str(out), "written": written, "left_out": left_out, "remarks": remarks}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    elif not quiet:
        lines = [f"{count} × {text}" for text, count in remarks.items()]
        lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
        _print_lines(*lines, f"{written:,} crystals written to {out}")


def main() -> None:
    """Entry point of ``cg-data``."""
    run(app)


def _disagreeing(counts: Counts, card: Counts) -> list[str]:
    """Each figure that differs between the data and the card, in words."""
    places = {(group, name): None for table in (counts, card) for group, names in table.items() for name in names}
    both = {place: (counts.get(place[0], {}).get(place[1]), card.get(place[0], {}).get(place[1])) for place in places}
    return [
        f"{group}, {name}: data {'none' if data is None else data}, card {'none' if said is None else said}"
        for (group, name), (data, said) in both.items()
        if data != said
    ]


def _report(dataset: CrystalTable, counts: Counts, disagreeing: list[str]) -> dict[str, Any]:
    return {
        "name": dataset.source.name,
        "title": dataset.source.card["title"],
        "sha256": dataset.source.card["sha256"],
        "counts": counts,
        "agrees_with_card": not disagreeing,
        "disagreeing": disagreeing,
        "columns": dataset.source.card["columns"],
        "sources": dataset.source.card["sources"],
    }


def _print_imported(imported: Imported, out: Path) -> None:
    lost = [(f"lost: {reason}", count) for reason, count in imported.reasons.items()]
    rows = [("entries", imported.n_entries), *lost, ("lost: copy of one kept", imported.n_copies)]
    shown = [(title, f"{count:,}") for title, count in rows if count]
    _print_table(("", "how many"), [*shown, ("crystals", f"{imported.n_crystals:,}")])
    _print_lines(f"written to {out}, with its card in README.md and what was left out in rejected.csv")


def _print_report(dataset: CrystalTable, counts: Counts, disagreeing: list[str]) -> None:
    _print_lines(f"{dataset.source.name}: {dataset.source.card['title']}", dataset.source.card["description"], "")
    rows = [
        (group if first else "", name, f"{count:,}")
        for group, names in counts.items()
        for first, (name, count) in zip([True, *[False] * len(names)], names.items(), strict=False)
    ]
    _print_table(("", "crystals with", "how many"), rows)
    _print_lines("")
    _print_table(
        ("source", "licence", "attribution"),
        [(source["name"], source["licence"], source["attribution"]) for source in dataset.source.card["sources"]],
    )
    _print_lines("", *(f"SHA-256 of {file}, checked: {code}" for file, code in dataset.source.card["sha256"].items()))
    if disagreeing:
        _print_lines("The card does NOT agree with the data:", *disagreeing)
    else:
        _print_lines(f"The card agrees with the data in all {len(rows)} figures.")


def _print_lines(*lines: str) -> None:
    from rich.console import Console

    for line in lines:
        Console(soft_wrap=True).print(line, markup=False, highlight=False)


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in header:
        table.add_column(title, justify="right" if title in ("crystals", "how many") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


if __name__ == "__main__":
    main()
