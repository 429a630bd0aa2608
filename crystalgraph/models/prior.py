"""How likely a template is for its elements: a deep set of MLPs over Wyckoff sites.

A site is known by its operator, its multiplicity and its element; the template by its space group, its size and the
mean and spread of its elements. No geometry is seen, so a hundred thousand templates are weighed in seconds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER, element_descriptors
from crystalgraph.geometry.lattice import CRYSTAL_SYSTEMS, crystal_system
from crystalgraph.models.layers import mlp, pool
from crystalgraph.symmetry.species import number_of_species
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import N_SPACE_GROUPS, point_group_order, wyckoff_table

#: Templates weighed together.
BATCH = 4096

#: Features of an element or a space group that only its number tells.
IDENTITY_WIDTH = 12

#: Columns of ``_site_numbers`` and ``_template_numbers``.
N_SITE_NUMBERS = 9 + 3 + 3 + 3 + 1
N_TEMPLATE_NUMBERS = 6 + len(CRYSTAL_SYSTEMS)


class TemplatePrior(nn.Module):
    """The logarithm, up to a constant, of how often a template is the one that its elements crystallise in.

    Differences hold between templates of the same elements only. Equivalent choices of letters need not weigh exactly
    the same; the weights are of the setting that a template is given in.

    Args:
        width: features of a site, and of a template.
        n_blocks: rounds in which a site hears of the others.
        hidden: share of the elements and groups whose identity is hidden in training, so that descriptors are used.
    """

    descriptors: Tensor

    def __init__(self, *, width: int = 64, n_blocks: int = 2, hidden: float = 0.3) -> None:
        super().__init__()
        self.hidden = hidden
        self.register_buffer("descriptors", element_descriptors().float())
        n = self.descriptors.shape[1]
        self.element = nn.Embedding(MAX_ATOMIC_NUMBER + 1, IDENTITY_WIDTH)
        self.space_group = nn.Embedding(N_SPACE_GROUPS + 1, IDENTITY_WIDTH)
        self.template = mlp(2 * n + N_TEMPLATE_NUMBERS + IDENTITY_WIDTH, width, width)
        self.site = mlp(n + IDENTITY_WIDTH + N_SITE_NUMBERS + 3 + width, width, width)
        self.blocks = nn.ModuleList(mlp(4 * width, width, width, last_scale=0.5) for _ in range(n_blocks))
        self.score = mlp(3 * width, width, 1, last_scale=0.1)

    def forward(self, templates: Templates, rng: torch.Generator | None = None) -> Tensor:
        """Weigh templates.

        Args:
            templates: with the asked elements on them.
            rng: draws which identities are hidden; None hides nothing.

        Returns:
            (n_templates,), logarithms.
        """
        n, batch, z = len(templates), templates.batch, templates.atomic_numbers
        share = (templates.multiplicity / templates.num_atoms[batch])[:, None].to(self.descriptors.dtype)
        element, space_group = self.element(z), self.space_group(templates.space_group_number)
        if rng is not None:
            element = element * (torch.rand(len(z), 1, generator=rng) >= self.hidden)
            space_group = space_group * (torch.rand(n, 1, generator=rng) >= self.hidden)
        described = self.descriptors[z]
        mean = described.new_zeros(n, described.shape[1]).index_add(0, batch, described * share)
        spread = torch.zeros_like(mean).index_add(0, batch, (described - mean[batch]).square() * share)
        whole = torch.cat([mean, (spread + 1e-6).sqrt(), _template_numbers(templates), space_group], 1)
        context = self.template(whole)

        of_element = batch * (MAX_ATOMIC_NUMBER + 1) + z
        fraction = share.new_zeros(n * (MAX_ATOMIC_NUMBER + 1), 1).index_add(0, of_element, share)[of_element]
        polarity = (described - mean[batch])[:, :1]  # how much more electronegative than the mean
        own = [described, element, _site_numbers(templates), share, polarity, fraction, context[batch]]
        h = self.site(torch.cat(own, 1))
        for block in self.blocks:
            heard = pool(h, batch, share[:, 0], n)
            h = h + block(torch.cat([h, heard[batch], context[batch]], 1))
        return self.score(torch.cat([pool(h, batch, share[:, 0], n), context], 1))[:, 0]

    @torch.no_grad()
    def log_weights(self, templates: Templates) -> Tensor:
        """As ``forward``, for any number of templates, float64."""
        if len(templates) == 0:
            return torch.zeros(0, dtype=torch.float64)
        return torch.cat([self(templates[rows]) for rows in torch.arange(len(templates)).split(BATCH)]).double()


def _site_numbers(templates: Templates) -> Tensor:
    """The operator of each site, what is free in it, and its multiplicity, (n_sites, N_SITE_NUMBERS)."""
    table, rows = wyckoff_table(), templates.position
    angle = 2 * math.pi * table.translation[rows]
    multiplicity = templates.multiplicity[:, None].double().log() / 3
    numbers = [table.rotation[rows].flatten(1), table.free[rows], angle.cos(), angle.sin(), multiplicity]
    return torch.cat([column.float() for column in numbers], 1)


def _template_numbers(templates: Templates) -> Tensor:
    """Size, freedom and symmetry of each template, (n_templates, N_TEMPLATE_NUMBERS)."""
    group, free = templates.space_group_number, templates.num_free.double()
    numbers = torch.stack(
        [
            templates.num_atoms.double().log() / 2,
            (1 + free).log() / 2,
            (free == 0).double(),
            templates.num_sites.double().log(),
            point_group_order(group).double().log() / 3,
            number_of_species(templates).double() - 2,
        ],
        1,
    )
    system = nn.functional.one_hot(crystal_system(group), len(CRYSTAL_SYSTEMS))
    return torch.cat([numbers.float(), system.float()], 1)
