"""Known prototypes with the elements of the asked system put in: what plain substitution would propose.

They may be learned from in a second stage. Prototypes of more elements than the system are left out.
Whatever matches a known phase of the system is removed here, in code, before anything can learn from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch

from crystalgraph.chemistry.elements import covalent_radii, max_common_oxidation_state
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import group_equal, match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.symmetry.decorate import decorations, number_of_species
from crystalgraph.training.corpus import TemplateSet


@dataclass(frozen=True, kw_only=True)
class Redecorated:
    """Re-decorated crystals and what became of the others.

    Attributes:
        data: the crystals, distinct, none equal to a known phase.
        left_out: reason -> number of crystals.
    """

    data: TemplateSet
    left_out: dict[str, int]


def put_elements(data: TemplateSet, elements: list[int]) -> tuple[TemplateSet, Counter[str]]:
    """Replace the species of every crystal that has as many as the system, in order of electronegativity.

    Bond lengths are scaled by the covalent radii: the volume by the cube of the ratio of the mean radii.

    Args:
        data: real crystals.
        elements: atomic numbers of the system.

    Returns:
        The crystals, with more anions than the metals can bind left out, and what was left out.
    """
    fits = number_of_species(data.templates) == len(elements)
    left_out = Counter({"another number of elements": int((~fits).sum())})
    data = data[torch.nonzero(fits).flatten()]
    templates = data.templates
    if len(data) == 0:
        return data, left_out
    ((_, species),) = decorations(templates, elements)

    def per_crystal(site_values: torch.Tensor) -> torch.Tensor:
        weighted = site_values * templates.multiplicity
        return weighted.new_zeros(len(templates)).index_add(0, templates.batch, weighted)

    bound = per_crystal(max_common_oxidation_state()[species]) >= 0
    radii = covalent_radii()
    growth = 3 * (per_crystal(radii[species]) / per_crystal(radii[templates.atomic_numbers])).log()
    changed = replace(data, templates=templates.replace_species(species), log_volume=data.log_volume + growth)
    left_out["more anions than the metals can bind"] = int((~bound).sum())
    return changed[torch.nonzero(bound).flatten()], left_out


def redecorate(data: TemplateSet, elements: list[int], known: ReferenceIndex) -> Redecorated:
    """Re-decorate, drop what matches a known phase of the system, drop copies.

    Args:
        data: real crystals, none of the system.
        elements: atomic numbers of the system.
        known: the known phases of the system.
    """
    changed, left_out = put_elements(data, elements)
    structures = to_structures(changed.crystals())
    first = torch.from_numpy(group_equal(structures))
    distinct = torch.nonzero(first == torch.arange(len(first))).flatten()
    left_out["equal to another"] = len(first) - len(distinct)
    found = torch.from_numpy(match_any([structures[i] for i in distinct.tolist()], known))
    left_out["equal to a known phase"] = int((found >= 0).sum())
    return Redecorated(data=changed[distinct[found < 0]], left_out=dict(left_out))
