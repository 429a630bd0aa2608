"""A graph network that looks at a crystal, and at what was asked for, and says how real it looks.

The score is a continuous function of lattice and coordinates, unchanged by rotation, choice of origin, order of atoms
and choice of cell.

References:
    T. Miyato and M. Koyama, cGANs with Projection Discriminator, ICLR 2018, equation 4 (conditioning).
    J. Gilmer et al., Neural Message Passing for Quantum Chemistry, ICML 2017, section 2 (messages and updates).
    J. Gasteiger et al., Directional Message Passing for Molecular Graphs, ICLR 2020, equation 8 (envelope).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER, covalent_radii, element_descriptors
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.periodic_graph import PeriodicGraph, nth_distance
from crystalgraph.models.layers import GaussianBasis, mean, mlp
from crystalgraph.symmetry.expand import Orbits

N_SPACE_GROUPS = 230


def envelope(x: Tensor) -> Tensor:
    """Fall from 1 at x = 0 to 0 at x = 1 and beyond, with two continuous derivatives (DimeNet, exponent 6)."""
    x = x.clamp(max=1)
    return 1 - 28 * x**6 + 48 * x**7 - 21 * x**8


class Interaction(nn.Module):
    """Each atom adds up messages from its neighbours.

    m_ij = w_ij SiLU(P h_i + Q h_j + R e_ij) and h_i ← h_i + MLP(Σ_j m_ij). PyG's ``MessagePassing`` would do the same,
    by a program that it writes into the folder of temporary files in every process and leaves there.

    Args:
        width: features of an atom.
        edge_width: features of an edge.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.center = nn.Linear(width, width)
        self.neighbor = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(edge_width, width, bias=False)
        self.update_atom = mlp(width, width, width)

    def forward(self, h: Tensor, edge_index: Tensor, edge_features: Tensor, weight: Tensor) -> Tensor:
        """Update atoms.

        Args:
            h: (n_atoms, width).
            edge_index: neighbour (row 0) and centre (row 1), (2, n_edges).
            edge_features: (n_edges, edge_width).
            weight: weight of each message, (n_edges, 1).

        Returns:
            (n_atoms, width).
        """
        j, i = edge_index
        center, neighbor = self.center(h).index_select(0, i), self.neighbor(h).index_select(0, j)
        messages = weight * nn.functional.silu(center + neighbor + self.edge(edge_features))
        total = torch.zeros_like(h).index_add(0, i, messages)
        return h + self.update_atom(total)


class Discriminator(nn.Module):
    """Score crystals, given their composition and, if known, their space group.

    An atom hears neighbours up to ``cutoff``, or within a radius of its own: the distance to its ``max_neighbors``-th
    neighbour. Messages fade to nothing at that radius, so the score stays continuous when neighbours change places or
    enter, and a graph with more edges than needed gives the same score. An isolated atom hears nothing.

    Args:
        width: features of an atom.
        n_layers: interaction layers.
        cutoff: longest edge, Å.
        max_neighbors: the neighbour at which messages have faded, if nearer than the cutoff; one fewer have a say. With
            None all within the cutoff have one, which takes longer, but energies are learned far better.
        n_basis: radial functions of the distance, and as many of the distance over the sum of covalent radii.
    """

    descriptors: Tensor
    radii: Tensor

    def __init__(
        self,
        *,
        width: int = 48,
        n_layers: int = 2,
        cutoff: float = 5.0,
        max_neighbors: int | None = 13,
        n_basis: int = 16,
    ) -> None:
        super().__init__()
        self.arguments = {
            "width": width,
            "n_layers": n_layers,
            "cutoff": cutoff,
            "max_neighbors": max_neighbors,
            "n_basis": n_basis,
        }
        self.cutoff, self.max_neighbors = cutoff, max_neighbors
        self.register_buffer("descriptors", element_descriptors().float())
        self.register_buffer("radii", covalent_radii().float())
        self.distance_basis = GaussianBasis(0.0, cutoff, n_basis, cutoff / n_basis)
        self.reduced_basis = GaussianBasis(0.5, 2.5, n_basis, 2.0 / n_basis)
        self.element = nn.Embedding(MAX_ATOMIC_NUMBER + 1, width)
        self.describe = nn.Linear(self.descriptors.shape[1], width)
        self.interactions = nn.ModuleList(Interaction(width, 2 * n_basis) for _ in range(n_layers))
        self.readout = mlp(width, width, width)
        self.score = nn.Linear(width, 1)
        self.space_group = nn.Embedding(N_SPACE_GROUPS + 1, 16)
        self.condition = mlp(width + 16, width, width)

    def graph(self, crystals: Crystals, *, searchable: Tensor | None = None) -> PeriodicGraph:
        """Build the smallest graph that holds all an atom can hear; arguments as for ``PeriodicGraph.build``."""
        return PeriodicGraph.build(crystals, self.cutoff, self.max_neighbors, searchable=searchable)

    def forward(
        self,
        graph: PeriodicGraph,
        space_group_number: Tensor | None = None,
        *,
        distances: Tensor | None = None,
        orbits: Orbits | None = None,
    ) -> Tensor:
        """Score each crystal.

        Args:
            graph: crystals and edges, as ``self.graph`` makes it, or with more edges (never with fewer).
            space_group_number: what was asked for, (n_crystals,), 1 to 230, 0 where it was left open; None: all open.
            distances: lengths to use in place of ``graph.edge_distances()``, (n_edges,), Å: the place to attach a
                gradient penalty.
            orbits: of the crystals' atoms, if they are known. Equivalent atoms have the same features, which are worked
                out once: the graph needs the edges around one atom of each orbit only.

        Returns:
            (n_crystals,); higher is better.
        """
        crystals = graph.crystals
        n_crystals, batch = len(crystals), crystals.batch
        z, edge_index, share = crystals.atomic_numbers, graph.edge_index, 1 / crystals.num_atoms.float()[batch]
        if orbits is not None:
            z, batch = z[orbits.representative], batch[orbits.representative]
            edge_index, share = orbits.site[edge_index], share.new_zeros(len(z)).index_add(0, orbits.site, share)
        j, i = edge_index
        d = (graph.edge_distances() if distances is None else distances).to(self.radii.dtype)

        if self.max_neighbors is None:
            weight = envelope(d / self.cutoff)[:, None]
        else:
            reach = nth_distance(d, i, len(z), self.max_neighbors).clamp(max=self.cutoff)
            weight = envelope(d / reach.index_select(0, i))[:, None]
        radii = self.radii[z]
        contact = radii.index_select(0, i) + radii.index_select(0, j)
        edge_features = torch.cat([self.distance_basis(d), self.reduced_basis(d / contact)], 1)

        species = self.element(z) + self.describe(self.descriptors[z])
        h = species
        for interaction in self.interactions:
            h = interaction(h, edge_index, edge_features, weight)
        pooled = mean(self.readout(h), batch, share, n_crystals)

        if space_group_number is None:
            space_group_number = torch.zeros_like(crystals.num_atoms)
        composition = mean(species, batch, share, n_crystals)
        condition = self.condition(torch.cat([composition, self.space_group(space_group_number)], 1))
        return self.score(pooled)[:, 0] + (condition * pooled).mean(1)
