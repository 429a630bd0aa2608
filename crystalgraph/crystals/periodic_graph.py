"""The periodic graph of a batch of crystals: atoms are nodes, edges cross cell walls.

Which atoms are joined is found without gradient; how far apart they are is recomputed from the crystals each time it is
asked for, so gradients reach lattice and coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.geometry.neighbors import neighbor_list

SHELL_TOLERANCE = 0.01
"""Å; neighbours whose distances differ by less belong to one shell. Above the noise of relaxed structures."""


@dataclass(frozen=True, kw_only=True)
class PeriodicGraph:
    """Crystals and the edges between their atoms.

    An edge from neighbour j to centre i has vector r_j − r_i + S · L. An atom with no neighbour within the cutoff stays
    in the graph as a node without edges: sparse crystals are judged, not refused.

    Attributes:
        crystals: the crystals.
        edge_index: neighbour j (row 0) and centre i (row 1) of each edge, (2, n_edges), int64: PyG's source to target.
        edge_shift: integer shift S of each edge, (n_edges, 3), int64.
    """

    crystals: Crystals
    edge_index: Tensor
    edge_shift: Tensor

    @classmethod
    def build(
        cls,
        crystals: Crystals,
        cutoff: float,
        max_neighbors: int | None = None,
        *,
        searchable: Tensor | None = None,
    ) -> PeriodicGraph:
        """Join atoms within a cutoff.

        A cap on neighbours keeps whole distance shells: every neighbour no further than the ``max_neighbors``-th
        nearest, plus 0.01 Å. Equivalent atoms therefore keep equivalent neighbours, and an atom may have more than
        ``max_neighbors``. A capped graph need not hold both directions of an edge.

        Args:
            crystals: the batch.
            cutoff: longest edge, Å.
            max_neighbors: the cap, at least 1; None keeps all.
            searchable: crystals to give edges to, (n_crystals,), bool; see ``neighbors.searchable_cells``.

        Raises:
            ValueError: if ``max_neighbors`` is below 1, or if a cell cannot be searched and no mask is given.
        """
        if max_neighbors is not None and max_neighbors < 1:
            raise ValueError(f"max_neighbors is {max_neighbors}; it must be at least 1, or None for no cap")
        lattice, frac_coords = crystals.lattice.detach(), crystals.frac_coords.detach()
        i, j, shift = neighbor_list(lattice, frac_coords, crystals.num_atoms, cutoff, searchable=searchable)
        graph = cls(crystals=crystals, edge_index=torch.stack([j, i]), edge_shift=shift)
        return graph if max_neighbors is None else graph._nearest_shells(max_neighbors)

    @property
    def edge_batch(self) -> Tensor:
        """Crystal index of each edge, (n_edges,), int64."""
        return self.crystals.batch.index_select(0, self.edge_index[1])

    @property
    def num_neighbors(self) -> Tensor:
        """Edges that end at each atom, (n_atoms,), int64; 0 for an isolated atom."""
        return torch.bincount(self.edge_index[1], minlength=len(self.crystals.atomic_numbers))

    def around(self, atoms: Tensor) -> PeriodicGraph:
        """The edges that end at some atoms alone, by index; all atoms stay."""
        centers = torch.zeros_like(self.crystals.atomic_numbers, dtype=torch.bool).index_fill(0, atoms, True)
        kept = centers.index_select(0, self.edge_index[1]).nonzero()[:, 0]
        index, shift = self.edge_index.index_select(1, kept), self.edge_shift.index_select(0, kept)
        return replace(self, edge_index=index, edge_shift=shift)

    def edge_vectors(self) -> Tensor:
        """Vectors from centre to neighbour, (n_edges, 3), Å, with gradients to lattice and coordinates."""
        cart, lattice = self.crystals.cart_coords, self.crystals.lattice
        j, i = self.edge_index
        crystal, shift = self.edge_batch, self.edge_shift.to(cart)
        vectors = cart.index_select(0, j) - cart.index_select(0, i)
        for axis in range(3):  # S · L row by row: half the time of gathering a matrix for each edge
            vectors = torch.addcmul(vectors, shift[:, axis, None], lattice[:, axis].index_select(0, crystal))
        return vectors

    def edge_distances(self) -> Tensor:
        """Lengths of the edges, (n_edges,), Å; gradients stay finite where two atoms coincide."""
        return (self.edge_vectors().square().sum(1) + 1e-12).sqrt()

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PeriodicGraph:
        """Move to a device; change the floating-point type of the crystals."""
        return PeriodicGraph(
            crystals=self.crystals.to(device=device, dtype=dtype),
            edge_index=self.edge_index.to(device=device),
            edge_shift=self.edge_shift.to(device=device),
        )

    @torch.no_grad()
    def _nearest_shells(self, max_neighbors: int) -> PeriodicGraph:
        exact = replace(self, crystals=self.crystals.to(dtype=torch.float64))
        distances = exact.edge_distances()
        limit = nth_distance(distances, self.edge_index[1], len(self.crystals.atomic_numbers), max_neighbors)
        kept = distances <= limit[self.edge_index[1]] + SHELL_TOLERANCE
        return replace(self, edge_index=self.edge_index[:, kept], edge_shift=self.edge_shift[kept])


def nth_distance(distances: Tensor, centers: Tensor, n_atoms: int, n: int) -> Tensor:
    """Distance from each atom to its n-th nearest neighbour, with gradient.

    The n-th smallest of continuous functions is continuous, so this is a continuous function of the positions.

    Args:
        distances: lengths of the edges, (n_edges,), Å, at least 0.
        centers: the atom each edge ends at, (n_edges,).
        n_atoms: number of atoms.
        n: which neighbour, from 1.

    Returns:
        (n_atoms,), Å; infinite for an atom with fewer neighbours.
    """
    with torch.no_grad():
        # One sort instead of two: distances squeezed into [0, 1) order the edges of one atom.
        order = _argsort(centers + (distances.double() / (1 + distances.double())))
        counts = torch.bincount(centers, minlength=n_atoms)
        atoms = (counts >= n).nonzero()[:, 0]
        edges = order[(torch.cumsum(counts, 0) - counts)[atoms] + n - 1]
    unreached = torch.full((n_atoms,), torch.inf, dtype=distances.dtype, device=distances.device)
    return unreached.index_copy(0, atoms, distances.index_select(0, edges))


def _argsort(key: Tensor) -> Tensor:
    """NumPy sorts ten times faster than torch on a CPU."""
    return torch.from_numpy(np.argsort(key.numpy())) if key.device.type == "cpu" else torch.argsort(key)
