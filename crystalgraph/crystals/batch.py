"""The one type that flows: a batch of periodic crystals as tensors.

Lattice vectors are rows, in Å: ``cart_coords = frac_coords @ lattice``. One crystal is a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


def ranges(counts: Tensor) -> Tensor:
    """Count up from zero inside each group: counts (2, 3) give (0, 1, 0, 1, 2).

    Args:
        counts: group sizes, (n_groups,), integers >= 0.

    Returns:
        Positions inside the group, (counts.sum(),), int64.
    """
    starts = torch.cumsum(counts, 0) - counts
    total = int(counts.sum())
    return torch.arange(total, device=counts.device) - torch.repeat_interleave(starts, counts, output_size=total)


@dataclass(frozen=True, kw_only=True)
class Crystals:
    """A frozen batch of crystals.

    Attributes:
        lattice: lattice vectors as rows, (n_crystals, 3, 3), Å.
        frac_coords: fractional coordinates of all atoms, crystal after crystal, (n_atoms, 3).
        atomic_numbers: element of each atom, (n_atoms,), int64, 1 to 118.
        num_atoms: atoms per crystal, (n_crystals,), int64, >= 1.

    Raises:
        ValueError: if the shapes do not belong together.
    """

    lattice: Tensor
    frac_coords: Tensor
    atomic_numbers: Tensor
    num_atoms: Tensor

    def __post_init__(self) -> None:
        n_crystals, n_atoms = self.num_atoms.shape[0], self.atomic_numbers.shape[0]
        if self.lattice.shape != (n_crystals, 3, 3):
            raise ValueError(f"lattice has shape {tuple(self.lattice.shape)}, expected ({n_crystals}, 3, 3)")
        if self.frac_coords.shape != (n_atoms, 3):
            raise ValueError(f"frac_coords has shape {tuple(self.frac_coords.shape)}, expected ({n_atoms}, 3)")
        # Not on a GPU, which would have to be waited for.
        if self.num_atoms.device.type == "cpu" and int(self.num_atoms.sum()) != n_atoms:
            raise ValueError(f"num_atoms sums to {int(self.num_atoms.sum())}, but there are {n_atoms} atoms")

    def __len__(self) -> int:
        return self.num_atoms.shape[0]

    @property
    def batch(self) -> Tensor:
        """Crystal index of each atom, (n_atoms,), int64."""
        index = torch.arange(len(self), device=self.num_atoms.device)
        return torch.repeat_interleave(index, self.num_atoms, output_size=len(self.atomic_numbers))

    @property
    def ptr(self) -> Tensor:
        """First atom of each crystal, then the total, (n_crystals + 1,), int64."""
        return torch.nn.functional.pad(torch.cumsum(self.num_atoms, 0), (1, 0))

    @property
    def cart_coords(self) -> Tensor:
        """Cartesian coordinates, (n_atoms, 3), Å."""
        return torch.einsum("ni,nij->nj", self.frac_coords, self.lattice[self.batch])

    @property
    def volume(self) -> Tensor:
        """Cell volumes, (n_crystals,), Å³, never negative."""
        return torch.linalg.det(self.lattice).abs()

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Crystals:
        """Move to a device; change the floating-point type of lattice and coordinates."""
        return Crystals(
            lattice=self.lattice.to(device=device, dtype=dtype),
            frac_coords=self.frac_coords.to(device=device, dtype=dtype),
            atomic_numbers=self.atomic_numbers.to(device=device),
            num_atoms=self.num_atoms.to(device=device),
        )

    def replace(self, **changes: Any) -> Crystals:
        """Return a copy with the named fields changed."""
        return replace(self, **changes)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Crystals:
        """Select crystals by position, slice, list of positions, or boolean mask; always a batch."""
        device = self.num_atoms.device
        chosen = torch.arange(len(self), device=device)
        if isinstance(index, int):
            chosen = chosen[index].reshape(1)
        elif isinstance(index, slice):
            chosen = chosen[index]
        else:
            key = torch.as_tensor(index, device=device)
            chosen = chosen[key if key.dtype == torch.bool else key.long()]
        atoms = self.atoms_of(chosen)
        return Crystals(
            lattice=self.lattice[chosen],
            frac_coords=self.frac_coords[atoms],
            atomic_numbers=self.atomic_numbers[atoms],
            num_atoms=self.num_atoms[chosen],
        )

    def atoms_of(self, crystals: Tensor) -> Tensor:
        """Positions of the atoms of some crystals, crystal after crystal, (n_their_atoms,), int64."""
        counts = self.num_atoms[crystals]
        return torch.repeat_interleave(self.ptr[:-1][crystals], counts) + ranges(counts)

    @staticmethod
    def empty() -> Crystals:
        """A batch of no crystal, float64."""
        return Crystals(
            lattice=torch.zeros(0, 3, 3, dtype=torch.float64),
            frac_coords=torch.zeros(0, 3, dtype=torch.float64),
            atomic_numbers=torch.zeros(0, dtype=torch.long),
            num_atoms=torch.zeros(0, dtype=torch.long),
        )

    @staticmethod
    def concatenate(batches: Sequence[Crystals]) -> Crystals:
        """Join batches in order.

        Raises:
            ValueError: if the list is empty.
        """
        if not batches:
            raise ValueError("cannot concatenate an empty list of Crystals")
        return Crystals(
            lattice=torch.cat([b.lattice for b in batches]),
            frac_coords=torch.cat([b.frac_coords for b in batches]),
            atomic_numbers=torch.cat([b.atomic_numbers for b in batches]),
            num_atoms=torch.cat([b.num_atoms for b in batches]),
        )
