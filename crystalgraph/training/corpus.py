"""The training set: every chemistry but the asked one, as templates with parameters, and what was left out and why.

The leakage rule is kept here: no crystal whose elements all belong to the asked system is learned from, and no crystal
of a held-out prototype or formula.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import CrystalgraphError
from crystalgraph.geometry.lattice import code_from_lattice, crystal_system, free_shape, lattice_from_code
from crystalgraph.symmetry.expand import expand
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table
from crystalgraph.training.config import DataConfig


@dataclass(frozen=True, kw_only=True)
class TemplateSet:
    """Real crystals as templates, lattice codes and site parameters.

    Attributes:
        templates: one per crystal.
        log_volume: of the conventional cell, (n,), Å³.
        shape: k₁…k₅, (n, 5).
        u: site parameters, (n_sites, 3).
        prototypes: name of each template whatever its elements, length n.
        ids: id in the dataset, length n.
    """

    templates: Templates
    log_volume: Tensor
    shape: Tensor
    u: Tensor
    prototypes: list[str]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.templates)

    def __getitem__(self, index: Tensor) -> TemplateSet:
        """Select by an index tensor, (m,), int64."""
        return TemplateSet(
            templates=self.templates[index],
            log_volume=self.log_volume[index],
            shape=self.shape[index],
            u=self.u[self.templates.sites_of(index)],
            prototypes=[self.prototypes[i] for i in index.tolist()],
            ids=[self.ids[i] for i in index.tolist()],
        )

    def without_symmetry(self) -> TemplateSet:
        """The same crystals in P1: every atom of the primitive cell is a site of its own."""
        crystals = self.crystals()
        log_volume, shape = code_from_lattice(crystals.lattice)
        return TemplateSet(
            templates=Templates(
                space_group_number=torch.ones_like(crystals.num_atoms),
                num_sites=crystals.num_atoms,
                position=torch.full_like(crystals.atomic_numbers, wyckoff_table().first_position(1)),
                atomic_numbers=crystals.atomic_numbers,
            ),
            log_volume=log_volume,
            shape=shape,
            u=crystals.frac_coords % 1.0,
            prototypes=self.prototypes,
            ids=self.ids,
        )

    def crystals(self) -> Crystals:
        """The crystals themselves, primitive cells, float64."""
        system = crystal_system(self.templates.space_group_number)
        return expand(self.templates, lattice_from_code(system, self.log_volume, self.shape), self.u)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a run learns from and is tested on.

    Attributes:
        training: learned from.
        heldout: crystals of the held-out prototypes or formulas, never learned from.
        element_volume: volume of each element, (119,), Å³/atom, from the training crystals.
        left_out: reason -> number of crystals of the dataset that are in neither.
    """

    training: TemplateSet
    heldout: TemplateSet
    element_volume: Tensor
    left_out: dict[str, int]


def systems_left_out(config: DataConfig) -> list[ChemicalSystem]:
    """The asked system, then those held out, in the config's order.

    Raises:
        InputError: if one cannot be read.
    """
    return [ChemicalSystem.parse(text) for text in (config.system, *config.holdout_systems)]


def refuse_leaks(training: TemplateSet, system: ChemicalSystem) -> None:
    """Stop if a crystal of the asked system, or of its elements, is about to be learned from.

    Raises:
        LeakageError: naming the first such crystal.
    """
    templates = training.templates
    leaked = is_within(templates.atomic_numbers, templates.batch, len(training), system)
    if leaked.any():
        first = training.ids[int(leaked.nonzero()[0])]
        raise LeakageError(f"{int(leaked.sum())} crystals of {system} are in the training set, {first} among them")


class LeakageError(CrystalgraphError):
    """Something that an evaluation would count as found or new is in the training set."""


def is_held_out(name: str, share: float, seed: int) -> bool:
    """Whether a prototype or formula belongs to the held-out share; depends on its name and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def held_out_checksum(corpus: Corpus) -> str:
    """SHA-256 of the ids of the held-out crystals, by which a model knows its split again."""
    return hashlib.sha256("\n".join(corpus.heldout.ids).encode()).hexdigest()


def element_volumes(templates: Templates, volume_per_atom: Tensor) -> Tensor:
    """Non-negative least squares for the volume of each element, relative errors minimised.

    Args:
        templates: the crystals.
        volume_per_atom: (n,), Å³.

    Returns:
        (119,), Å³/atom; elements that no crystal has take the median.
    """
    from scipy.optimize import nnls

    counts = np.zeros((len(templates), MAX_ATOMIC_NUMBER + 1))
    np.add.at(counts, (templates.batch.numpy(), templates.atomic_numbers.numpy()), templates.multiplicity.numpy())
    target = volume_per_atom.numpy()
    fractions = counts / counts.sum(1, keepdims=True) / target[:, None]
    seen = counts.sum(0) > 0
    volumes = np.full(MAX_ATOMIC_NUMBER + 1, float(np.median(target)))
    volumes[seen] = nnls(fractions[:, seen].T @ fractions[:, seen], fractions[:, seen].sum(0))[0]
    return torch.from_numpy(np.clip(volumes, 2.0, None))


def volume_per_atom(data: TemplateSet) -> Tensor:
    """Volume per atom of each crystal, (n,), Å³."""
    centring = wyckoff_table().centring[data.templates.space_group_number]
    return data.log_volume.exp() * torch.linalg.det(centring) / data.templates.num_atoms


def prepare(dataset: CrystalTable, config: DataConfig, n_jobs: int = 1) -> Corpus:
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

    found = extract(crystals[kept], n_jobs=n_jobs)
    left_out["no template found"] = len(found.failures)
    log_volume, shape = code_from_lattice(found.lattice)
    rows = kept[found.source].numpy()
    prototypes = found.templates.prototypes()
    everything = TemplateSet(
        templates=found.templates,
        log_volume=log_volume,
        shape=shape * free_shape(crystal_system(found.templates.space_group_number), shape.dtype),
        u=found.u,
        prototypes=prototypes,
        ids=[dataset.ids[k] for k in rows],
    )
    many = found.templates.num_sites > config.max_sites
    left_out[f"more than {config.max_sites} orbits"] = int(many.sum())
    names = prototypes if config.holdout_by == "prototype" else dataset.columns["formula"][rows].tolist()
    held = torch.tensor([is_held_out(name, config.holdout, config.seed) for name in names])
    training = everything[torch.nonzero(~many & ~held).flatten()]
    for system in systems:
        refuse_leaks(training, system)
    return Corpus(
        training=training,
        heldout=everything[torch.nonzero(~many & held).flatten()],
        element_volume=element_volumes(training.templates, volume_per_atom(training)),
        left_out=dict(left_out),
    )
