"""The nearest periodic images of a few centres, for whole batches at once, on any device.

This is the search inside the networks: a fixed number of neighbours among the images −1, 0, 1, padded and dense.
Graphs and checks use the exact list of ``crystalgraph.geometry.neighbors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals, ranges


@lru_cache
def _images(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Shifts to the cell itself and the 26 around it, (27, 3)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, -1.0, 1.0])] * 3).to(device=device, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class ImageDistances:
    """Squared distances from each centre to the 27 images of each atom of its crystal.

    Attributes:
        squared: (n_centers, max_atoms, 27), Å²; infinite for padding and for the centre itself.
        atom: atom index of each column, (n_centers, max_atoms).
        wrap: integer shift that brings each atom next to its centre, (n_centers, max_atoms, 3).
    """

    squared: Tensor
    atom: Tensor
    wrap: Tensor

    def nearest(self, k: int, allowed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The k nearest images of each centre.

        Args:
            k: how many.
            allowed: which atoms may be chosen, (n_centers, max_atoms), bool.

        Returns:
            Atom indices (n_centers, k), integer shifts (n_centers, k, 3), and whether the entry exists (n_centers, k).
        """
        squared = self.squared if allowed is None else self.squared.masked_fill(~allowed[:, :, None], torch.inf)
        flat = squared.flatten(1)
        if flat.shape[1] < k:
            flat = torch.nn.functional.pad(flat, (0, k - flat.shape[1]), value=torch.inf)
        values, index = flat.topk(k, dim=1, largest=False)
        exists = torch.isfinite(values)
        index = index * exists
        column, image = index // 27, index % 27
        shift = (
            self.wrap.gather(1, column[:, :, None].expand(-1, -1, 3))
            + _images(self.wrap.device, self.wrap.dtype)[image]
        )
        return self.atom.gather(1, column), shift, exists


@torch.no_grad()
def image_distances(crystals: Crystals, centers: Tensor) -> ImageDistances:
    """Measure all distances from some atoms to the images −1, 0, 1 of all atoms of their crystal.

    Args:
        crystals: the batch; coordinates need not be wrapped.
        centers: atom indices, (n_centers,).
    """
    crystal = crystals.batch[centers]
    atom, wrap, cart, padding = _closest_wrap(crystals, centers)
    images = (_images(crystals.lattice.device, crystals.lattice.dtype) @ crystals.lattice)[crystal]
    squared = (
        (cart**2).sum(2)[:, :, None] + 2 * cart @ images.transpose(1, 2) + (images**2).sum(2)[:, None]
    ).clamp_min(0)
    squared.masked_fill_(padding[:, :, None], torch.inf)
    squared[:, :, 0].masked_fill_(atom == centers[:, None], torch.inf)
    return ImageDistances(squared=squared, atom=atom, wrap=wrap)


def rough_distances(crystals: Crystals, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Distances from some atoms to one image of each other atom of their crystal: the next one along the cell's axes.

    In skewed cells another image may be closer; a fifth of the work of ``image_distances``.

    Args:
        crystals: the batch; coordinates need not be wrapped.
        centers: atom indices, (n_centers,).

    Returns:
        Atom index of each column, and distances in Å, infinite for padding and for the centre itself, both
        (n_centers, max_atoms).
    """
    atom, _, cart, padding = _closest_wrap(crystals, centers)
    return atom, cart.norm(dim=2).masked_fill(padding | (atom == centers[:, None]), torch.inf)


def _closest_wrap(crystals: Crystals, centers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each atom next to the centre: atom indices, integer shifts, vectors in Å, and which columns are padding."""
    counts, batch = crystals.num_atoms, crystals.batch
    table = torch.zeros(len(crystals), int(counts.max()), dtype=torch.long, device=counts.device)
    table[batch, ranges(counts)] = torch.arange(len(batch), device=counts.device)
    crystal = batch[centers]
    atom = table[crystal]
    difference = crystals.frac_coords[atom] - crystals.frac_coords[centers][:, None]
    wrap = -difference.round()
    columns = torch.arange(atom.shape[1], device=counts.device)
    return atom, wrap, (difference + wrap) @ crystals.lattice[crystal], columns >= counts[crystal][:, None]


def image_vectors(crystals: Crystals, centers: Tensor, atoms: Tensor, shifts: Tensor) -> Tensor:
    """Vectors from centres to chosen images, with gradients to lattice and coordinates.

    Args:
        crystals: the batch.
        centers: atom indices, (n_centers,).
        atoms: atom indices of the images, (n_centers, k).
        shifts: integer shifts, (n_centers, k, 3).

    Returns:
        (n_centers, k, 3), Å.
    """
    there = crystals.frac_coords.index_select(0, atoms.flatten()).view(*atoms.shape, 3)
    difference = there - crystals.frac_coords[centers][:, None] + shifts
    return difference @ crystals.lattice[crystals.batch[centers]]
