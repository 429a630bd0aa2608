"""Templates to fill: those that were held out, which of them are simple or have relatives, and random parameters."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from crystalgraph.chemistry.membership import is_within
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.engine.workers import Workers
from crystalgraph.geometry.lattice import crystal_system, free_shape, lattice_from_code
from crystalgraph.io.datasets import load_dataset
from crystalgraph.symmetry.expand import expand
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, species_rank, sum_over_atoms
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table
from crystalgraph.training.config import DataConfig
from crystalgraph.training.corpus import systems_left_out


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Templates to fill, and the real crystal of each."""

    templates: Templates
    truth: Crystals


def of_held_out_systems(data: DataConfig) -> Cases:
    """The compounds of the systems that are held out, with a free parameter, within the limits of the training."""
    crystals = load_dataset(data.dataset).crystals
    inside = torch.zeros(len(crystals), dtype=torch.bool)
    for system in systems_left_out(data):
        inside |= is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    found = extract(crystals[inside & (crystals.num_atoms <= data.max_atoms) & (number_of_species(crystals) > 1)])
    kept = ((found.templates.num_free > 0) & (found.templates.num_sites <= data.max_sites)).nonzero().flatten()
    chosen = found.parametrised[kept]
    return Cases(templates=chosen.templates, truth=chosen.crystals())


def is_simple(templates: Templates) -> torch.Tensor:
    """At most 16 atoms, 8 orbits and 3 elements, (n,), bool."""
    return (templates.num_atoms <= 16) & (templates.num_sites <= 8) & (number_of_species(templates) <= 3)


def has_relatives(
    cases: ParametrisedTemplates, training: ParametrisedTemplates, workers: int | Workers = 1
) -> torch.Tensor:
    """Whether a training crystal is the same arrangement of atoms, (n,), bool.

    The matcher has its default tolerances and scales volumes. Elements are the same if they can be mapped one to one,
    whatever their electronegativities.
    """
    learned, asked = training.crystals(), cases.crystals()
    index = ReferenceIndex.from_crystals(learned.replace(atomic_numbers=1 + species_rank(learned)))
    rank, n_species = species_rank(asked), number_of_species(asked)
    found = torch.zeros(len(cases), dtype=torch.bool)
    for n in range(1, int(n_species.max()) + 1):
        for order in itertools.permutations(range(1, n + 1)):
            chosen = ((n_species == n) & ~found).nonzero().flatten()
            if len(chosen):
                roles = torch.tensor(order)[rank[torch.isin(asked.batch, chosen)]]
                structures = to_structures(asked[chosen].replace(atomic_numbers=roles))
                found[chosen] = torch.from_numpy(match_any(structures, index, workers=workers) >= 0)
    return found


def random_parameters(
    templates: Templates, element_volume: torch.Tensor, spread: torch.Tensor, rng: torch.Generator
) -> Crystals:
    """Uniform site parameters, element volumes, and lattice shapes spread like those of the training crystals.

    Args:
        templates: each is filled once.
        element_volume: (119,), Å³/atom, float64.
        spread: standard deviation of k₁…k₅, (5,), float64.
        rng: draws shapes and parameters.
    """
    system = crystal_system(templates.space_group_number)
    shape = torch.randn(len(templates), 5, generator=rng, dtype=torch.float64) * spread
    volume = sum_over_atoms(templates, element_volume)
    centring = wyckoff_table().centring[templates.space_group_number]
    shape = shape * free_shape(system, torch.float64)
    lattice = lattice_from_code(system, (volume / torch.linalg.det(centring)).log(), shape)
    return expand(templates, lattice, torch.rand(len(templates.position), 3, generator=rng, dtype=torch.float64))
