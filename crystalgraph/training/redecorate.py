"""Known prototypes with the elements of the asked system put in: what plain substitution would propose.

They may be learned from in a second stage. Prototypes of more elements than the system are left out.
Whatever matches a known phase of the system is removed here, in code, before anything can learn from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import group_equal, match_any
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import binds_its_anions, number_of_species
from crystalgraph.symmetry.substitute import covalent_radii_rule, substitutions


@dataclass(frozen=True, kw_only=True)
class Redecorated:
    """Re-decorated crystals and what became of the others.

    Attributes:
        data: the crystals, distinct, none equal to a known phase.
        left_out: reason -> number of crystals.
    """

    data: ParametrisedTemplates
    left_out: dict[str, int]


def with_elements(data: ParametrisedTemplates, elements: list[int]) -> tuple[ParametrisedTemplates, Counter[str]]:
    """Replace the species of every crystal that has as many as the system; covalent radii scale the cells.

    Args:
        data: real crystals.
        elements: atomic numbers of the system.

    Returns:
        The crystals, with more anions than the metals can bind left out, and what was left out.
    """
    fits = number_of_species(data.templates) == len(elements)
    left_out = Counter({"another number of elements": int((~fits).sum())})
    fitting = data[torch.nonzero(fits).flatten()]
    if len(fitting) == 0:
        return fitting, left_out
    ((_, changed),) = substitutions(fitting, elements, covalent_radii_rule)
    bound = binds_its_anions(changed.templates)
    left_out["more anions than the metals can bind"] = int((~bound).sum())
    return changed[torch.nonzero(bound).flatten()], left_out


def redecorate(data: ParametrisedTemplates, elements: list[int], known: ReferenceIndex) -> Redecorated:
    """Re-decorate, drop what matches a known phase of the system, drop copies.

    Args:
        data: real crystals, none of the system.
        elements: atomic numbers of the system.
        known: the known phases of the system.
    """
    changed, left_out = with_elements(data, elements)
    structures = to_structures(changed.crystals())
    first = torch.from_numpy(group_equal(structures))
    distinct = torch.nonzero(first == torch.arange(len(first))).flatten()
    left_out["equal to another"] = len(first) - len(distinct)
    phase = torch.from_numpy(match_any([structures[i] for i in distinct.tolist()], known))
    left_out["equal to a known phase"] = int((phase >= 0).sum())
    return Redecorated(data=changed[distinct[phase < 0]], left_out=dict(left_out))
