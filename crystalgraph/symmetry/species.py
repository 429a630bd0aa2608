"""The species of templates and crystals: how many, in which order of electronegativity, and sums over their atoms."""

from __future__ import annotations

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import electronegativities, max_common_oxidation_state
from crystalgraph.crystals.batch import Crystals
from crystalgraph.symmetry.template import Templates

Occupied = Crystals | Templates
"""What has a species on each site or atom."""


def number_of_species(source: Occupied) -> Tensor:
    """How many elements each template or crystal has, (n,)."""
    return _present(source).sum(1)


def _present(source: Occupied) -> Tensor:
    """Which elements each template or crystal has, (n, 119)."""
    present = torch.zeros(len(source), 119, dtype=torch.bool)
    present[source.batch, source.atomic_numbers] = True
    return present


def species_rank(source: Occupied) -> Tensor:
    """Place of each site's or atom's element among those of its template, least electronegative first, from 0."""
    present = _present(source)
    order = torch.argsort(electronegativities(), stable=True)
    rank = torch.empty(present.shape, dtype=torch.long)
    rank[:, order] = torch.cumsum(present[:, order], 1) - 1
    return rank[source.batch, source.atomic_numbers]


def ranked_elements(source: Occupied) -> Tensor:
    """Elements of each template or crystal, least electronegative first, (n, most elements), 0 beyond the last."""
    elements = torch.zeros(len(source), int(number_of_species(source).max()), dtype=torch.long)
    elements[source.batch, species_rank(source)] = source.atomic_numbers
    return elements


def sum_over_atoms(source: Occupied, values: Tensor) -> Tensor:
    """Sum over the atoms of each primitive cell, or crystal, of a number of their elements.

    Args:
        source: templates or crystals.
        values: by atomic number, (119,).

    Returns:
        (n,), in the type of the values.
    """
    own = values[source.atomic_numbers]
    if isinstance(source, Templates):
        own = own * source.multiplicity
    return own.new_zeros(len(source)).index_add(0, source.batch, own)


def binds_its_anions(source: Occupied) -> Tensor:
    """Whether the highest common oxidation states sum to no less than zero, (n,), bool.

    If not, there are more anions than the metals can bind: NbO₃, for one.
    """
    return sum_over_atoms(source, max_common_oxidation_state()) >= 0
