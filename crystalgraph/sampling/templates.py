"""Which templates to fill for a request: those of the corpus with the asked elements put in, or all that fit.

A template of as many species as the system has is re-decorated by mapping them, in order of electronegativity, on the
elements of the system. The less the elements must change, the likelier the template. Crystals of more species serve
too: the pool holds their templates with species merged (both cations of a perovskite one element).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import element_descriptors, max_common_oxidation_state
from crystalgraph.symmetry.decorate import decorations, number_of_species
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import point_group_order

#: Change of descriptors (mean square, in standard deviations, weighted by atoms) that makes a template e times rarer.
TEMPERATURE = 0.15

#: Weight of a template in which nothing is free, beside one with free parameters.
FIXED_WEIGHT = 0.2

#: Weights grow with this power of the order of the point group: crystals of few atoms are mostly symmetric, while the
#: templates of low-symmetry ones, each seen once, are many.
SYMMETRY_POWER = 1.5


@dataclass(frozen=True, kw_only=True)
class WeightedTemplates:
    """Distinct templates and how likely each is to be drawn; weights sum to one."""

    templates: Templates
    weights: Tensor

    def __len__(self) -> int:
        return len(self.templates)

    def only(self, mask: Tensor) -> WeightedTemplates:
        """Keep those where the mask, (n,), is true."""
        weights = self.weights[mask]
        return WeightedTemplates(templates=self.templates[mask], weights=weights / weights.sum())


def element_counts(templates: Templates, elements: list[int]) -> Tensor:
    """Atoms of each element in the primitive cell, (n_templates, n_elements)."""
    counts = torch.zeros(len(templates), 119, dtype=torch.long)
    counts.index_put_((templates.batch, templates.atomic_numbers), templates.multiplicity, accumulate=True)
    return counts[:, elements]


def decorate(pool: Templates, counts: Tensor, elements: list[int]) -> WeightedTemplates:
    """Put the elements of a system on the templates of a pool.

    Args:
        pool: templates of real crystals, see `crystalgraph.training.pool`.
        counts: crystals of each, (len(pool),).
        elements: atomic numbers of the system, all of which are used.

    Returns:
        Distinct templates; more oxygen, say, than the metals can bind is left out where there are anions.
    """
    fits = number_of_species(pool) == len(elements)
    pool, counts = pool[fits], counts[fits]
    if len(pool) == 0:
        return WeightedTemplates(templates=pool, weights=torch.zeros(0, dtype=torch.float64))
    ((_, species),) = decorations(pool, elements)
    descriptors = element_descriptors()
    change = (descriptors[species] - descriptors[pool.atomic_numbers]).square().mean(1)
    change = change * pool.multiplicity / pool.num_atoms[pool.batch]
    cost = torch.zeros(len(pool), dtype=change.dtype).index_add(0, pool.batch, change)
    templates, weight = pool.replace_species(species), counts.double().sqrt() * torch.exp(-cost / TEMPERATURE)
    highest = max_common_oxidation_state()[templates.atomic_numbers] * templates.multiplicity
    charge = torch.zeros(len(templates), dtype=highest.dtype).index_add(0, templates.batch, highest)
    weight = torch.where(templates.num_free == 0, FIXED_WEIGHT * weight, weight)
    weight = weight * point_group_order(templates.space_group_number).double() ** SYMMETRY_POWER
    bound = (charge >= 0) & (weight > 1e-5 * weight.max())
    templates, weight = templates[bound], weight[bound]
    first, which = templates.distinct()
    total = torch.zeros(len(first), dtype=torch.float64).index_add(0, which, weight)
    return WeightedTemplates(templates=templates[first], weights=total / total.sum())
