"""What the generator works on: sites of templates, the noise of a draw, and crystals in the making."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.geometry.lattice import crystal_system, lattice_from_code
from crystalgraph.symmetry.expand import Orbits
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table


@dataclass(frozen=True, kw_only=True)
class Sites:
    """What a network is told of a batch of templates; all tensors on one device.

    Attributes:
        templates: the templates themselves, on the CPU.
        orbits: operators for the expansion.
        batch: crystal of each site, (n_sites,).
        weight: share of the crystal's atoms on each site, (n_sites,).
        atomic_numbers: element of each site, (n_sites,).
        space_group_number: (n_crystals,).
        system: crystal system, (n_crystals,).
        atoms_per_cell: atoms of the conventional cell, (n_crystals,).
        free: which parameters are free, (n_sites, 3), 0 or 1.
        pseudo_inverse: R⁺ of each site, (n_sites, 3, 3).
        operator: numbers of the site's operator and multiplicity, (n_sites, 20).
    """

    templates: Templates
    orbits: Orbits
    batch: Tensor
    weight: Tensor
    atomic_numbers: Tensor
    space_group_number: Tensor
    system: Tensor
    atoms_per_cell: Tensor
    free: Tensor
    pseudo_inverse: Tensor
    operator: Tensor

    def __len__(self) -> int:
        return self.system.shape[0]

    @classmethod
    def of(cls, templates: Templates, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Sites:
        """Look everything up that does not depend on noise or weights."""
        table, position = wyckoff_table(), templates.position
        multiplicity, num_atoms = templates.multiplicity, templates.num_atoms
        translation = 2 * torch.pi * table.translation[position]
        share = multiplicity / num_atoms[templates.batch]
        operator = torch.cat(
            [
                table.rotation[position].flatten(1),
                table.free[position],
                translation.cos(),
                translation.sin(),
                multiplicity[:, None].double().log() / 3,
                share[:, None],
            ],
            1,
        )

        def place(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return cls(
            templates=templates,
            orbits=Orbits.of(templates, dtype=dtype, device=device),
            batch=place(templates.batch),
            weight=place(share),
            atomic_numbers=place(templates.atomic_numbers),
            space_group_number=place(templates.space_group_number),
            system=place(crystal_system(templates.space_group_number)),
            atoms_per_cell=place(num_atoms / torch.linalg.det(table.centring[templates.space_group_number])),
            free=place(table.free[position].double()),
            pseudo_inverse=place(table.pseudo_inverse[position]),
            operator=place(operator),
        )


@dataclass(frozen=True, kw_only=True)
class Noise:
    """All that is random about a draw.

    Attributes:
        start: u⁰ of each site, (n_sites, 3), in [0, 1), 0 where not free.
        latent: (n_crystals, n_noise), normal.
        element_seen: 1 where the element's embedding is seen, 0 where it is hidden, (n_sites, 1).
        group_seen: the same for the space group's embedding, (n_crystals, 1).
    """

    start: Tensor
    latent: Tensor
    element_seen: Tensor
    group_seen: Tensor

    def select(self, crystals: Tensor, sites: Tensor) -> Noise:
        """The noise of some crystals and their sites, by index."""
        return Noise(
            start=self.start[sites],
            latent=self.latent[crystals],
            element_seen=self.element_seen[sites],
            group_seen=self.group_seen[crystals],
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """Crystals in the making: parameters, and the atoms that they place.

    It stands beside ``ParametrisedTemplates`` because its atoms are placed once, with gradients, by operators that its
    sites keep on the device.

    Attributes:
        parametrised: templates, lattice codes and site parameters.
        lattice: conventional lattices, (n_crystals, 3, 3), Å.
        crystals: the expanded primitive cells.
    """

    parametrised: ParametrisedTemplates
    lattice: Tensor
    crystals: Crystals

    @classmethod
    def of(cls, sites: Sites, parametrised: ParametrisedTemplates) -> State:
        """Place the atoms of crystals of the sites' templates; parameters may have any type, on any device."""
        parametrised = parametrised.to(sites.weight)
        lattice = lattice_from_code(sites.system, parametrised.log_volume, parametrised.shape)
        return cls(parametrised=parametrised, lattice=lattice, crystals=sites.orbits.expand(lattice, parametrised.u))

    def where(self, chosen: Tensor, sites: Sites, other: State) -> State:
        """These crystals where chosen, (n_crystals,), bool, and elsewhere those of another state of the same sites."""
        atoms, cells = chosen[self.crystals.batch][:, None], chosen[:, None, None]
        own, others = self.parametrised, other.parametrised
        return State(
            parametrised=replace(
                own,
                log_volume=torch.where(chosen, own.log_volume, others.log_volume),
                shape=torch.where(chosen[:, None], own.shape, others.shape),
                u=torch.where(chosen[sites.batch][:, None], own.u, others.u),
            ),
            lattice=torch.where(cells, self.lattice, other.lattice),
            crystals=self.crystals.replace(
                lattice=torch.where(cells, self.crystals.lattice, other.crystals.lattice),
                frac_coords=torch.where(atoms, self.crystals.frac_coords, other.crystals.frac_coords),
            ),
        )
