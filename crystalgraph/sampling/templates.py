"""Which templates to fill for a request: those of the model's pool with the asked elements put in, likely ones first.

A template of as many species as the system has is re-decorated by mapping them, in order of electronegativity, on the
elements of the system. Crystals of more species serve too: the pool holds their templates with species merged (both
cations of a perovskite one element). How likely each is for these elements, the model's prior says.
"""

from __future__ import annotations

from dataclasses import dataclass

from ase.data import chemical_symbols
from torch import Tensor

from crystalgraph.chemistry.composition import element_counts, reduced
from crystalgraph.chemistry.system import Formula
from crystalgraph.symmetry.species import binds_its_anions, number_of_species
from crystalgraph.symmetry.substitute import substitutions
from crystalgraph.symmetry.template import Templates


@dataclass(frozen=True, kw_only=True)
class WeightedTemplates:
    """Distinct templates and how likely each is to be drawn; weights sum to one."""

    templates: Templates
    weights: Tensor

    def __len__(self) -> int:
        return len(self.templates)


def atoms_in_cell(templates: Templates) -> Tensor:
    """Atoms of each element in the primitive cell, (n_templates, 119); column Z is element Z."""
    return element_counts(templates.atomic_numbers, templates.batch, len(templates), weights=templates.multiplicity)


def formula_groups(templates: Templates) -> Tensor:
    """Which templates have the same reduced formula: equal numbers, from 0, (n_templates,)."""
    return reduced(atoms_in_cell(templates)).unique(dim=0, return_inverse=True)[1]


def formulas_of(templates: Templates) -> list[str]:
    """Reduced formula of each template."""
    unit = reduced(atoms_in_cell(templates))
    rows, which = unit.unique(dim=0, return_inverse=True)
    names = [
        str(Formula.from_counts({chemical_symbols[z]: int(row[z]) for z in row.nonzero().flatten().tolist()}))
        for row in rows.long()
    ]
    return [names[k] for k in which.tolist()]


def decorate(pool: Templates, elements: list[int]) -> Templates:
    """Put the elements of a system on the templates of a pool.

    Args:
        pool: templates of real crystals, see `crystalgraph.training.pool`.
        elements: atomic numbers of the system, all of which are used.

    Returns:
        Distinct templates; more oxygen, say, than the metals can bind is left out where there are anions.
    """
    pool = pool[number_of_species(pool) == len(elements)]
    if len(pool) == 0:
        return pool
    ((_, templates),) = substitutions(pool, elements)
    templates = templates[binds_its_anions(templates)]
    first, _ = templates.distinct()
    return templates[first]
