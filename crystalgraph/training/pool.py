"""The templates that a model carries: those of the crystals it learned from, also with species become one.

A crystal can have more symmetry when two of its species are the same: an ordered rock salt of two cations is plain rock
salt when both are niobium. Its template is therefore found again for every way to merge species, once, here; filling
the old one would ask for a group that the crystal does not have.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.engine.workers import Workers
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, species_rank
from crystalgraph.symmetry.substitute import substitute, substitutions
from crystalgraph.symmetry.template import Templates


def merged_species(crystals: Crystals) -> Iterator[Crystals]:
    """The crystals with species of neighbouring electronegativity become one, in every way.

    What takes the place of several species is the one with most atoms, of equals the lightest.

    Args:
        crystals: of any chemistry.

    Yields:
        For each number of species that is left and each way to get there, the crystals that it applies to.
    """
    n_species = number_of_species(crystals)
    for n_left in range(1, int(n_species.max())):
        roles = list(range(1, n_left + 1))  # any elements will do, they only number the roles
        for chosen, by_role in substitutions(crystals, roles):
            if int(n_species[chosen[0]]) == n_left:
                continue
            part, role = crystals[chosen], by_role.atomic_numbers
            counts = torch.zeros(len(part), n_left + 1, 119, dtype=torch.long)
            where = part.batch, role, part.atomic_numbers
            counts.index_put_(where, torch.ones_like(role), accumulate=True)
            yield substitute(part, counts.argmax(2)[part.batch, role])


def template_pool(data: ParametrisedTemplates, workers: int | Workers = 1) -> Templates:
    """Templates of real crystals, as they are and with species merged.

    Args:
        data: the crystals learned from.
        workers: processes that look for symmetry.

    Returns:
        Each once: of templates that become equal when other elements take their places by electronegativity, the
        first is kept, with the elements of its crystal.
    """
    merged = [extract(crystals, workers=workers).templates for crystals in merged_species(data.crystals())]
    everything = Templates.concatenate([data.templates, *merged])
    by_role = substitute(everything, 1 + species_rank(everything))  # any elements will do, they only number the roles
    first, _ = by_role.distinct()
    return everything[first]
