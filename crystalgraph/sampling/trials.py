"""Scores of templates that were filled on trial, kept so that a second run with them draws at once."""

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


def kept_scores(
    folder: Path | None,
    fill: Callable[[], Tensor],
    rng: torch.Generator,
    *,
    model: Model,
    templates: Templates,
    options: Mapping[str, Any],
) -> Tensor:
    """The scores that ``fill`` gives, without filling where they are kept; ``rng`` is left as ``fill`` leaves it.

    Args:
        folder: where scores are kept; None keeps none.
        fill: fills the templates and gives the score of each, (n,), float64, NaN where there is none.
        rng: draws the noise.
        model: fills and scores.
        templates: what is filled.
        options: of the filling.
    """
    if folder is None:
        return fill()

    def filled() -> dict[str, Any]:
        scores = [None if isnan(score) else score for score in fill().tolist()]
        return {"scores": scores, "rng": _bytes(rng.get_state()).hex()}

    depends_on = {
        "model": _checksum(_parts_of(model)),
        "templates": _checksum(map(_bytes, _tensors(templates))),
        "rng": _checksum([_bytes(rng.get_state())]),
        "options": dict(options),
        "code": code_checksum(*ROOMS),
        "versions": versions(),
        "device": str(model.discriminator.radii.device),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    result = kept(folder, depends_on, filled)
    rng.set_state(torch.tensor(list(bytes.fromhex(result["rng"])), dtype=torch.uint8))
    return torch.tensor([nan if score is None else score for score in result["scores"]], dtype=torch.float64)


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
