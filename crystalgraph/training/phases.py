"""How a training run goes on: its phases one after another, each with a log and checkpoints to resume from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from torch import Tensor, nn

from crystalgraph.io.atomic import write_text
from crystalgraph.progress import Progress
from crystalgraph.training.checkpoint import load_checkpoint, module_tensors, restore_module, save_checkpoint

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: Steps averaged in one row of the log.
LOG_EVERY = 25

LOGGER = logging.getLogger("crystalgraph.training")
"""Hears what is worth a line; the command prints it."""

LOG_FILE, CHECKPOINT_FILE = "log.csv", "checkpoint.safetensors"


class Phase(Protocol):
    """A part of the training that takes steps and can be stopped and restored."""

    name: str
    steps: int

    def step(self, step: int) -> dict[str, float]:
        """Take a step, return what to log."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""


class Log:
    """Rows of means over ``LOG_EVERY`` steps, kept in each checkpoint and written as CSV behind it.

    Where TensorBoard is installed (extra ``log``) the same numbers go into event files beside the CSV.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._board = _summary_writer(path.parent / "tensorboard")
        self.rows: list[dict[str, Any]] = []
        self._recent: dict[str, list[float]] = {}
        self._n = 0
        self._last = "", 0

    def add(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Take the values of one step."""
        for name, value in values.items():
            self._recent.setdefault(name, []).append(value)
        self._n += 1
        self._last = phase, step + 1
        if self._n == LOG_EVERY:
            self._close_row()

    def _close_row(self) -> None:
        if self._n:
            means = {name: sum(recent) / len(recent) for name, recent in self._recent.items()}
            phase, step = self._last
            self.rows.append({"phase": phase, "step": step} | means)
            self._recent, self._n = {}, 0
            if self._board is not None:
                for name, value in means.items():
                    self._board.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> list[dict[str, Any]]:
        """All rows, the unfinished one too."""
        self._close_row()
        return self.rows

    def write(self) -> None:
        """Write the rows, atomically."""
        write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False))


class PhaseRunner:
    """Runs one phase after another, with a log and checkpoints; begins where the last checkpoint of the folder is.

    Args:
        out: run folder.
        every: steps from one checkpoint to the next.
        progress: called at every step.
        started: when the run began, ``time.monotonic()``.
        device: what it is counted under, where a run goes on elsewhere.
    """

    def __init__(self, out: Path, every: int, progress: Progress | None, started: float, device: str = "cpu") -> None:
        self._path, self._every, self._progress, self._started = out / CHECKPOINT_FILE, every, progress, started
        self._device = device
        self.log = Log(out / LOG_FILE)
        self._next = 0
        self._begin_phase, self._begin_step = 0, 0
        self._earlier: dict[str, float] = {}
        self._tensors: dict[str, Tensor] = {}
        if self._path.is_file():
            self._tensors, record = load_checkpoint(self._path)
            self._begin_phase, self._begin_step, self._earlier = record["phase"], record["step"], record["seconds"]
            self.log.rows = record["log"]
            self.log.write()  # the run may have been killed before it got so far
            LOGGER.info("going on from phase %d, step %d", self._begin_phase + 1, self._begin_step)

    @property
    def seconds(self) -> dict[str, float]:
        """Of the whole run, those before a kill too, by device."""
        here = self._earlier.get(self._device, 0.0) + time.monotonic() - self._started
        return self._earlier | {self._device: here}

    def run(
        self,
        phase: Phase,
        finished: Mapping[str, nn.Module] | None = None,
        validity: Callable[[], float] | None = None,
    ) -> bool:
        """Run a phase to its end.

        Args:
            phase: the next one.
            finished: by name, what earlier phases have made and this one does not hold; kept in its checkpoints.
            validity: measured at each checkpoint, for the log.

        Returns:
            False if the checkpoint is of a later phase, and this one was passed over.
        """
        number, self._next = self._next, self._next + 1
        if number < self._begin_phase:
            return False
        begin = 0
        if number == self._begin_phase and self._tensors:
            phase.restore(self._tensors)
            for name, module in (finished or {}).items():
                restore_module(name, module, self._tensors)
            begin = self._begin_step
        valid = ""
        self._report(phase, begin, "")
        for step in range(begin, phase.steps):
            values = phase.step(step)
            due = (step + 1) % self._every == 0 or step + 1 == phase.steps
            if due and validity is not None:
                values["validity"] = validity()
                valid = f"  strictly valid {values['validity']:.2f}"
            self.log.add(phase.name, step, values)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "validity")
            self._report(phase, step + 1, shown + valid)
            if due:
                tensors = phase.tensors()
                for name, module in (finished or {}).items():
                    tensors |= module_tensors(name, module)
                record = {"phase": number, "step": step + 1, "seconds": self.seconds, "log": self.log.close()}
                save_checkpoint(self._path, tensors, record)
                self.log.write()
        return True

    def _report(self, phase: Phase, done: int, state: str) -> None:
        if self._progress is not None:
            self._progress(phase.name, done, phase.steps, state)


def _summary_writer(folder: Path) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
