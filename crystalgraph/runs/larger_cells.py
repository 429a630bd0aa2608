"""Cells larger than a model learned from: their templates and crystals are taken from its dataset, under its split."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch

from crystalgraph.errors import InputError
from crystalgraph.io.atomic import new_folder
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model, save_model
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.progress import Progress, at_stage
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import prepare
from crystalgraph.training.pool import template_pool

MOST_SITES = 24
"""Orbits in a template of a larger cell."""


def with_larger_cells(model: Model, max_atoms: int, progress: Progress | None = None) -> Model:
    """A model whose pool and library hold the larger cells of its dataset too.

    The generator has never seen such cells and fills their templates as far as it carries; known crystals fill them
    as they are, the requested elements in their place. Crystals that the training left out for their system, formula
    or prototype are left out here as well. The result is kept in the cache folder.

    Args:
        model: trained on a dataset that is still there.
        max_atoms: largest primitive cell that will be asked for.
        progress: called as the work goes on, some minutes the first time.

    Returns:
        The same model if it learned from cells as large as that.

    Raises:
        InputError: if the dataset is not the one that the model learned from.
    """
    recorded = model.record.get("config")
    if recorded is None:
        return model
    data = Config.model_validate(recorded).data
    if max_atoms <= data.max_atoms:
        return model
    dataset = load_dataset(data.dataset)
    if dataset.source.card["sha256"] != model.record["dataset"]["sha256"]:
        raise InputError(
            f"model {model.name!r} learned from another version of {data.dataset!r}, so its split does not hold for "
            f"larger cells; ask for at most {data.max_atoms} atoms"
        )
    key = hashlib.sha256(json.dumps([model.checksum, model.record["dataset"], MOST_SITES]).encode()).hexdigest()
    folder = cache_folder("larger-cells") / key[:16]
    if not folder.exists():
        at_stage(progress, "templates of larger cells")(0, 1)
        num_atoms = dataset.crystals.num_atoms
        larger = dataset[(num_atoms > data.max_atoms).nonzero().flatten().tolist()]
        more = prepare(larger, data.model_copy(update={"max_atoms": int(num_atoms.max()), "max_sites": MOST_SITES}))
        with new_folder(folder) as unfinished:
            save_model(_extended(model, more.training), unfinished)
        at_stage(progress, "templates of larger cells")(1, 1)
    extended = load_model(folder)
    return replace(extended, name=model.name, record=model.record, checksum=model.checksum)


def _extended(model: Model, more: ParametrisedTemplates) -> Model:
    if not len(more):
        return model
    own = model.library.parametrised
    everything = ParametrisedTemplates.concatenate([own, more.to(torch.zeros(0, dtype=torch.float64))])
    pool = Templates.concatenate([model.pool, template_pool(more)])
    return replace(model, pool=pool, library=PrototypeLibrary(everything))
