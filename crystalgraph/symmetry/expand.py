"""From a template and its parameters to the atoms of the primitive cell: affine, hence differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals, ranges
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table


@dataclass(frozen=True, kw_only=True)
class Orbits:
    """The operators of a batch of templates, gathered once and used at every expansion.

    Attributes:
        num_atoms: atoms per primitive cell, (n_crystals,).
        site: site of each atom, (n_atoms,).
        atomic_numbers: element of each atom, (n_atoms,).
        rotation: R into the primitive cell, (n_atoms, 3, 3).
        translation: t into the primitive cell, (n_atoms, 3).
        centring: primitive vectors in the conventional basis, (n_crystals, 3, 3).
        representative: the first atom of each site, (n_sites,).
    """

    num_atoms: Tensor
    site: Tensor
    atomic_numbers: Tensor
    rotation: Tensor
    translation: Tensor
    centring: Tensor
    representative: Tensor

    @classmethod
    def of(cls, templates: Templates, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Orbits:
        """Look the operators up in the Wyckoff table."""
        table = wyckoff_table()
        counts = templates.multiplicity
        site = torch.repeat_interleave(torch.arange(len(counts)), counts)
        rows = table.op_start[templates.position][site] + ranges(counts)
        return cls(
            num_atoms=templates.num_atoms.to(device),
            site=site.to(device),
            atomic_numbers=templates.atomic_numbers[site].to(device),
            rotation=table.op_rotation[rows].to(device=device, dtype=dtype),
            translation=table.op_translation[rows].to(device=device, dtype=dtype),
            centring=table.centring[templates.space_group_number].to(device=device, dtype=dtype),
            representative=(torch.cumsum(counts, 0) - counts).to(device),
        )

    def expand(self, lattice: Tensor, u: Tensor) -> Crystals:
        """Place the atoms.

        Args:
            lattice: conventional lattices, rows, (n_crystals, 3, 3), Å.
            u: parameters of each site, (n_sites, 3); components that are not free do nothing.

        Returns:
            Primitive cells; fractional coordinates are not wrapped, so gradients pass.
        """
        return Crystals(
            lattice=self.centring @ lattice,
            frac_coords=torch.einsum("nij,nj->ni", self.rotation, u[self.site]) + self.translation,
            atomic_numbers=self.atomic_numbers,
            num_atoms=self.num_atoms,
        )


def expand(templates: Templates, lattice: Tensor, u: Tensor) -> Crystals:
    """Expand once; see ``Orbits.expand``."""
    return Orbits.of(templates, dtype=lattice.dtype, device=lattice.device).expand(lattice, u)
