"""Templates with parameters: a lattice code and site parameters make crystals of templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.geometry.lattice import code_from_lattice, crystal_system, free_shape, lattice_from_code
from crystalgraph.symmetry.expand import expand
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table


@dataclass(frozen=True, kw_only=True)
class ParametrisedTemplates:
    """A frozen batch of crystals as templates, lattice codes and site parameters.

    Attributes:
        templates: one per crystal, on the CPU wherever the parameters are.
        log_volume: log of the conventional cell's volume, (n,), Å³.
        shape: k₁…k₅ of the lattice code, (n, 5), see ``crystalgraph.geometry.lattice``.
        u: parameters of each site, (n_sites, 3).
        prototype_names: for ``prototypes``, where the templates no longer tell them; length n.
    """

    templates: Templates
    log_volume: Tensor
    shape: Tensor
    u: Tensor
    prototype_names: Sequence[str] | None = None

    @classmethod
    def from_lattice(cls, templates: Templates, lattice: Tensor, u: Tensor) -> ParametrisedTemplates:
        """Describe crystals in the standard setting.

        Args:
            templates: one per crystal.
            lattice: conventional lattices, rows, (n, 3, 3), Å; what the crystal system forbids is dropped.
            u: parameters of each site, (n_sites, 3).
        """
        log_volume, shape = code_from_lattice(lattice)
        free = free_shape(crystal_system(templates.space_group_number), shape.dtype)
        return cls(templates=templates, log_volume=log_volume, shape=shape * free, u=u)

    def __len__(self) -> int:
        return len(self.templates)

    def __getitem__(self, index: Tensor) -> ParametrisedTemplates:
        """Select by positions, (m,), int64."""
        names = self.prototype_names
        return ParametrisedTemplates(
            templates=self.templates[index],
            log_volume=self.log_volume[index],
            shape=self.shape[index],
            u=self.u[self.templates.sites_of(index)],
            prototype_names=None if names is None else [names[k] for k in index.tolist()],
        )

    @staticmethod
    def concatenate(batches: Sequence[ParametrisedTemplates]) -> ParametrisedTemplates:
        """Join batches in order; names of prototypes that were given are dropped."""
        return ParametrisedTemplates(
            templates=Templates.concatenate([b.templates for b in batches]),
            log_volume=torch.cat([b.log_volume for b in batches]),
            shape=torch.cat([b.shape for b in batches]),
            u=torch.cat([b.u for b in batches]),
        )

    @cached_property
    def prototypes(self) -> list[str]:
        """A name for each crystal whatever its elements, see ``Templates.prototypes``."""
        return self.templates.prototypes() if self.prototype_names is None else list(self.prototype_names)

    @property
    def lattice(self) -> Tensor:
        """Conventional lattices, rows, (n, 3, 3), Å."""
        system = crystal_system(self.templates.space_group_number.to(self.log_volume.device))
        return lattice_from_code(system, self.log_volume, self.shape)

    @property
    def volume_per_atom(self) -> Tensor:
        """(n,), Å³."""
        centring = wyckoff_table().centring[self.templates.space_group_number]
        return self.log_volume.exp() * torch.linalg.det(centring) / self.templates.num_atoms

    def crystals(self) -> Crystals:
        """The crystals themselves, primitive cells; coordinates are not wrapped."""
        return expand(self.templates, self.lattice, self.u)

    def to(self, like: Tensor) -> ParametrisedTemplates:
        """The parameters in the type and on the device of a tensor."""
        return ParametrisedTemplates(
            templates=self.templates,
            log_volume=self.log_volume.to(like),
            shape=self.shape.to(like),
            u=self.u.to(like),
            prototype_names=self.prototype_names,
        )

    def without_symmetry(self) -> ParametrisedTemplates:
        """The same crystals in P1, every atom of the primitive cell a site of its own; their prototypes keep names."""
        crystals = self.crystals()
        log_volume, shape = code_from_lattice(crystals.lattice)
        return ParametrisedTemplates(
            templates=Templates(
                space_group_number=torch.ones_like(crystals.num_atoms),
                num_sites=crystals.num_atoms,
                position=torch.full_like(crystals.atomic_numbers, wyckoff_table().first_position(1)),
                atomic_numbers=crystals.atomic_numbers,
            ),
            log_volume=log_volume,
            shape=shape,
            u=crystals.frac_coords % 1.0,
            prototype_names=self.prototypes,
        )
