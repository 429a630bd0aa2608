"""``cg-data``: which crystals come with the package, what is in them; crystals in, and out to other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.exchange import AsJson, export_crystals, import_crystals
from crystalgraph.cli.options import Version
from crystalgraph.cli.tables import print_lines, print_table

if TYPE_CHECKING:
    from crystalgraph.crystals.counts import Counts
    from crystalgraph.crystals.table import CrystalTable

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


@app.callback(invoke_without_command=True)
def no_command(context: typer.Context, version: Version = False) -> None:  # noqa: ARG001
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
        print(json.dumps(names, indent=2))
    else:
        rows = [(card["name"], f"{card['counts']['size']['all']:,}", card["title"]) for card in cards]
        print_table(("name", "crystals", "title"), rows)


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
        print(json.dumps(_report(dataset, counts, disagreeing), indent=2))
    else:
        _print_report(dataset, counts, disagreeing)
    if disagreeing:
        raise typer.Exit(DISAGREES)


app.command("import", epilog=_epilog("import"))(import_crystals)
app.command("export", epilog=_epilog("export"))(export_crystals)


def main() -> None:
    """Entry point of ``cg-data``."""
    run(app, go_on="repeat the command; with --optimade, --resume goes on behind the pages that have come")


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


def _print_report(dataset: CrystalTable, counts: Counts, disagreeing: list[str]) -> None:
    print_lines(f"{dataset.source.name}: {dataset.source.card['title']}", dataset.source.card["description"], "")
    rows = [
        (group if first else "", name, f"{count:,}")
        for group, names in counts.items()
        for first, (name, count) in zip([True, *[False] * len(names)], names.items(), strict=False)
    ]
    print_table(("", "crystals with", "how many"), rows)
    print_lines("")
    print_table(
        ("source", "licence", "attribution"),
        [(source["name"], source["licence"], source["attribution"]) for source in dataset.source.card["sources"]],
    )
    print_lines("", *(f"SHA-256 of {file}, checked: {code}" for file, code in dataset.source.card["sha256"].items()))
    if disagreeing:
        print_lines("The card does NOT agree with the data:", *disagreeing)
    else:
        print_lines(f"The card agrees with the data in all {len(rows)} figures.")


if __name__ == "__main__":
    main()
