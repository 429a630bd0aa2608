"""A whole training run: data, warm start, adversarial phase, log, checkpoints, curves and the finished model."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pandas as pd
import torch
from dask.system import CPU_COUNT

from crystalgraph import __version__
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import new_folder, write_json, write_text
from crystalgraph.io.claim import claimed
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model, save_model
from crystalgraph.models.device import usable_device
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.models.sites import Sites
from crystalgraph.progress import Progress
from crystalgraph.relax.potentials import potential_identity
from crystalgraph.report.curves import draw_curves
from crystalgraph.runs.alone import one_thread
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.adversarial import Adversarial
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import load_checkpoint
from crystalgraph.training.config import Config, config_text, parse_config
from crystalgraph.training.corpus import Corpus, held_out_checksum, prepare, systems_left_out
from crystalgraph.training.energies import Energies
from crystalgraph.training.heldout import N_DRAWS, measure_heldout
from crystalgraph.training.labels import Labels
from crystalgraph.training.phases import CHECKPOINT_FILE, LOG_EVERY, LOGGER, Phase, PhaseRunner
from crystalgraph.training.pool import template_pool
from crystalgraph.training.prior import PriorTraining
from crystalgraph.training.redecorate import Redecorated, redecorate
from crystalgraph.training.warm_start import WarmStart

#: Held-out templates filled for the live validity.
N_WATCHED = 96

CONFIG_FILE, CURVES_FILE, HELDOUT_FILE, MODEL_FOLDER = "config.toml", "curves.png", "heldout.json", "model"


class CrystalPhase(Phase, Protocol):
    """A phase that trains what makes or scores crystals."""

    average: Generator
    scorer: Discriminator


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training.

    Attributes:
        model: what `crystalgraph.generate` takes.
        folder: of the finished model; None where nothing was kept.
        heldout: how it fills templates that it never saw, see `crystalgraph.training.heldout.measure_heldout`.
        log: rows of means over some steps.
    """

    model: Model
    folder: Path | None
    heldout: dict[str, Any]
    log: list[dict[str, Any]]

    def to_dataframe(self) -> pd.DataFrame:
        """The log."""
        return pd.DataFrame(self.log)


def train(
    config: str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainingRun:
    """Train as a config says, and measure the result on the held-out templates.

    Args:
        config: a TOML file, its text (more than one line), or a chemical system such as "V-O", for which the standard
            settings are taken; see `crystalgraph.training.config`.
        out: run folder; must not exist, or hold an unfinished run of the same config when ``resume`` is set. None
            keeps nothing but the model in memory.
        resume: go on from the last checkpoint, which may have been written on another device.
        device: where generator and discriminators learn; the same seed gives the same result on "cpu" only.
        progress: called at every step.

    Returns:
        The finished model and how it did.

    Raises:
        InputError: if the config is wrong, or the folder does not fit.
    """
    text, device = config_text(config), usable_device(device)
    parsed = parse_config(text, "config" if "\n" in str(config) else str(config))
    if out is None:
        with TemporaryDirectory(prefix="crystalgraph-") as folder:
            return replace(_run(parsed, text, Path(folder) / "run", device, progress), folder=None)
    out = Path(out)
    with claimed(out):
        if resume and not (out / CONFIG_FILE).is_file():
            raise InputError(
                f"nothing to resume in {out}: it holds no {CONFIG_FILE}; leave --resume out to start there"
            )
        if resume and (out / CONFIG_FILE).read_bytes() != text.encode():
            raise InputError(f"{out} was started with another config; resume with {out / CONFIG_FILE}")
        if resume and (out / CHECKPOINT_FILE).is_file():
            load_checkpoint(out / CHECKPOINT_FILE)  # one that is damaged is refused before any work
        if not resume and os.path.lexists(out):
            raise InputError(f"{out} exists already; go on with --resume, or choose another --out")
        return _run(parsed, text, out, device, progress)


def _run(config: Config, text: str, out: Path, device: str, progress: Progress | None) -> TrainingRun:
    if config.energies.systems:
        potential_identity(config.energies.calculator)
    dataset, start = load_dataset(config.data.dataset), None
    if config.start is not None:
        config, start = _start(config, dataset)
    if not out.exists():
        with new_folder(out) as folder:  # whole from its first moment, so that it can always be gone on with
            write_text(folder / CONFIG_FILE, text)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(device == "cpu")
    try:
        with one_thread():  # the phases share their work out to threads of their own
            return _train(config, dataset, start, out, device, progress)
    finally:
        torch.use_deterministic_algorithms(deterministic)


def _train(
    config: Config, dataset: CrystalTable, start: Model | None, out: Path, device: str, progress: Progress | None
) -> TrainingRun:
    started = time.monotonic()
    LOGGER.info("finding the symmetry of %s crystals", f"{len(dataset):,}")
    with Workers(CPU_COUNT) as workers:
        corpus = prepare(dataset, config.data, workers=workers)
        LOGGER.info(
            "%s crystals to learn from, %s held out; left out: %s",
            f"{len(corpus.training):,}",
            f"{len(corpus.heldout):,}",
            reasons := ", ".join(f"{n:,} {reason}" for reason, n in corpus.left_out.items()),
        )
        if not len(corpus.training):
            raise InputError(f"no crystal of {config.data.dataset!r} is left to learn from; left out: {reasons}")
        pool = template_pool(corpus.training, workers=workers) if start is None else start.pool
    library = PrototypeLibrary(corpus.training)
    torch.manual_seed(config.seed)
    generator, discriminator, prior = _networks(config)
    if start is not None:
        generator, discriminator, prior = start.generator, start.discriminator, start.prior
    wide = Discriminator(
        width=config.energies.width,
        n_layers=config.energies.n_layers,
        cutoff=config.energies.cutoff,
        max_neighbors=None,
    )
    if start is None:
        generator.element_volume.copy_(corpus.element_volume)
    for network in (generator, discriminator, wide):
        network.to(device)
    threads = config.threads if device == "cpu" else 1  # a GPU takes the whole batch at once
    decorated = _redecorated(config, dataset, corpus) if config.redecorated else None
    if decorated is not None:
        corpus = replace(corpus, left_out=corpus.left_out | decorated.left_out)
        LOGGER.info("%s re-decorated prototypes", f"{len(decorated.data):,}")

    def in_form(data: ParametrisedTemplates) -> ParametrisedTemplates:
        return data.without_symmetry() if config.generator.form == "raw" else data

    training, watched = in_form(corpus.training), in_form(corpus.heldout)

    place = device if device == "cpu" else torch.cuda.get_device_name(device)
    runner = PhaseRunner(out, config.checkpoint_every, progress, started, place)
    if config.prior.steps and start is None:
        learned = PriorTraining(prior, corpus.training.templates, pool, config.prior, config.seed, config.threads)
        runner.run(learned)
        prior = learned.average
    makers: list[Callable[[Generator, Discriminator], CrystalPhase]] = []
    if start is None:
        makers.append(lambda g, d: WarmStart(g, d, training, config.warm_start, config.seed, threads))
    if config.redecorated is not None and decorated is not None:
        second, data = config.redecorated, in_form(decorated.data)
        makers.append(lambda g, d: WarmStart(g, d, data, second, config.seed + 1, threads, "re-decorated"))
    if config.adversarial.steps and start is None:
        makers.append(lambda g, d: Adversarial(g, d, training, config.adversarial, config.seed))

    def bundle(*, knows_energies: bool = False) -> Model:
        made = _bundle(config, dataset, corpus, pool, library, generator, discriminator, prior, runner.seconds)
        if start is not None:
            made.record["start"] = {"name": start.name, "sha256": start.checksum, "record": start.record}
        if knows_energies:
            made.record["calculator"] = potential_identity(config.energies.calculator)
        return made

    def save(name: str, folder: Path, model: Model) -> None:
        save_model(model, folder)
        LOGGER.info("%s done after %.0f minutes; model in %s", name, sum(runner.seconds.values()) / 60, folder)

    for number, make in enumerate(makers, start=1):
        phase = make(generator, discriminator)

        def validity(phase: CrystalPhase = phase) -> float:
            return _validity(phase.average, watched, config.seed)

        if not runner.run(phase, {"prior": prior}, validity):
            continue
        generator, discriminator = phase.average, phase.scorer
        last = number == len(makers) and not config.energies.systems
        save(phase.name, out / (MODEL_FOLDER if last else phase.name.replace(" ", "-")), bundle())
    if config.energies.systems:
        left_out = systems_left_out(config.data)
        held_out = corpus.heldout if config.data.holdout_by == "formula" else None
        labels, settings = None, config.energies
        with Workers(config.threads) as workers:
            for number in range(settings.rounds):
                model = bundle(knows_energies=number > 0)
                labels = Labels(
                    model, corpus.training, settings, left_out, held_out, config.seed, workers, earlier=labels
                )
                runner.run(labels, {"prior": prior, "learned": wide})
                energies = Energies(labels, wide, settings, config.seed, threads, number)
                runner.run(energies, {"prior": prior})
                generator, discriminator, wide = energies.average, energies.scorer, energies.scorer
        save(energies.name, out / MODEL_FOLDER, bundle(knows_energies=True))
    draw_curves(runner.log.rows, LOG_EVERY, out / CURVES_FILE)
    finished = bundle(knows_energies=config.energies.systems > 0)
    figures = measure_heldout(finished, watched, config.seed, progress)
    write_json(out / HELDOUT_FILE, figures)
    if figures["templates"]:
        first, any_draw = (figures[f"match_{n}"]["value"] for n in (1, N_DRAWS))
        LOGGER.info(
            "%d held-out templates: strictly valid %.2f, equal to the real crystal %.2f with one draw, %.2f with %d",
            figures["templates"],
            figures["strict"],
            first,
            any_draw,
            N_DRAWS,
        )
    folder = out / MODEL_FOLDER
    return TrainingRun(model=load_model(folder), folder=folder, heldout=figures, log=runner.log.rows)


def _redecorated(config: Config, dataset: CrystalTable, corpus: Corpus) -> Redecorated:
    """Prototypes with the elements of the system, none equal to a known phase of it."""
    system, crystals = ChemicalSystem.parse(config.data.system), dataset.crystals
    known = [crystals[is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)]]
    if config.data.known is not None:
        known.append(load_dataset(config.data.known).crystals)
    index = ReferenceIndex.from_crystals(Crystals.concatenate(known))
    found = redecorate(corpus.training, list(system.atomic_numbers), index)
    return replace(found, left_out={f"re-decorated: {reason}": n for reason, n in found.left_out.items()})


def _start(config: Config, dataset: CrystalTable) -> tuple[Config, Model]:
    """The config with the networks of the model that a run sets out from, and that model.

    Raises:
        InputError: if nothing of it would be trained, or it learned from other crystals.
    """
    model = load_model(str(config.start))
    if not config.energies.systems or config.redecorated is not None:
        raise InputError(
            f"start = {config.start!r} keeps all of that model but its energies; set energies.systems above 0 and leave"
            " [redecorated] out"
        )
    earlier = Config.model_validate(model.record["config"])
    if earlier.data != config.data or model.record["dataset"]["sha256"] != dataset.source.card["sha256"]:
        raise InputError(
            f"model {config.start!r} learned from other crystals; give its [data]: {earlier.data.model_dump()}"
        )
    return config.model_copy(update={"generator": earlier.generator, "prior": earlier.prior}), model


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


def _prior_arguments(config: Config) -> dict[str, Any]:
    return {"width": config.prior.width, "hidden": config.prior.hidden}


def _networks(config: Config) -> tuple[Generator, Discriminator, TemplatePrior]:
    return (
        Generator(**_generator_arguments(config)),
        Discriminator(width=config.adversarial.width),
        TemplatePrior(**_prior_arguments(config)),
    )


@torch.no_grad()
def _validity(generator: Generator, heldout: ParametrisedTemplates, seed: int) -> float:
    """Share of a fixed selection of held-out templates that are filled strictly validly."""
    if len(heldout) == 0:
        return float("nan")
    chosen = torch.randperm(len(heldout), generator=step_rng(seed, 9))[:N_WATCHED]
    sites = Sites.of(heldout.templates[chosen], dtype=torch.float32, device=generator.radii.device)
    was_training = generator.training
    generator.eval()
    noise = generator.noise(sites, step_rng(seed, 10))
    crystals = generator.recycle(sites, noise, generator.n_passes)[-1].crystals
    generator.train(was_training)
    return strict_validity(crystals).valid.double().mean().item()


def _bundle(
    config: Config,
    dataset: CrystalTable,
    corpus: Corpus,
    pool: Templates,
    library: PrototypeLibrary,
    generator: Generator,
    discriminator: Discriminator,
    prior: TemplatePrior,
    seconds: dict[str, float],
) -> Model:
    # Of a training that was cut off too, the command that makes it from the beginning.
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    record = {
        "name": config.name,
        "command": shlex.join([Path(sys.argv[0]).name, *arguments]),
        "config": config.model_dump(),
        "generator": _generator_arguments(config),
        "discriminator": discriminator.arguments,
        "prior": _prior_arguments(config),
        "left_out": corpus.left_out,
        "n_training": len(corpus.training),
        "n_held_out": len(corpus.heldout),
        "held_out": held_out_checksum(corpus),
        "dataset": {"name": dataset.source.name, "sha256": dataset.source.card["sha256"]},
        "minutes": {place: round(spent / 60, 1) for place, spent in seconds.items()},
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
        prior=prior.eval(),
        pool=pool,
        library=library,
        record=record,
        checksum="",
    )
