"""A whole training run: data, warm start, adversarial phase, log, checkpoints, curves and the finished model."""

from __future__ import annotations

import hashlib
import io
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from crystalgraph import __version__
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.config import Config, parse_config
from crystalgraph.crystals import Crystals
from crystalgraph.errors import InputError
from crystalgraph.evaluation.matching import ReferenceIndex
from crystalgraph.evaluation.validity import strict_validity
from crystalgraph.io.atomic import write_bytes, write_json, write_text
from crystalgraph.io.datasets import Dataset, load_dataset
from crystalgraph.models.bundle import Model, save_model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator, Sites
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.adversarial import Adversarial
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import load_checkpoint, save_checkpoint
from crystalgraph.training.corpus import Corpus, TemplateSet, prepare
from crystalgraph.training.heldout import N_DRAWS, measure_heldout
from crystalgraph.training.pool import template_pool
from crystalgraph.training.ranking import Ranking
from crystalgraph.training.redecorate import Redecorated, redecorate
from crystalgraph.training.warm_start import WarmStart

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: Steps averaged in one row of the log.
LOG_EVERY = 25

#: Held-out templates filled for the live validity.
N_WATCHED = 96

CONFIG_FILE, LOG_FILE, CHECKPOINT_FILE, CURVES_FILE, HELDOUT_FILE, MODEL_FOLDER = (
    "config.toml",
    "log.csv",
    "checkpoint.safetensors",
    "curves.png",
    "heldout.json",
    "model",
)


class Phase(Protocol):
    """A part of the training that takes steps and can be stopped and restored."""

    name: str
    steps: int
    average: Generator
    scorer: Discriminator

    def step(self, step: int) -> dict[str, float]:
        """Take a step, return what to log."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""


class Watcher(Protocol):
    """Sees the progress of a run; the command line draws it."""

    def phase(self, name: str, steps: int, done: int) -> None:
        """A phase begins, some steps of it done already."""

    def step(self, values: dict[str, float]) -> None:
        """A step was taken."""

    def message(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """A watcher that shows nothing."""

    def phase(self, name: str, steps: int, done: int) -> None:
        """Ignore."""

    def step(self, values: dict[str, float]) -> None:
        """Ignore."""

    def message(self, text: str) -> None:
        """Ignore."""


class Log:
    """Rows of means over ``LOG_EVERY`` steps, written as CSV with each checkpoint.

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

    def write(self) -> None:
        """Write all rows, the unfinished one too, atomically."""
        self._close_row()
        write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False))

    def read(self) -> None:
        """Take the rows of an earlier part of the run."""
        if self.path.is_file():
            frame = pd.read_csv(self.path, float_precision="round_trip")
            self.rows = [{str(k): v for k, v in row.items() if v == v} for row in frame.to_dict("records")]


def _summary_writer(folder: Path) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def train(text: str, out: Path, *, resume: bool = False, watcher: Watcher | None = None) -> Path:
    """Train as a config says, and measure the result on the held-out templates.

    Args:
        text: of the config, TOML, see ``crystalgraph.config``.
        out: run folder; must not exist, or hold an unfinished run of the same config when ``resume`` is set.
        resume: go on from the last checkpoint.
        watcher: sees the progress.

    Returns:
        The folder of the finished model.

    Raises:
        InputError: if the config is wrong, or the folder does not fit.
    """
    config = parse_config(text, "config")
    watcher = watcher or Silent()
    if resume and not (out / CONFIG_FILE).is_file():
        raise InputError(f"nothing to resume in {out}: it holds no {CONFIG_FILE}; leave --resume out to start there")
    if resume and (out / CONFIG_FILE).read_text() != text:
        raise InputError(f"{out} was started with another config; resume with {out / CONFIG_FILE}")
    if not resume and out.exists():
        raise InputError(f"{out} exists already; go on with --resume, or choose another --out")
    dataset = load_dataset(config.data.dataset)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG_FILE, text)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # the phases share their work out to threads of their own
    torch.use_deterministic_algorithms(True)
    try:
        return _train(config, dataset, out, watcher)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _train(config: Config, dataset: Dataset, out: Path, watcher: Watcher) -> Path:
    started = time.monotonic()
    watcher.message(f"finding the symmetry of {len(dataset.crystals):,} crystals")
    corpus = prepare(dataset, config.data, n_jobs=config.threads)
    watcher.message(
        f"{len(corpus.training):,} crystals to learn from, {len(corpus.heldout):,} held out; left out: "
        + ", ".join(f"{n:,} {reason}" for reason, n in corpus.left_out.items())
    )
    pool = template_pool(corpus.training, n_jobs=config.threads)
    torch.manual_seed(config.seed)
    generator, discriminator = _networks(config)
    generator.element_volume.copy_(corpus.element_volume)
    decorated = _redecorated(config, dataset, corpus) if config.redecorated else None
    if decorated is not None:
        corpus = replace(corpus, left_out=corpus.left_out | decorated.left_out)
        watcher.message(f"{len(decorated.data):,} re-decorated prototypes")

    def in_form(data: TemplateSet) -> TemplateSet:
        return data.without_symmetry() if config.generator.form == "raw" else data

    training, watched = in_form(corpus.training), in_form(corpus.heldout)

    log, state_path = Log(out / LOG_FILE), out / CHECKPOINT_FILE
    begin_phase, begin_step, earlier = 0, 0, 0.0
    tensors: dict[str, Tensor] = {}
    if state_path.is_file():
        tensors, record = load_checkpoint(state_path)
        begin_phase, begin_step, earlier = record["phase"], record["step"], record["seconds"]
        log.read()
        watcher.message(f"going on from phase {begin_phase + 1}, step {begin_step}")

    makers: list[Callable[[Generator, Discriminator], Phase]] = [
        lambda g, d: WarmStart(g, d, training, config.warm_start, config.seed, config.threads)
    ]
    if config.redecorated is not None and decorated is not None:
        second, data = config.redecorated, in_form(decorated.data)
        makers.append(lambda g, d: WarmStart(g, d, data, second, config.seed + 1, config.threads, "re-decorated"))
    if config.adversarial.steps:
        makers.append(lambda g, d: Adversarial(g, d, training, config.adversarial, config.seed))
    if config.ranking.steps:
        makers.append(lambda g, d: Ranking(g, d, training, config.ranking, config.seed, config.threads))
    for index, make in enumerate(makers):
        phase = make(generator, discriminator)
        begin = 0
        if index < begin_phase:
            continue
        if index == begin_phase and tensors:
            phase.restore(tensors)
            begin = begin_step
        watcher.phase(phase.name, phase.steps, begin)
        for step in range(begin, phase.steps):
            values = phase.step(step)
            due = (step + 1) % config.checkpoint_every == 0 or step + 1 == phase.steps
            if due:
                values["validity"] = _validity(phase.average, watched, config.seed)
            log.add(phase.name, step, values)
            watcher.step(values)
            if due:
                log.write()
                save_checkpoint(
                    state_path,
                    phase.tensors(),
                    {"phase": index, "step": step + 1, "seconds": earlier + time.monotonic() - started},
                )
        generator, discriminator = phase.average, phase.scorer
        seconds = earlier + time.monotonic() - started
        folder = out / (MODEL_FOLDER if index + 1 == len(makers) else phase.name.replace(" ", "-"))
        model = _bundle(config, dataset, corpus, pool, generator, discriminator, seconds)
        save_model(model, folder)
        watcher.message(f"{phase.name} done after {seconds / 60:.0f} minutes; model in {folder}")
    _draw_curves(log, out / CURVES_FILE)
    figures = measure_heldout(model, watched, config.seed)
    write_json(out / HELDOUT_FILE, figures)
    if figures["templates"]:
        first, any_draw = (figures[f"match_{n}"]["value"] for n in (1, N_DRAWS))
        watcher.message(
            f"{figures['templates']} held-out templates: strictly valid {figures['strict']:.2f}, equal to the real "
            f"crystal {first:.2f} with one draw, {any_draw:.2f} with {N_DRAWS}"
        )
    return out / MODEL_FOLDER


def _redecorated(config: Config, dataset: Dataset, corpus: Corpus) -> Redecorated:
    """Prototypes with the elements of the system, none equal to a known phase of it."""
    system, crystals = ChemicalSystem.parse(config.data.system), dataset.crystals
    known = [crystals[is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)]]
    if config.data.known is not None:
        known.append(load_dataset(config.data.known).crystals)
    index = ReferenceIndex.from_crystals(Crystals.concatenate(known))
    found = redecorate(corpus.training, list(system.atomic_numbers), index)
    return replace(found, left_out={f"re-decorated: {reason}": n for reason, n in found.left_out.items()})


def _generator_arguments(config: Config) -> dict[str, int]:
    chosen = config.generator
    return {
        "width": chosen.width,
        "edge_width": chosen.edge_width,
        "n_stages": chosen.n_stages if chosen.form == "feedback" else 0,
        "n_blocks": chosen.n_blocks,
        "n_neighbors": chosen.n_neighbors,
        "n_passes": chosen.n_passes if chosen.form == "feedback" else 1,
    }


def _discriminator_arguments(config: Config) -> dict[str, int]:
    return {"width": config.adversarial.width}


def _networks(config: Config) -> tuple[Generator, Discriminator]:
    return Generator(**_generator_arguments(config)), Discriminator(**_discriminator_arguments(config))


@torch.no_grad()
def _validity(generator: Generator, heldout: TemplateSet, seed: int) -> float:
    """Share of a fixed selection of held-out templates that are filled strictly validly."""
    if len(heldout) == 0:
        return float("nan")
    chosen = torch.randperm(len(heldout), generator=step_rng(seed, 9))[:N_WATCHED]
    sites = Sites.of(heldout.templates[chosen], dtype=torch.float32, device=generator.radii.device)
    was_training = generator.training
    generator.eval()
    noise = generator.noise(sites, step_rng(seed, 10))
    crystals = generator.passes(sites, noise, generator.n_passes)[-1].crystals
    generator.train(was_training)
    return strict_validity(crystals).valid.double().mean().item()


def _draw_curves(log: Log, path: Path) -> None:
    """Loss and validity against the step, as PNG."""
    from matplotlib.figure import Figure

    frame = pd.DataFrame(log.rows)
    x = range(LOG_EVERY, LOG_EVERY * len(frame) + 1, LOG_EVERY)
    shown = [name for name in ("distance", "volume", "shape", "repulsion") if name in frame]
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for name in shown:
        upper.plot(x, frame[name], label=name, linewidth=1.2)
    upper.set(ylabel="loss terms", yscale="log")
    upper.legend(frameon=False, ncols=4)
    if "validity" in frame:
        known = frame["validity"].notna()
        lower.plot([v for v, k in zip(x, known, strict=True) if k], frame["validity"][known], "o-", markersize=3)
    lower.set(xlabel="step", ylabel="strictly valid, held-out templates", ylim=(0, 1.02))
    later = frame["phase"].ne(frame["phase"].iloc[0])
    if later.any():
        boundary = LOG_EVERY * int((~later).sum())
        for axis in (upper, lower):
            axis.axvline(boundary, color="grey", linestyle=":", linewidth=1)
        upper.text(boundary, 0.97, " later phases", transform=upper.get_xaxis_transform(), va="top", color="grey")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(path, buffer.getvalue())


def _bundle(
    config: Config,
    dataset: Dataset,
    corpus: Corpus,
    pool: tuple[Templates, Tensor],
    generator: Generator,
    discriminator: Discriminator,
    seconds: float,
) -> Model:
    held_out = sorted(set(corpus.heldout.prototypes))
    record = {
        "name": config.name,
        "command": "cg-train " + shlex.join(sys.argv[1:]),
        "config": config.model_dump(),
        "generator": _generator_arguments(config),
        "discriminator": _discriminator_arguments(config),
        "left_out": corpus.left_out,
        "n_training": len(corpus.training),
        "n_held_out": len(corpus.heldout),
        "held_out_prototypes": hashlib.sha256("\n".join(held_out).encode()).hexdigest(),
        "dataset": {"name": dataset.name, "sha256": dataset.card["sha256"]},
        "minutes": round(seconds / 60, 1),
        "threads": config.threads,
        "versions": {
            "crystalgraph": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torch-geometric", "moyopy", "numpy")},
        },
    }
    return Model(
        name=config.name,
        generator=generator.eval(),
        discriminator=discriminator.eval(),
        pool=pool[0],
        pool_counts=pool[1],
        record=record,
        checksum="",
    )
