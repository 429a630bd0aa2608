"""The training set: every chemistry but the asked one, as templates with parameters, and what was left out and why.

The leakage rule is kept here: no crystal whose elements all belong to the asked system is learned from, and no crystal
of a held-out prototype or formula.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import CrystalgraphError
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.config import DataConfig


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a run learns from and is tested on.

    Attributes:
        training: learned from.
        heldout: crystals of the held-out prototypes or formulas, never learned from.
        training_ids: ids in the dataset of the crystals learned from.
        heldout_ids: of those held out.
        element_volume: volume of each element, (119,), Å³/atom, from the training crystals.
        left_out: reason -> number of crystals of the dataset that are in neither.
    """

    training: ParametrisedTemplates
    heldout: ParametrisedTemplates
    training_ids: list[str]
    heldout_ids: list[str]
    element_volume: Tensor
    left_out: dict[str, int]


def systems_left_out(config: DataConfig) -> list[ChemicalSystem]:
    """The asked system, then those held out, in the config's order.

    Raises:
        InputError: if one cannot be read.
    """
    return [ChemicalSystem.parse(text) for text in (config.system, *config.holdout_systems)]


def refuse_leaks(templates: Templates, ids: Sequence[str], system: ChemicalSystem) -> None:
    """Stop if a crystal of the asked system, or of its elements, is about to be learned from.

    Args:
        templates: of the crystals to learn from.
        ids: of the same crystals.
        system: of which none may be among them.

    Raises:
        LeakageError: naming the first such crystal.
    """
    leaked = is_within(templates.atomic_numbers, templates.batch, len(templates), system)
    if leaked.any():
        first = ids[int(leaked.nonzero()[0])]
        raise LeakageError(f"{int(leaked.sum())} crystals of {system} are in the training set, {first} among them")


class LeakageError(CrystalgraphError):
    """Something that an evaluation would count as found or new is in the training set."""


def is_held_out(name: str, share: float, seed: int) -> bool:
    """Whether a prototype or formula belongs to the held-out share; depends on its name and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def held_out_checksum(corpus: Corpus) -> str:
    """SHA-256 of the ids of the held-out crystals, by which a model knows its split again."""
    return hashlib.sha256("\n".join(corpus.heldout_ids).encode()).hexdigest()


def element_volumes(templates: Templates, volume_per_atom: Tensor) -> Tensor:
    """Non-negative least squares for the volume of each element, relative errors minimised.

    Args:
        templates: the crystals.
        volume_per_atom: (n,), Å³.

    Returns:
        (119,), Å³/atom; elements that no crystal has take the median, NaN where there is no crystal at all.
    """
    if not len(templates):
        return torch.full((MAX_ATOMIC_NUMBER + 1,), torch.nan, dtype=torch.float64)
    from scipy.optimize import nnls

    counts = np.zeros((len(templates), MAX_ATOMIC_NUMBER + 1))
    np.add.at(counts, (templates.batch.numpy(), templates.atomic_numbers.numpy()), templates.multiplicity.numpy())
    target = volume_per_atom.numpy()
    fractions = counts / counts.sum(1, keepdims=True) / target[:, None]
    seen = counts.sum(0) > 0
    volumes = np.full(MAX_ATOMIC_NUMBER + 1, float(np.median(target)))
    volumes[seen] = nnls(fractions[:, seen].T @ fractions[:, seen], fractions[:, seen].sum(0))[0]
    return torch.from_numpy(np.clip(volumes, 2.0, None))


def prepare(dataset: CrystalTable, config: DataConfig, workers: int | Workers = 1) -> Corpus:
    """Split a dataset into training and held-out crystals under the leakage rule."""
    crystals, systems = dataset.crystals, systems_left_out(config)
    left_out: Counter[str] = Counter()
    inside = torch.zeros(len(crystals), dtype=torch.bool)
    for kind, system in zip(("asked", *["held-out"] * len(config.holdout_systems)), systems, strict=True):
        more = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system) & ~inside
        left_out[f"in the {kind} system {system}"] = int(more.sum())
        inside |= more
    too_large = crystals.num_atoms > config.max_atoms
    kept = torch.nonzero(~inside & ~too_large).flatten()
    left_out[f"more than {config.max_atoms} atoms"] = int((too_large & ~inside).sum())

    extraction = extract(crystals[kept], workers=workers)
    left_out["no template found"] = len(extraction.failures)
    everything, rows = extraction.parametrised, kept[extraction.source].numpy()
    many = everything.templates.num_sites > config.max_sites
    left_out[f"more than {config.max_sites} orbits"] = int(many.sum())
    names = everything.prototypes if config.holdout_by == "prototype" else dataset.columns["formula"][rows].tolist()
    held = torch.tensor([is_held_out(name, config.holdout, config.seed) for name in names], dtype=torch.bool)
    learned, tested = torch.nonzero(~many & ~held).flatten(), torch.nonzero(~many & held).flatten()
    ids, training = np.array(dataset.ids)[rows], everything[learned]
    training_ids = ids[learned.numpy()].tolist()
    for system in systems:
        refuse_leaks(training.templates, training_ids, system)
    return Corpus(
        training=training,
        heldout=everything[tested],
        training_ids=training_ids,
        heldout_ids=ids[tested.numpy()].tolist(),
        element_volume=element_volumes(training.templates, training.volume_per_atom),
        left_out=dict(left_out),
    )
