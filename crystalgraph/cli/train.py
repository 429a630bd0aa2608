"""``cg-train``: train a generator and a discriminator as a config says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystalgraph.cli.errors import run
from crystalgraph.cli.progress import progress_bar
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from crystalgraph.runs.train import Watcher

#: Steps from one line to the next, at most, where nothing can be redrawn.
LINE_EVERY = 250

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
) -> None:
    """Train a generator and a discriminator on every chemistry of the corpus but one system.

    The run folder holds config, log, curves, checkpoint, figures on held-out templates, and the finished model, which
    cg-generate --model takes.
    """
    from crystalgraph.chemistry.system import ChemicalSystem
    from crystalgraph.training.config import read_config, system_config

    if (config is None) == (system is None):
        raise InputError("name either a config, such as configs/nbo.toml, or a system, such as --system V-O")
    if config is not None:
        text, name = read_config(config), config.stem
    else:
        name = str(ChemicalSystem.parse(str(system)))
        text = system_config(name)
    from crystalgraph.models.device import usable_device
    from crystalgraph.runs.train import train as train_models

    folder = out or Path("runs") / f"train-{name}"
    with _watcher(show=not quiet) as watcher:
        model = train_models(text, folder, resume=resume, device=usable_device(device), watcher=watcher)
    print(model)


def main() -> None:
    """Entry point of ``cg-train``."""
    run(app)


class Bar:
    """Draws the progress of a training run: steps, ETA, the latest values.

    Where nothing can be redrawn (a pipe, a log file) it writes a line now and then instead.

    Args:
        progress: a rich progress bar, not started yet: a config that is refused ends in one line.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("preparing", total=None, state="")
        self._name, self._validity, self._started = "", "", False

    def phase(self, name: str, steps: int, done: int) -> None:
        """Begin a bar for the phase."""
        self._start()
        self._name = name
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=steps, completed=done, state="")

    def step(self, values: dict[str, float]) -> None:
        """Move the bar."""
        if "validity" in values:
            self._validity = f"  strictly valid {values['validity']:.2f}"
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "validity")
        self._progress.update(self._task, advance=1, state=shown + self._validity)
        done = self._progress.tasks[-1].completed
        if ("validity" in values or done % LINE_EVERY == 0) and not self._progress.console.is_terminal:
            self.message(f"{self._name} {done:.0f}: {shown}{self._validity}")

    def message(self, text: str) -> None:
        """Write a line above the bar."""
        self._start()
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._started:
            self._progress.stop()

    def _start(self) -> None:
        if not self._started:
            self._progress.start()
            self._started = True


@contextmanager
def _watcher(*, show: bool) -> Iterator[Watcher | None]:
    """A progress bar on stderr."""
    if not show:
        yield None
        return
    bar = Bar(progress_bar())
    try:
        yield bar
    finally:
        bar.stop()
