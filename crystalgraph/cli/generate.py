"""``cg-generate``: from a chemical system to a folder of ranked crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystalgraph.cli import generation_options as option
from crystalgraph.cli.errors import run
from crystalgraph.cli.options import KNOWN_HELP, Potential, Scheduler, Version
from crystalgraph.cli.progress import stage_bars
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")

EXAMPLES = (
    "cg-generate -n 100",
    "cg-generate --formula Nb2O5 --space-group 15 -n 20 --out runs/Nb2O5-sg15",
    "cg-generate -n 300 --relax 100 --workers 2 --out runs/relaxed",
    "cg-generate --formula Nb2O5 --minutes 20 --workers 2",
    "cg-generate --formula NbO2 -n 10 --space-group P4_2/mnm --explore 0.5",
    "cg-generate --near cifs/rutile.cif --formula NbO2 -n 10 --out runs/near",
    "cg-generate --formula Nb2O5 --z 2 --density 3.5:5.5 --exclude-group P1",
    "cg-generate --raw 1000 --seed 2 --format extxyz",
)


@app.command(epilog="\n\n".join(("Examples:", *EXAMPLES)))
def generate(
    num: Annotated[
        int | None,
        typer.Option(
            "--num",
            "-n",
            help="Distinct crystals to select, of four times as many: the best of each formula by score.  "
            "[default: 100; with --relax K, 3 K]",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="Chemical system; every crystal has all its elements.  [default: the formula's, or Nb-O]"),
    ] = None,
    formula: Annotated[
        str | None,
        typer.Option(help="Exact formula: Nb2O5; a multiple, Nb4O10, is the primitive cell."),
    ] = None,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="Bounds such as O/Nb=1.5:2.5 (ratio) or O=0.6:0.75 (fraction).")
    ] = None,
    space_group: Annotated[
        str | None, typer.Option("--space-group", help="Space group: a number or a symbol, such as R-3c.")
    ] = None,
    supergroups: Annotated[
        bool, typer.Option("--supergroups", help="Take crystals that come out in a supergroup of it too.")
    ] = False,
    exclude_groups: option.ExcludedGroups = None,
    num_atoms: option.NumAtoms = None,
    formula_units: option.FormulaUnits = None,
    min_distances: option.MinDistances = None,
    density: option.Density = None,
    volume: option.Volume = None,
    cell: option.Cell = None,
    near: option.Near = None,
    max_atoms: option.MaxAtoms = None,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or the folder of one.")] = "nbo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    temperature: option.Temperature = 1.0,
    explore: option.Explore = 0.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; it must not exist.  [default: runs/ and what was asked for]")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Any of cif, cif-primitive, extxyz, poscar, separated by commas.")
    ] = "cif,extxyz",
    raw: Annotated[
        int | None,
        typer.Option(
            "--raw",
            help="Instead of --num: exactly so many samples as the generator makes them, nothing chosen or dropped.",
        ),
    ] = None,
    relax: option.Relax = None,
    minutes: option.Minutes = None,
    potential: Potential = "sevennet-0",
    confirm: option.Confirm = None,
    pressure: option.Pressure = 0.0,
    pattern: option.Pattern = None,
    radiation: option.Radiation = "Cu Kα",
    known: Annotated[str | None, typer.Option(help=KNOWN_HELP)] = None,
    workers: Annotated[int, typer.Option(help="Processes that relax; the result does not depend on it.")] = 1,
    scheduler: Scheduler = None,
    fast: option.Fast = False,
    refine: option.Refine = None,
    device: Annotated[str, typer.Option(help="Where networks and SevenNet run: cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the table says as JSON on stdout.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Propose crystals of a chemical system: drawn, screened, without copies, ranked.

    Leaves a folder with the structures, candidates.csv (a row for every sample drawn, with its status), run.json, and
    report.html to look at. With --relax also the relaxed structures.
    """
    from crystalgraph.io.atomic import check_free, free_name
    from crystalgraph.io.claim import claimed
    from crystalgraph.screening.request import GenerationRequest, usual_num

    if num is not None and raw is not None:
        raise InputError("--num and --raw exclude each other; --raw keeps every sample, --num only distinct good ones")
    wanted = next((n for n in (raw, num) if n is not None), None)
    crystal = None
    if near is not None:
        from crystalgraph.runs.near import formula_of, given_crystal

        crystal = given_crystal(near)
        formula = formula_of(crystal) if system is None and formula is None else formula
    constraints = {
        "num_atoms": num_atoms,
        "formula_units": formula_units,
        "min_distances": min_distances or [],
        "density": density,
        "volume": volume,
        "excluded_groups": exclude_groups or [],
        "cell": cell,
    }
    request = GenerationRequest.parse(
        system=system,
        formula=formula,
        ranges=ranges or [],
        space_group_number=space_group,
        supergroups=supergroups,
        constraints=constraints,
        **({} if max_atoms is None else {"max_atoms": max_atoms}),
        num=usual_num(relax) if wanted is None else wanted,
        raw=raw is not None,
        seed=seed,
        temperature=temperature,
        explore=explore,
        fast=fast,
        refine=refine,
    )
    effort = "" if near is None else f"-near-{Path(near).stem}"
    effort += ("" if relax is None else f"-relax{relax}") + ("" if minutes is None else f"-{minutes:g}min")
    effort += f"-{pressure:g}GPa" if pressure else ""
    folder = out or free_name(Path("runs") / f"{request.slug}{effort}")
    with claimed(folder):  # before the libraries are loaded
        check_free(folder)
    from crystalgraph.cli.printing import print_summary, summary
    from crystalgraph.runs.generate import generate as generate_crystals

    with stage_bars(show=not (quiet or as_json)) as progress, Workers(workers, scheduler, device=device) as running:
        result = generate_crystals(
            request,
            model=model,
            near=crystal,
            relax=relax,
            minutes=minutes,
            potential=potential,
            confirm=None if confirm is None else [name for name in confirm.split(",") if name not in ("", "none")],
            pressure=pressure,
            pattern=pattern,
            radiation=radiation,
            known=known,
            workers=running,
            device=device,
            out=folder,
            formats=formats.split(","),
            progress=progress,
        )
    if as_json:
        import json

        print(json.dumps(summary(result, folder), ensure_ascii=False))
    elif not quiet:
        print_summary(summary(result, folder))
    if not result.structures:
        # Something ran and its record is kept, but a script that waits for crystals must notice.
        raise typer.Exit(1)


def main() -> None:
    """Entry point of ``cg-generate``."""
    run(app, go_on="relaxations that were finished, if any, are kept: the same command goes on from them")
