"""Substitution of elements: other elements take the places of a crystal's own, in order of electronegativity.

Several species may become one element: both cations of a perovskite become niobium. Positions stay; how the cell grows
is a rule that the caller chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import covalent_radii, electronegativities
from crystalgraph.crystals.batch import Crystals
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import Occupied, number_of_species, species_rank, sum_over_atoms
from crystalgraph.symmetry.template import Templates

VolumeRule = Callable[[Occupied, Occupied], Tensor]
"""From crystals with their own and with their new elements to the growth of each cell: the log of the ratio of the
volumes, (n,)."""

Source = TypeVar("Source", Crystals, Templates, ParametrisedTemplates)


def keep_volume(before: Occupied, _after: Occupied) -> Tensor:
    """Leave lattices as they are."""
    return torch.zeros(len(before), dtype=torch.float64)


def covalent_radii_rule(before: Occupied, after: Occupied) -> Tensor:
    """Scale bond lengths by the covalent radii: volumes by the cube of the ratio of the mean radii."""
    radii = covalent_radii()
    return 3 * (sum_over_atoms(after, radii) / sum_over_atoms(before, radii)).log()


def element_volume_rule(element_volume: Tensor) -> VolumeRule:
    """Scale volumes by the sums of the volumes of the elements, (119,), Å³/atom."""
    volumes = element_volume.double()

    def growth(before: Occupied, after: Occupied) -> Tensor:
        return (sum_over_atoms(after, volumes) / sum_over_atoms(before, volumes)).log()

    return growth


def substitute(source: Source, atomic_numbers: Tensor, volume_rule: VolumeRule = keep_volume) -> Source:
    """Put an element on every site or atom.

    Args:
        source: crystals, or templates with or without parameters.
        atomic_numbers: the new elements, (n_sites,) or (n_atoms,).
        volume_rule: how cells grow; templates without parameters have none.

    Returns:
        The same crystals with other elements, angles and relative coordinates kept.
    """
    if isinstance(source, Templates):
        return replace(source, atomic_numbers=atomic_numbers)
    if isinstance(source, ParametrisedTemplates):
        templates = replace(source.templates, atomic_numbers=atomic_numbers)
        growth = volume_rule(source.templates, templates)
        return replace(source, templates=templates, log_volume=source.log_volume + growth)
    changed = source.replace(atomic_numbers=atomic_numbers)
    length = (volume_rule(source, changed) / 3).exp().to(source.lattice)
    return changed.replace(lattice=source.lattice * length[:, None, None])


def substitutions(
    source: Source, elements: list[int], volume_rule: VolumeRule = keep_volume
) -> Iterator[tuple[Tensor, Source]]:
    """All ways to put all elements of a system on crystals, species of neighbouring rank merged where there are more.

    Args:
        source: crystals, or templates with or without parameters, of any chemistry.
        elements: atomic numbers of the system, in any order.
        volume_rule: how cells grow; templates without parameters have none.

    Yields:
        Positions in the source of those that a way applies to, (n,), and these with the elements put on them. A source
        of fewer species than the system has comes in no way, one of as many in one way.
    """
    occupied: Occupied = source.templates if isinstance(source, ParametrisedTemplates) else source
    values = electronegativities()
    order = torch.tensor(sorted(elements, key=lambda z: float(values[z])))
    n_species = number_of_species(occupied)
    rank = species_rank(occupied)
    most = int(n_species.max()) if len(n_species) else 0
    for n in range(len(elements), most + 1):
        chosen = torch.nonzero(n_species == n).flatten()
        if len(chosen) == 0:
            continue
        rank_of_chosen = rank[torch.isin(occupied.batch, chosen)]
        part = source[chosen]
        for cuts in itertools.combinations(range(1, n), len(elements) - 1):
            species = order[torch.bucketize(rank_of_chosen, torch.tensor(cuts, dtype=torch.long), right=True)]
            yield chosen, substitute(part, species, volume_rule)
