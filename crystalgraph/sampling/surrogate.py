"""Surrogate relaxation: crystals follow the forces and stress of a discriminator that has learned energies.

Forces move the first atom of each orbit, pulled back through the operator of its site, and strains are projected on
what the crystal system allows, as in the generator: what the template leaves free moves, the space group holds. Equal
atoms have equal features, so the network looks at one atom of each orbit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.geometry.lattice import project_strain
from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.energy_model import LearnedEnergy, learned_e_above_hull
from crystalgraph.models.sites import Sites, State

#: Å for each eV/Å, and strain for each eV/atom: the inverse of usual force constants and elastic moduli.
STEP, STRAIN_STEP = 0.06, 0.015

#: Largest move of a step, Å, and largest strain.
MAX_MOVE, MAX_STRAIN = 0.1, 0.02

#: Bound on the neighbours of an atom in a crystal that is worth following; that of real ones is a few hundred.
MAX_NEIGHBORS = 1000

#: Share of the last move that is made again.
MOMENTUM = 0.5


def relax_on_surrogate(discriminator: Discriminator, sites: Sites, state: State, n_steps: int) -> State:
    """Take some steps of a relaxation with momentum.

    Args:
        discriminator: has learned energies; on the device of the sites.
        sites: the templates.
        state: the crystals to set out from.
        n_steps: how many.

    Returns:
        The crystals after the last step; one that is not strictly valid then, or has no lower energy, is left as it
        was.
    """
    if n_steps == 0:
        return state
    first = learned = _learned_energy(discriminator, sites, state)
    now, velocity, strain_velocity = state, torch.zeros_like(state.parametrised.u), torch.zeros_like(state.lattice)
    for step in range(n_steps):
        if step > 0:
            learned = _learned_energy(discriminator, sites, now)
        velocity = _bounded(MOMENTUM * velocity + STEP * learned.forces, MAX_MOVE)
        strain_velocity = _bounded(MOMENTUM * strain_velocity - STRAIN_STEP * learned.strain_energy, MAX_STRAIN)
        now = _moved(sites, now, velocity, strain_velocity)
    lower = _e_above_hull(discriminator, sites, now) < first.e_above_hull
    valid = strict_validity(now.crystals.to(device="cpu", dtype=torch.float64)).valid
    return now.where(lower & valid.to(lower.device), sites, state)


@torch.no_grad()
def _e_above_hull(discriminator: Discriminator, sites: Sites, state: State) -> Tensor:
    """The learned energies above the hull alone, which take half the time."""
    fine = _followable(discriminator, state.crystals)
    return _energy(discriminator, sites, state.crystals, fine).masked_fill(~fine, torch.inf)


def _followable(discriminator: Discriminator, crystals: Crystals) -> Tensor:
    """Whether the atoms of each crystal have no absurd number of neighbours, (n_crystals,), bool."""
    cells = crystals.lattice.detach(), crystals.frac_coords.detach(), crystals.num_atoms
    return searchable_cells(*cells, discriminator.cutoff, max_candidates=MAX_NEIGHBORS)


def _energy(discriminator: Discriminator, sites: Sites, crystals: Crystals, fine: Tensor) -> Tensor:
    """The learned energies above the hull of crystals of the sites, from one atom of each orbit, (n_crystals,)."""
    graph = discriminator.graph(crystals, searchable=fine).around(sites.orbits.representative)
    return learned_e_above_hull(discriminator, graph, sites.space_group_number, orbits=sites.orbits)


def _learned_energy(discriminator: Discriminator, sites: Sites, state: State) -> LearnedEnergy:
    """The learned energies, with the forces on the first atom of each orbit, (n_sites, 3).

    Derivatives are taken in what the template leaves free, u, and in the strain. The m atoms of an orbit move together,
    the first by B = Lᵀ R for each u, so the force along what is free is −N/m (B⁺)ᵀ ∂e/∂u. Strains are right in the
    directions that the crystal system allows. Energies are infinite, without forces or stress, where atoms have
    absurdly many neighbours.
    """
    orbits, lattice = sites.orbits, state.lattice.detach()
    with torch.enable_grad():
        u = state.parametrised.u.detach().requires_grad_()
        strain = torch.zeros_like(lattice).requires_grad_()
        crystals = orbits.expand(lattice + lattice @ strain, u)
        fine = _followable(discriminator, crystals)
        energy = _energy(discriminator, sites, crystals, fine)
        slope, strain_energy = torch.autograd.grad(energy.sum(), (u, strain))
    first = orbits.representative
    moves = crystals.lattice.detach().transpose(1, 2)[sites.batch] @ orbits.rotation[first]
    forces = -torch.einsum("nij,ni->nj", torch.linalg.pinv(moves, rtol=1e-4), slope) / sites.weight[:, None]
    return LearnedEnergy(
        e_above_hull=energy.detach().masked_fill(~fine, torch.inf),
        forces=forces.nan_to_num(0, 0, 0),
        strain_energy=((strain_energy + strain_energy.transpose(1, 2)) / 2).nan_to_num(0, 0, 0),
    )


def _bounded(move: Tensor, largest: float) -> Tensor:
    """Vectors, or matrices, shortened to a length."""
    length = move.flatten(1).norm(dim=1).clamp_min(largest)
    return move * (largest / length).view(-1, *[1] * (move.dim() - 1))


def _moved(sites: Sites, state: State, move: Tensor, strain: Tensor) -> State:
    """The first atoms of the orbits moved, Å, and the cells strained."""
    frac = torch.linalg.solve_ex(state.lattice.transpose(1, 2)[sites.batch], move).result
    change_u = torch.einsum("nij,nj->ni", sites.pseudo_inverse, frac) * sites.free
    change_volume, change_shape = project_strain(sites.system, strain)
    own = state.parametrised
    moved = replace(own, log_volume=own.log_volume + change_volume, shape=own.shape + change_shape, u=own.u + change_u)
    return State.of(sites, moved)
