"""``cg-train``: train a generator and a discriminator as a config says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.options import Version
from crystalgraph.cli.progress import stage_bars
from crystalgraph.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")


EXAMPLES = (
    "cg-train configs/nbo.toml",
    "cg-train --system V-O --out runs/V-O",
    "cg-train configs/nbo.toml --out runs/nbo --resume",
)


@app.command(epilog="\n\n".join(("Examples:", *EXAMPLES)))
def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file, for instance configs/nbo.toml.", show_default=False)
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Instead of a config: train for this system, with the standard settings.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/train-NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option(help="Where the networks learn: cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Train a generator and a discriminator on every chemistry of the corpus but one system.

    The run folder holds config, log, curves, checkpoint, figures on held-out templates, and the finished model, which
    cg-generate --model takes.
    """
    if (config is None) == (system is None):
        raise InputError("name either a config, such as configs/nbo.toml, or a system, such as --system V-O")

    from crystalgraph.chemistry.system import ChemicalSystem
    from crystalgraph.runs.train import train as run_training

    name = str(ChemicalSystem.parse(str(system))) if config is None else config.stem
    folder = out or Path("runs") / f"train-{name}"
    with stage_bars(show=not quiet) as progress:
        run = run_training(config or name, folder, resume=resume, device=device, progress=progress)
    print(run.folder)


def main() -> None:
    """Entry point of ``cg-train``."""
    run(app, go_on="the last checkpoint is kept: the same command with --resume goes on from it")
