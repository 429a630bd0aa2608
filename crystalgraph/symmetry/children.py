"""Crystals derived from a crystal: two orbits exchanged, or small distortions undone so that its symmetry rises."""

from __future__ import annotations

from itertools import combinations

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.substitute import substitute

LOOSE = 0.3
"""Å; the tolerance within which a crystal is given a higher symmetry."""


def children(crystals: Crystals) -> ParametrisedTemplates:
    """Crystals derived from others, each template once, none of the others' own.

    Args:
        crystals: the parents.
    """
    parents = extract(crystals).parametrised
    symmetrised = extract(crystals, symprec=LOOSE).parametrised
    everything = ParametrisedTemplates.concatenate([parents, symmetrised, *_exchanged(parents)])
    first, which = everything.templates.distinct()
    own = set(which[: len(parents)].tolist())
    return everything[first[[k for k in range(len(first)) if k not in own]]]


def _exchanged(parents: ParametrisedTemplates) -> list[ParametrisedTemplates]:
    """Each parent with the elements of two orbits of as many atoms exchanged."""
    templates = parents.templates
    found = []
    for k in range(len(parents)):
        sites = templates.sites_of(torch.tensor([k])).tolist()
        for i, j in combinations(sites, 2):
            elements, sizes = templates.atomic_numbers, templates.multiplicity
            if elements[i] == elements[j] or sizes[i] != sizes[j]:
                continue
            swapped = elements.clone()
            swapped[[i, j]] = elements[[j, i]]
            found.append(substitute(parents, swapped)[torch.tensor([k])])
    return found
