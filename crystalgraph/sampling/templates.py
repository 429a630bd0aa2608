"""Which templates to fill for a request: those of the corpus with the asked elements put in, or all that fit.

A corpus template is re-decorated by mapping its species, in order of electronegativity, on the elements of the system;
several species may become one element (both cations of a perovskite become niobium). The less the elements must
change, the likelier the template.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import element_descriptors, max_common_oxidation_state
from crystalgraph.symmetry.decorate import decorations
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
        pool: templates of real crystals.
        counts: crystals of each, (len(pool),).
        elements: atomic numbers of the system, all of which are used.

    Returns:
        Distinct templates; more oxygen, say, than the metals can bind is left out where there are anions.
    """
    descriptors = element_descriptors()
    share = pool.multiplicity / pool.num_atoms[pool.batch]
    made, weights = [], []
    for chosen, species in decorations(pool, elements):
        part = pool[chosen]
        change = (descriptors[species] - descriptors[part.atomic_numbers]).square().mean(1)
        change = change * share[torch.isin(pool.batch, chosen)]
        cost = torch.zeros(len(part), dtype=change.dtype).index_add(0, part.batch, change)
        made.append(part.replace_species(species))
        weights.append(counts[chosen].double().sqrt() * torch.exp(-cost / TEMPERATURE))
    if not made:
        return WeightedTemplates(templates=pool[:0], weights=torch.zeros(0, dtype=torch.float64))
    templates, weight = Templates.concatenate(made), torch.cat(weights)
    highest = max_common_oxidation_state()[templates.atomic_numbers] * templates.multiplicity
    charge = torch.zeros(len(templates), dtype=highest.dtype).index_add(0, templates.batch, highest)
    weight = torch.where(templates.num_free == 0, FIXED_WEIGHT * weight, weight)
    weight = weight * point_group_order(templates.space_group_number).double() ** SYMMETRY_POWER
    bound = (charge >= 0) & (weight > 1e-5 * weight.max())
    templates, weight = templates[bound], weight[bound]
    first, which = templates.distinct()
    total = torch.zeros(len(first), dtype=torch.float64).index_add(0, which, weight)
    return WeightedTemplates(templates=templates[first], weights=total / total.sum())
