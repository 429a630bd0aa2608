"""The elements of a system on templates of other crystals, their species mapped in order of electronegativity.

Several species may become one element: both cations of a perovskite become niobium.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import electronegativities


class Decorated(Protocol):
    """Templates with a species on each site, or crystals with one on each atom."""

    @property
    def batch(self) -> Tensor:
        """The template or crystal of each site or atom."""

    @property
    def atomic_numbers(self) -> Tensor:
        """Of each site or atom."""

    def __len__(self) -> int: ...


def number_of_species(templates: Decorated) -> Tensor:
    """How many elements each template or crystal has, (n,)."""
    return _present(templates).sum(1)


def _present(templates: Decorated) -> Tensor:
    """Which elements each template or crystal has, (n, 119)."""
    present = torch.zeros(len(templates), 119, dtype=torch.bool)
    present[templates.batch, templates.atomic_numbers] = True
    return present


def species_rank(templates: Decorated) -> Tensor:
    """Place of each site's or atom's element among those of its template, least electronegative first, from 0."""
    present = _present(templates)
    order = torch.argsort(electronegativities(), stable=True)
    rank = torch.empty(present.shape, dtype=torch.long)
    rank[:, order] = torch.cumsum(present[:, order], 1) - 1
    return rank[templates.batch, templates.atomic_numbers]


def ranked_elements(templates: Decorated) -> Tensor:
    """Elements of each template or crystal, least electronegative first, (n, most elements), 0 beyond the last."""
    found = torch.zeros(len(templates), int(number_of_species(templates).max()), dtype=torch.long)
    found[templates.batch, species_rank(templates)] = templates.atomic_numbers
    return found


def decorations(templates: Decorated, elements: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """All ways to put all elements of a system on templates, species of neighbouring rank merged where there are more.

    Args:
        templates: templates or crystals of any chemistry.
        elements: atomic numbers of the system.

    Yields:
        Positions of the templates that a way applies to, (n,), and the element of each of their sites, in order.
    """
    values = electronegativities()
    order = torch.tensor(sorted(elements, key=lambda z: float(values[z])))
    rank, n_species = species_rank(templates), number_of_species(templates)
    for n in range(len(elements), int(n_species.max()) + 1):
        chosen = torch.nonzero(n_species == n).flatten()
        if len(chosen) == 0:
            continue
        of_chosen = rank[torch.isin(templates.batch, chosen)]
        for cuts in itertools.combinations(range(1, n), len(elements) - 1):
            yield chosen, order[torch.bucketize(of_chosen, torch.tensor(cuts, dtype=torch.long), right=True)]
