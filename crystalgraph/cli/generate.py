"""``cg-generate``: from a chemical system to a folder of ranked crystals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.progress import progress_bar, stage_bars
from crystalgraph.errors import InputError
from crystalgraph.report.words import GATE_MEANING, STAGE_MEANING

if TYPE_CHECKING:
    from crystalgraph.models.bundle import Model
    from crystalgraph.screening.funnel import Funnel
    from crystalgraph.screening.request import GenerationRequest
    from crystalgraph.screening.search import Progress, RunResult

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")

DRAWN_PER_RELAXED = 3
"""Crystals to keep for each relaxation where --relax is given without --num; a good third of them is relaxed."""


EXAMPLES = (
    "cg-generate -n 100",
    "cg-generate --formula Nb2O5 --space-group 15 -n 20 --out runs/Nb2O5-sg15",
    "cg-generate -n 300 --relax 100 --workers 2 --out runs/relaxed",
    "cg-generate --formula NbO2 -n 10 --explore 0.5",
    "cg-generate --raw 1000 --seed 2 --format extxyz",
)


@app.command(epilog="\n\n".join(("Examples:", *EXAMPLES)))
def generate(
    num: Annotated[
        int | None,
        typer.Option(
            "--num",
            "-n",
            help="Distinct crystals to keep, of four times as many: the best of each formula by score.  "
            "[default: 100; with --relax K, 3 K]",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="Chemical system; every crystal has all its elements.  [default: the formula's, or Nb-O]"),
    ] = None,
    formula: Annotated[str | None, typer.Option(help="Exact formula, for instance Nb2O5.")] = None,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="Bounds such as O/Nb=1.5:2.5 (ratio) or O=0.6:0.75 (fraction).")
    ] = None,
    space_group: Annotated[int | None, typer.Option("--space-group", help="Space group number, 1 to 230.")] = None,
    max_atoms: Annotated[int, typer.Option("--max-atoms", help="Most atoms in the primitive cell.")] = 20,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or the folder of one.")] = "nbo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    temperature: Annotated[
        float,
        typer.Option(
            help="Of the choice among templates, 0.1 to 10: lower keeps to what is likely for the elements, higher "
            "ventures further."
        ),
    ] = 1.0,
    explore: Annotated[
        float,
        typer.Option(
            help="Share of the draws, 0 to 1, for templates that no known crystal has: compositions placed anew on the "
            "positions of any space group."
        ),
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; it must not exist.  [default: runs/ and what was asked for]")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Any of cif, extxyz, poscar, separated by commas.")
    ] = "cif,extxyz",
    raw: Annotated[
        int | None,
        typer.Option(
            "--raw",
            help="Instead of --num: exactly so many samples as the generator makes them, nothing chosen or dropped.",
        ),
    ] = None,
    relax: Annotated[
        int | None,
        typer.Option(
            "--relax",
            metavar="K",
            help="Relax up to K of the crystals kept and rank by energy above the hull: per composition the third "
            "with the lowest energies as drawn, and a tenth of the rest at random. -n 300 --relax 100 costs 300 "
            "single points and up to 100 relaxations. After a kill, the same command goes on from OUT.partial.",
        ),
    ] = None,
    calculator: Annotated[
        str, typer.Option(help="Of the energies: chgnet, or any ASE calculator as package.module:factory.")
    ] = "chgnet",
    workers: Annotated[int, typer.Option(help="Processes that relax; the result does not depend on it.")] = 1,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Draw each crystal in one go: one pass, no best of sixteen (which --raw never has), no steps "
            "downhill.",
        ),
    ] = False,
    refine: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps that each crystal takes downhill in the energy that the discriminator has learned, along what "
            "its template leaves free.  [default: 20; with --fast 0]",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of the run as JSON on stdout.")] = False,
) -> None:
    """Propose crystals of a chemical system: drawn, screened, without copies, ranked.

    Leaves a folder with the structures, candidates.csv (a row for every sample drawn, with its fate), run.json, and
    report.html to look at. With --relax also the relaxed structures, under the same names.
    """
    from crystalgraph.io.atomic import check_free, free_name
    from crystalgraph.screening.request import GenerationRequest

    if num is not None and raw is not None:
        raise InputError("--num and --raw exclude each other; --raw keeps every sample, --num only distinct good ones")
    if relax is not None:
        _check_relax(relax, raw, workers)
    chosen = _formats(formats)
    default_num = 100 if relax is None else DRAWN_PER_RELAXED * relax
    request = GenerationRequest.parse(
        system=system,
        formula=formula,
        ranges=ranges or [],
        space_group_number=space_group,
        max_atoms=max_atoms,
        num=raw if raw is not None else num if num is not None else default_num,
        raw=raw is not None,
        seed=seed,
        temperature=temperature,
        explore=explore,
        fast=fast,
        refine=refine,
    )
    slug = request.slug if relax is None else f"{request.slug}-relax{relax}"
    folder = out or free_name(Path("runs") / slug)
    check_free(folder)

    show = not (quiet or as_json)
    funnel = None
    if relax is not None:
        funnel = _prepare_funnel(request, relax, calculator, workers, folder, show=show)
    record, result = _work(request, model, device, folder, chosen, funnel, show=show)
    if as_json:
        import json

        print(json.dumps(record))
    elif not quiet:
        _report(result, folder, record)
    if not result.structures:
        # Something ran and its record is kept, but a script that waits for crystals must notice.
        raise typer.Exit(1)


def main() -> None:
    """Entry point of ``cg-generate``."""
    run(app)


def _check_relax(relax: int, raw: int | None, workers: int) -> None:
    if raw is not None:
        raise InputError("--relax and --raw exclude each other; relax a raw run with cg-evaluate RUN --relax K")
    if relax < 1:
        raise InputError(f"--relax {relax} relaxes nothing; give the most crystals to relax, 1 or more")
    if workers < 1:
        raise InputError(f"--workers {workers} is not a number of processes; give 1 or more")


def _prepare_funnel(
    request: GenerationRequest, limit: int, calculator: str, workers: int, folder: Path, *, show: bool
) -> Funnel:
    """All that can be refused is refused here, before anything is drawn."""
    from crystalgraph.screening.funnel import Funnel, FunnelSettings

    settings = FunnelSettings(calculator=calculator, limit=limit, seed=request.seed)
    with stage_bars(show=show) as progress:
        return Funnel.prepare(
            request.system,
            settings,
            workers=workers,
            partial=folder.with_name(f"{folder.name}.partial"),
            progress=progress,
        )


def _work(
    request: GenerationRequest,
    model_name: str,
    device: str,
    folder: Path,
    formats: list[str],
    funnel: Funnel | None,
    *,
    show: bool,
) -> tuple[dict[str, Any], RunResult]:
    """Load, generate, relax, write; the record of the run and what it found."""
    from dataclasses import asdict
    from time import perf_counter

    from crystalgraph.cli.device import usable_device
    from crystalgraph.io.provenance import versions
    from crystalgraph.models.bundle import load_model
    from crystalgraph.report.generation import write_generation_report
    from crystalgraph.runs.folder import write_run
    from crystalgraph.sampling.sampler import steps_downhill
    from crystalgraph.screening.composition import as_record
    from crystalgraph.screening.screen import COLUMNS
    from crystalgraph.screening.search import generate, with_relaxed

    start = perf_counter()
    model = load_model(model_name).to(usable_device(device))
    loaded = perf_counter()
    with _progress(request.num, show=show) as progress:
        result = generate(model, request, progress)
    seconds = {"load": loaded - start, **result.seconds}
    columns: tuple[str, ...] = COLUMNS
    relaxation: dict[str, Any] = {}
    outcomes: dict[int, dict[str, Any]] = {}
    if funnel is not None:
        from crystalgraph.screening.funnel import Outcome

        with stage_bars(show=show) as told:
            found = funnel.run(result.structures, told)
        result = with_relaxed(result, found)
        relaxation = {"relaxation": funnel.as_record(found)}
        seconds |= {"hull": funnel.hull_seconds, **{stage.name: stage.seconds for stage in found.stages}}
        outcomes = {s.draw: asdict(result.outcomes.get(s.draw, Outcome())) for s in result.samples}
        columns += tuple(asdict(Outcome()))
    record: dict[str, Any] = {
        "request": request.as_record(),
        "steps_downhill": steps_downhill(model, request.refine, fast=request.fast),
        "model": {"name": model.name, "sha256": model.checksum, "record": model.record},
        "composition": as_record(result.composition),
        "versions": versions(),
        "device": device,
        "formats": formats,
        "counts": result.counts,
        "shortfall": result.shortfall,
        "caveats": _caveats(request, model),
        **relaxation,
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()}
        | {"total": round(perf_counter() - start + (funnel.hull_seconds if funnel else 0), 3)},
    }
    write_run(
        folder,
        structures=result.structures,
        names=result.names,
        rows=[asdict(sample) | outcomes.get(sample.draw, {}) for sample in result.samples],
        columns=columns,
        record=record,
        formats=formats,
        relaxed=None if funnel is None else result.relaxed,
    )
    if funnel is not None:
        funnel.clear()
    write_generation_report(folder, record, result, None if funnel is None else funnel.hull)
    return record, result


def _formats(text: str) -> list[str]:
    from crystalgraph.runs.folder import FORMATS

    chosen = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise InputError(f"--format {unknown[0]!r} is not known; give any of {', '.join(FORMATS)}, separated by commas")
    return list(dict.fromkeys(chosen))


@contextmanager
def _progress(wanted: int, *, show: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on stderr, as the callback that moves it."""
    if not show:
        yield None
        return
    bar = progress_bar()
    task = bar.add_task("kept", total=wanted, state="")
    started = False

    def update(state: Progress) -> None:
        nonlocal started
        if not started:  # not before something was drawn: a request that is refused ends in one line
            bar.start()
            started = True
        lost = ", ".join(f"{count} {gate}" for gate, count in state.lost.items() if count)
        bar.update(task, completed=state.kept, state=f"{state.drawn} drawn" + (f"; lost {lost}" if lost else ""))

    try:
        yield update
    finally:
        if started:
            bar.stop()


def _caveats(request: GenerationRequest, model: Model) -> list[str]:
    """What a reader of the results must know."""
    from crystalgraph.chemistry.system import ChemicalSystem

    data = model.record.get("config", {}).get("data")
    if data is None:
        return []
    left_out = [data["system"], *data.get("holdout_systems", ())]
    if any(ChemicalSystem.parse(system).contains(request.system) for system in left_out):
        return []
    caveat = (
        f"model {model.name!r} learned from crystals of {request.system} itself (left out: {', '.join(left_out)}): "
        "crystals it proposes here may be ones it has seen"
    )
    return [caveat]


def _report(result: RunResult, folder: Path, record: dict[str, Any]) -> None:
    """The funnel as a table, and where the crystals are."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "samples", "")
    table.columns[1].justify = "right"
    for name, count in result.counts.items():
        if name in GATE_MEANING:
            if count:
                table.add_row(f"lost: {name}", str(count), GATE_MEANING[name])
        else:
            table.add_row(name, str(count), "", style="bold")
    for stage in record.get("relaxation", {}).get("stages", []):
        if stage["lost"]:
            table.add_row(f"lost: {stage['name']}", str(stage["lost"]), STAGE_MEANING[stage["name"]])
    if "relaxation" in record:
        table.add_row("relaxed", str(len(result.relaxed)), _lowest(result), style="bold")
    console = Console()
    console.print(str(result.request), markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for remark in filter(None, (result.shortfall, *record["caveats"])):
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {folder}", markup=False, soft_wrap=True)


def _lowest(result: RunResult) -> str:
    """The energies of the relaxed crystals in a few words."""
    from crystalgraph.relax.hull import METASTABLE
    from crystalgraph.screening.funnel import RELAXED

    energies = [o.e_above_hull for o in result.outcomes.values() if o.relax_fate == RELAXED]
    if not energies:
        return ""
    low = sum(energy <= METASTABLE for energy in energies)
    return f"lowest {min(energies):+.3f} eV/atom above the hull; {low} at most {METASTABLE:g}"
