"""Trainings that a benchmark needs, which are not repeated once they are done."""

from __future__ import annotations

from pathlib import Path

from crystalgraph.runs.train import Silent, train


class Printer(Silent):
    """Prints what a training run has to say, and its validity now and then."""

    def step(self, values: dict[str, float]) -> None:
        """Print the steps at which the validity was measured."""
        if "validity" in values:
            self.message(f"distance {values['distance']:.3f}, strictly valid {values['validity']:.2f}")

    def message(self, text: str) -> None:
        """Print."""
        print(text, flush=True)


def train_once(config: str, run: Path) -> None:
    """Train by a config's text unless the run folder holds a model; what was cut off goes on."""
    if not (run / "model").is_dir():
        train(config, run, resume=run.is_dir(), watcher=Printer())
