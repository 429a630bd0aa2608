"""``cg-generate``: from a chemical system to a folder of ranked crystals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.progress import progress_bar
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from crystalgraph.models.bundle import Model
    from crystalgraph.sampling.generate import Progress, RunResult
    from crystalgraph.sampling.request import GenerationRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

GATE_MEANING = {
    "strict": "atoms too close, or a density no solid has",
    "composition": "not what was asked for, or unsound chemistry",
    "symmetry": "not the asked space group or a supergroup",
    "copy": "equal to a crystal kept before",
    "surplus": "drawn after enough were kept",
}


EXAMPLES = (
    "cg-generate -n 100",
    "cg-generate --formula Nb2O5 --space-group 15 -n 20 --out runs/Nb2O5-sg15",
    "cg-generate --raw 1000 --seed 2 --format extxyz",
)


@app.command(epilog="\n\n".join(("Examples:", *EXAMPLES)))
def generate(
    num: Annotated[int | None, typer.Option("--num", "-n", help="Distinct crystals to keep.  [default: 100]")] = None,
    system: Annotated[
        str | None, typer.Option(help="Chemical system; every crystal has all its elements.  [default: Nb-O]")
    ] = None,
    formula: Annotated[str | None, typer.Option(help="Exact formula, for instance Nb2O5.")] = None,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="Bounds such as O/Nb=1.5:2.5 (ratio) or O=0.6:0.75 (fraction).")
    ] = None,
    space_group: Annotated[int | None, typer.Option("--space-group", help="Space group number, 1 to 230.")] = None,
    max_atoms: Annotated[int, typer.Option("--max-atoms", help="Most atoms in the primitive cell.")] = 20,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or the folder of one.")] = "nbo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; it must not exist.  [default: runs/ and what was asked for]")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Any of cif, extxyz, poscar, separated by commas.")
    ] = "cif,extxyz",
    raw: Annotated[
        int | None, typer.Option("--raw", help="Instead of --num: exactly so many samples, nothing dropped.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="Neither progress nor table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of the run as JSON on stdout.")] = False,
) -> None:
    """Propose crystals of a chemical system: drawn, screened, without copies, ranked.

    Leaves a folder with the structures, candidates.csv (a row for every sample drawn, with its fate) and run.json.
    """
    from crystalgraph.io.run_folder import check_free
    from crystalgraph.sampling.request import GenerationRequest

    if num is not None and raw is not None:
        raise InputError("--num and --raw exclude each other; --raw keeps every sample, --num only distinct good ones")
    chosen = _formats(formats)
    request = GenerationRequest.parse(
        system=system,
        formula=formula,
        ranges=ranges or [],
        space_group_number=space_group,
        max_atoms=max_atoms,
        num=raw if raw is not None else num if num is not None else 100,
        raw=raw is not None,
        seed=seed,
    )
    folder = out or _free_name(Path("runs") / request.slug)
    check_free(folder)

    record, result = _work(request, model, device, folder, chosen, show=not (quiet or as_json))
    if as_json:
        import json

        print(json.dumps(record))
    elif not quiet:
        _report(result, folder, record["caveats"])
    if not result.structures:
        # Something ran and its record is kept, but a script that waits for crystals must notice.
        raise typer.Exit(1)


def main() -> None:
    """Entry point of ``cg-generate``."""
    run(app)


def _work(
    request: GenerationRequest, model_name: str, device: str, folder: Path, formats: list[str], *, show: bool
) -> tuple[dict[str, Any], RunResult]:
    """Load, generate, write; the record of the run and what it found."""
    from dataclasses import asdict
    from time import perf_counter

    from crystalgraph.io.run_folder import versions, write_run
    from crystalgraph.models.bundle import load_model
    from crystalgraph.sampling.composition import as_record
    from crystalgraph.sampling.generate import generate
    from crystalgraph.sampling.screen import COLUMNS

    start = perf_counter()
    model = load_model(model_name).to(_device(device))
    loaded = perf_counter()
    with _progress(request.num, show=show) as progress:
        result = generate(model, request, progress)
    record: dict[str, Any] = {
        "request": request.as_record(),
        "model": {"name": model.name, "sha256": model.checksum, "record": model.record},
        "composition": as_record(result.composition),
        "versions": versions(),
        "device": device,
        "formats": formats,
        "counts": result.counts,
        "shortfall": result.shortfall,
        "caveats": _caveats(request, model),
        "seconds": {
            "load": round(loaded - start, 3),
            **{stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
            "total": round(perf_counter() - start, 3),
        },
    }
    write_run(
        folder,
        structures=result.structures,
        names=result.names,
        rows=[asdict(sample) for sample in result.samples],
        columns=COLUMNS,
        record=record,
        formats=formats,
    )
    return record, result


def _formats(text: str) -> list[str]:
    from crystalgraph.io.run_folder import FORMATS

    chosen = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise InputError(f"--format {unknown[0]!r} is not known; give any of {', '.join(FORMATS)}, separated by commas")
    return list(dict.fromkeys(chosen))


def _device(name: str) -> str:
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        kinds = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        raise InputError(f"--device {name!r} is not usable here; available are {', '.join(kinds)}") from None
    return name


def _free_name(folder: Path) -> Path:
    """The folder, or with the first number that makes it new: a default must not be in the user's way."""
    number, free = 1, folder
    while free.exists() or free.is_symlink():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


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

    left_out = model.record.get("system_left_out")
    if left_out is None or ChemicalSystem.parse(left_out).contains(request.system):
        return []
    caveat = (
        f"model {model.name!r} learned from crystals of {request.system} itself (only {left_out} was left out): "
        "crystals it proposes here may be ones it has seen"
    )
    return [caveat]


def _report(result: RunResult, folder: Path, caveats: list[str]) -> None:
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
    console = Console()
    console.print(str(result.request), markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for remark in filter(None, (result.shortfall, *caveats)):
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {folder}", markup=False, soft_wrap=True)
