"""``cg-data``: which crystals come with the package, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run

if TYPE_CHECKING:
    from crystalgraph.io.counts import Counts
    from crystalgraph.io.datasets import Dataset

app = typer.Typer(
    help="Show the crystals that come with crystalgraph: where they are from, and how many of which kind.",
    epilog="Examples:\n\ncg-data list\n\ncg-data info corpus\n\ncg-data info nbo --json",
    rich_markup_mode="markdown",
    add_completion=False,
)

DISAGREES = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback(invoke_without_command=True)
def no_command(context: typer.Context) -> None:
    """Show the help when no command is given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list", epilog="Example:\n\ncg-data list")
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


@app.command(epilog="Examples:\n\ncg-data info corpus\n\ncg-data info nbo --json\n\ncg-data info path/to/a/dataset")
def info(
    name: Annotated[str, typer.Argument(help="A shipped dataset (see `cg-data list`), or the folder of one.")],
    as_json: AsJson = False,
) -> None:
    """Count a dataset's crystals, and say whether its card gives the same figures.

    The exit code is 1 if the card gives others.
    """
    from crystalgraph.io.counts import count_crystals
    from crystalgraph.io.datasets import load_dataset

    dataset = load_dataset(name)
    counts = count_crystals(dataset.crystals, dataset.columns)
    disagreeing = _disagreeing(counts, dataset.card.get("counts", {}))
    if as_json:
        print(json.dumps(_report(dataset, counts, disagreeing), indent=2, ensure_ascii=False))
    else:
        _print_report(dataset, counts, disagreeing)
    if disagreeing:
        raise typer.Exit(DISAGREES)


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


def _report(dataset: Dataset, counts: Counts, disagreeing: list[str]) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "title": dataset.card["title"],
        "sha256": dataset.card["sha256"],
        "counts": counts,
        "agrees_with_card": not disagreeing,
        "disagreeing": disagreeing,
        "columns": dataset.card["columns"],
        "sources": dataset.card["sources"],
    }


def _print_report(dataset: Dataset, counts: Counts, disagreeing: list[str]) -> None:
    _print_lines(f"{dataset.name}: {dataset.card['title']}", dataset.card["description"], "")
    rows = [
        (group if first else "", name, f"{count:,}")
        for group, names in counts.items()
        for first, (name, count) in zip([True, *[False] * len(names)], names.items(), strict=False)
    ]
    _print_table(("", "crystals with", "how many"), rows)
    _print_lines("")
    _print_table(
        ("source", "licence", "attribution"),
        [(source["name"], source["licence"], source["attribution"]) for source in dataset.card["sources"]],
    )
    _print_lines("", *(f"SHA-256 of {file}, checked: {code}" for file, code in dataset.card["sha256"].items()))
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
