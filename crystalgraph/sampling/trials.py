"""Scores of templates that were filled on trial, kept so that a second run with them draws at once.

Trials have random numbers of their own, the same in every run, so that what is kept serves runs of any seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crystalgraph.io.kept import kept
from crystalgraph.io.provenance import code_checksum, versions
from crystalgraph.models.bundle import Model
from crystalgraph.symmetry.template import Templates

ROOMS = ("geometry", "chemistry", "crystals", "symmetry", "models", "sampling")
"""Where the code and the tables lie that a filling depends on."""


TRIAL_SEED = 0
"""Of the noise from which templates are filled on trial."""


def kept_scores(
    folder: Path | None,
    fill: Callable[[torch.Generator], Tensor],
    *,
    model: Model,
    templates: Templates,
    options: Mapping[str, Any],
) -> Tensor:
    """The scores that ``fill`` gives, without filling where they are kept.

    Args:
        folder: where scores are kept; None keeps none.
        fill: fills the templates from the noise of a generator and gives the score of each, (n,), float64, NaN where
            there is none.
        model: fills and scores.
        templates: what is filled.
        options: of the filling.
    """

    def filled() -> Tensor:
        return fill(torch.Generator().manual_seed(TRIAL_SEED))

    if folder is None:
        return filled()

    def record() -> dict[str, Any]:
        return {"scores": [None if isnan(score) else score for score in filled().tolist()]}

    depends_on = {
        "model": _checksum(_parts_of(model)),
        "templates": _checksum(map(_bytes, _tensors(templates))),
        "options": dict(options),
        "code": code_checksum(*ROOMS),
        "versions": versions(),
        "device": str(model.discriminator.radii.device),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    scores = kept(folder, depends_on, record)["scores"]
    return torch.tensor([nan if score is None else score for score in scores], dtype=torch.float64)


def _parts_of(model: Model) -> Iterator[bytes]:
    """All of a model that decides what becomes of a template: networks with their settings, and prototypes."""
    for network in (model.generator, model.discriminator):
        for name, part in network.named_modules():
            settings = {k: v for k, v in vars(part).items() if isinstance(v, int | float | str | None)}
            yield f"{name} {type(part).__name__} {sorted(settings.items())}".encode()
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            yield name.encode()
            yield _bytes(tensor)
    prototypes = model.library.parametrised
    yield from map(_bytes, _tensors(prototypes.templates))
    yield from map(_bytes, (prototypes.log_volume, prototypes.shape, prototypes.u))


def _tensors(templates: Templates) -> tuple[Tensor, ...]:
    return templates.space_group_number, templates.num_sites, templates.position, templates.atomic_numbers


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def _checksum(parts: Iterable[bytes]) -> str:
    """SHA-256 over texts and tensors, told apart by their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
