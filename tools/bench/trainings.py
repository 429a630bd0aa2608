"""Trainings that a benchmark needs, which are not repeated once they are done."""

from __future__ import annotations

import logging
from pathlib import Path

from crystalgraph.runs.train import train
from crystalgraph.training.phases import LOGGER
from tools.bench.progress_lines import ProgressLines


def train_once(config: str, run: Path) -> None:
    """Train by a config's text unless the run folder holds a model; what was cut off goes on."""
    if (run / "model").is_dir():
        return
    logging.basicConfig(format="%(message)s")
    LOGGER.setLevel(logging.INFO)
    train(config, run, resume=run.is_dir(), progress=ProgressLines())
