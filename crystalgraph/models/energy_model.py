"""The energy above the hull that a discriminator has learned, with forces and stress.

A discriminator that learned energies scores a crystal by its energy above the hull with the sign turned. The hull
depends on the composition alone, so forces and stress are those of the energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.crystals.periodic_graph import PeriodicGraph
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.symmetry.expand import Orbits

#: eV/atom; the energy above the hull that a score of −1 means.
ENERGY_PER_SCORE = 0.1


@dataclass(frozen=True, kw_only=True)
class LearnedEnergy:
    """Energies above the hull and how they change.

    Attributes:
        e_above_hull: (n_crystals,), eV/atom.
        forces: on the atoms, (n_atoms, 3), eV/Å.
        strain_energy: derivative of ``e_above_hull`` in the strain of the cell, (n_crystals, 3, 3), eV/atom: stress
            times volume per atom.
    """

    e_above_hull: Tensor
    forces: Tensor
    strain_energy: Tensor


def learned_e_above_hull(
    discriminator: Discriminator,
    graph: PeriodicGraph,
    space_group_number: Tensor,
    *,
    distances: Tensor | None = None,
    orbits: Orbits | None = None,
) -> Tensor:
    """The energy above the hull alone, (n_crystals,), eV/atom; arguments as for the discriminator."""
    energy: Tensor = -ENERGY_PER_SCORE * discriminator(graph, space_group_number, distances=distances, orbits=orbits)
    return energy


def learned_energy(
    discriminator: Discriminator, graph: PeriodicGraph, space_group_number: Tensor, *, create_graph: bool = False
) -> LearnedEnergy:
    """Work the learned energies of crystals out.

    With e the energy above the hull, per atom, of a crystal of N atoms and v the vectors of its edges, the force on an
    atom is −N ∂e/∂r, and the derivative in a strain ε, v → v (1 + ε), is Σ v ⊗ ∂e/∂v, made symmetric.

    Args:
        discriminator: has learned energies.
        graph: as ``discriminator.graph`` makes it.
        space_group_number: of the templates, (n_crystals,).
        create_graph: keep what is needed to differentiate the derivatives again.

    Reference:
        A. P. Thompson, S. J. Plimpton and W. Mattson, J. Chem. Phys. 131, 154107 (2009), equation 20 (virial).
    """
    crystals, (j, i) = graph.crystals, graph.edge_index
    with torch.enable_grad():
        vectors = graph.edge_vectors().detach().requires_grad_()
        distances = (vectors.square().sum(1) + 1e-12).sqrt()
        energy = learned_e_above_hull(discriminator, graph, space_group_number, distances=distances)
        (slope,) = torch.autograd.grad(energy.sum(), vectors, create_graph=create_graph)
    pull = slope.new_zeros(len(crystals.atomic_numbers), 3).index_add(0, i, slope).index_add(0, j, -slope)
    outer = vectors.detach()[:, :, None] * slope[:, None]
    virial = slope.new_zeros(len(crystals), 3, 3).index_add(0, graph.edge_batch, outer)
    return LearnedEnergy(
        e_above_hull=energy if create_graph else energy.detach(),
        forces=pull * crystals.num_atoms[crystals.batch][:, None],
        strain_energy=(virial + virial.transpose(1, 2)) / 2,
    )
