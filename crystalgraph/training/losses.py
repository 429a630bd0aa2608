"""How far a generated crystal is from the real one that has the same template.

The measure compares sorted nearest-neighbour distances between the species, so it does not mind the setting, the
origin, or which of two equal orbits is which.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.crystals.nearest import image_distances, image_vectors
from crystalgraph.models.sites import Sites, State
from crystalgraph.symmetry.parameters import ParametrisedTemplates

#: Nearest distances compared for each ordered pair of species.
N_SHELLS = 8

#: Reduced distances below this are pushed apart.
REPULSION_RANGE = 0.8


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Sorted log reduced distances between the species of each crystal.

    Attributes:
        mean: mean over the centres of a species, (n_crystals, n_roles, n_roles, N_SHELLS).
        spread: standard deviation over the centres, same shape.
        exists: whether both species are there, same shape.
        repulsion: mean of relu(REPULSION_RANGE − d / (r_i + r_j))² over the centres' distances, (n_crystals,).
    """

    mean: Tensor
    spread: Tensor
    exists: Tensor
    repulsion: Tensor

    def repeat(self, n: int) -> Profile:
        """The batch n times over."""
        return Profile(**{name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in vars(self).items()})


def roles(sites: Sites) -> Tensor:
    """Number the species of each crystal from zero, by atomic number, (n_sites,)."""
    present = torch.zeros(len(sites), 120, dtype=torch.long, device=sites.batch.device)
    present[sites.batch, sites.atomic_numbers] = 1
    rank = torch.cumsum(present, 1) - 1
    return rank[sites.batch, sites.atomic_numbers]


def distance_profile(sites: Sites, role: Tensor, state: State, radii: Tensor) -> Profile:
    """Measure a batch; gradients reach lattice and coordinates.

    Args:
        sites: the templates.
        role: species number of each site, (n_sites,), from ``roles``.
        state: the crystals.
        radii: covalent radii by atomic number, Å.
    """
    crystals, center = state.crystals, sites.orbits.representative
    n_roles, n = int(role.max()) + 1, len(sites)
    images = image_distances(crystals, center)
    role_of_column = role[sites.orbits.site[images.atom]]
    nearest = [images.nearest(N_SHELLS, role_of_column == r) for r in range(n_roles)]
    atoms, shifts, exists = (torch.cat(parts, 1) for parts in zip(*nearest, strict=True))
    vectors = image_vectors(crystals, center, atoms, shifts)
    distance = (vectors.square().sum(2) + 1e-6).sqrt()
    reduced = distance / (radii[crystals.atomic_numbers[atoms]] + radii[sites.atomic_numbers][:, None])
    value = torch.where(exists, reduced, 1.0).clamp_min(0.05).log().unflatten(1, (n_roles, N_SHELLS))

    group = sites.batch * n_roles + role
    total = sites.weight.new_zeros(n * n_roles).index_add(0, group, sites.weight)
    weight = (sites.weight / total[group])[:, None, None]
    mean = value.new_zeros(n * n_roles, n_roles, N_SHELLS).index_add(0, group, value * weight)
    deviation = (value - mean[group]).square() * weight
    spread = (mean.new_zeros(mean.shape).index_add(0, group, deviation) + 1e-5).sqrt()
    there = torch.zeros(n * n_roles, n_roles, N_SHELLS, dtype=torch.bool, device=group.device)
    there[group] = exists.unflatten(1, (n_roles, N_SHELLS))

    close = ((REPULSION_RANGE - reduced).relu().square() * exists).sum(1) * sites.weight
    shape = (n, n_roles, n_roles, N_SHELLS)
    return Profile(
        mean=mean.view(shape),
        spread=spread.view(shape),
        exists=there.view(shape),
        repulsion=close.new_zeros(n).index_add(0, sites.batch, close),
    )


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """Terms of the reconstruction loss, each (n_crystals,)."""

    distance: Tensor
    volume: Tensor
    shape: Tensor
    repulsion: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted sum, (n_crystals,)."""
        return 3 * self.distance + 0.3 * self.volume + 0.25 * self.shape + self.repulsion


def reconstruction_loss(
    generated: ParametrisedTemplates, real: ParametrisedTemplates, generated_profile: Profile, real_profile: Profile
) -> LossTerms:
    """Compare generated with real crystals of the same templates, crystal by crystal.

    Args:
        generated: only the lattice code is used.
        real: the same.
        generated_profile: of the generated crystals.
        real_profile: of the real ones.
    """
    near = torch.exp(-1.5 * real_profile.mean) * real_profile.exists
    apart = torch.nn.functional.smooth_l1_loss(generated_profile.mean, real_profile.mean, reduction="none", beta=0.05)
    apart = apart + 0.5 * torch.nn.functional.smooth_l1_loss(
        generated_profile.spread, real_profile.spread, reduction="none", beta=0.05
    )
    return LossTerms(
        distance=(apart * near).sum((1, 2, 3)) / near.sum((1, 2, 3)),
        volume=(generated.log_volume - real.log_volume).abs(),
        shape=(generated.shape - real.shape).abs().mean(1),
        repulsion=generated_profile.repulsion,
    )
