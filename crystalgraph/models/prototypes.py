"""The prototype library: the training crystals by their protostructure.

A protostructure is a template whatever its elements, but for their order of electronegativity. What crystals have it,
and how near their elements are to those of a request, says much of whether these crystallise in it. One of them, with
the elements of the request in its place, is a way to fill the template: plain substitution. And how many
protostructures were seen but once says where substitution leaves something to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import mendeleev_numbers
from crystalgraph.crystals.batch import ranges
from crystalgraph.geometry.lattice import crystal_system, free_shape
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import ranked_elements, species_rank
from crystalgraph.symmetry.substitute import VolumeRule, substitute
from crystalgraph.symmetry.template import Templates

#: In Mendeleev numbers: what is added to how far elements are apart, of which the third power counts; and how far they
#: may be apart for a crystal to be drawn. With the prior beside it, of 1,000 crystals of held-out formulas that no
#: figure counts, the real template is the likeliest for 0.56; for 0.48 where crystals weigh e times less every five.
NEAR, DRAW_REACH = 0.5, 2.0

#: What a protostructure counts that was never seen.
UNSEEN = 1e-3

#: How far numbers of free parameters may be apart to count as alike, in the logarithm of one more than them.
ALIKE = 0.25


def protostructures(templates: Templates) -> list[str]:
    """A name for the protostructure of each template; equal for equivalent choices of letters."""
    return substitute(templates, 1 + species_rank(templates)).names() if len(templates) else []


@dataclass(frozen=True, kw_only=True)
class DrawnPrototypes:
    """A crystal for each template whose protostructure is in the library.

    Attributes:
        parametrised: with the elements of the request, in the setting of the crystal from the library, float64; 0 where
            there is none.
        known: whether there is one, (n,), bool.
    """

    parametrised: ParametrisedTemplates
    known: Tensor


class PrototypeLibrary:
    """The training crystals by their protostructure.

    Args:
        crystals: the training crystals; of those with equal templates the first is kept.

    Attributes:
        parametrised: those kept, by protostructure, float64.
    """

    def __init__(self, crystals: ParametrisedTemplates) -> None:
        first, _ = crystals.templates.distinct()
        self._number: dict[str, int] = {}
        number = torch.tensor(
            [self._number.setdefault(name, len(self._number)) for name in protostructures(crystals.templates[first])],
            dtype=torch.long,
        )
        kept = first[torch.argsort(number, stable=True)]
        self.parametrised = crystals[kept].to(torch.zeros(0, dtype=torch.float64))
        self._counts = torch.bincount(number, minlength=len(self._number))
        self._starts = torch.cumsum(self._counts, 0) - self._counts
        templates = self.parametrised.templates
        self._rank = species_rank(templates)
        self._elements, self._shares = torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.float64)
        if len(kept):
            self._elements = ranked_elements(templates)
            atoms = torch.zeros(self._elements.shape, dtype=torch.float64)
            where = templates.batch, self._rank
            atoms.index_put_(where, templates.multiplicity.double(), accumulate=True)
            self._shares = atoms / atoms.sum(1, keepdim=True)

    def __len__(self) -> int:
        return len(self.parametrised)

    def _numbers(self, templates: Templates) -> Tensor:
        """The number of each template's protostructure, (n,), −1 where it was never seen."""
        return torch.tensor([self._number.get(name, -1) for name in protostructures(templates)], dtype=torch.long)

    def substitution_likelihood(self, templates: Templates, reach: float | None = None) -> Tensor:
        """How often the protostructure of each template was seen with elements like those on it.

        The logarithm of Σ 1 / (d + NEAR)³ over the crystals that have the protostructure, or of ``UNSEEN`` if it is
        less. Their distance d is the mean over the atoms of how far the elements in their places are apart in
        Mendeleev numbers.

        Args:
            templates: with the elements of the request on them.
            reach: in Mendeleev numbers; with it the sum is that of exp(−d / reach), to which far elements add more.

        Returns:
            (n,), float64.

        Reference:
            D. G. Pettifor, Solid State Commun. 51, 31 (1984) (the scale, and that compounds of a structure lie
            together on it).
        """
        total = torch.zeros(len(templates), dtype=torch.float64)
        if len(templates) and len(self):
            row, _, distance = self._pairs(self._numbers(templates), ranked_elements(templates))
            near = (distance + NEAR) ** -3 if reach is None else torch.exp(-distance / reach)
            total = total.index_add(0, row, near)
        return total.clamp_min(UNSEEN).log()

    def good_turing_novelty(self, templates: Templates) -> Tensor:
        """How likely the next crystal with as many free site parameters has a protostructure that was never seen.

        The logarithm of the share of crystals whose protostructure no other has, among those of about as many
        parameters.

        Args:
            templates: with any elements on them.

        Returns:
            (n,), float64; 0 where the library is empty.

        Reference:
            I. J. Good, Biometrika 40, 237 (1953) (that the share of what was seen once is the chance of something new).
        """
        if not len(templates) or not len(self):
            return torch.zeros(len(templates), dtype=torch.float64)
        num_free = self.parametrised.templates.num_free
        once = torch.repeat_interleave(self._counts == 1, self._counts).double()
        crystals = torch.bincount(num_free).double()
        alone = torch.bincount(num_free, once)
        numbers = torch.arange(len(crystals), dtype=torch.float64).log1p()
        alike = torch.exp(-((numbers[:, None] - numbers) / ALIKE).square() / 2)
        # as if half a crystal more had been alone, of one more
        share = (alike @ alone + 0.5) / (alike @ crystals + 1)
        return share.log()[templates.num_free.clamp_max(len(share) - 1)]

    def draw(self, templates: Templates, volume_rule: VolumeRule, rng: torch.Generator) -> DrawnPrototypes:
        """A crystal for each template, picked at random, those with near elements far more often.

        Args:
            templates: with the elements of the request on them.
            volume_rule: how cells grow with their elements.
            rng: picks.
        """
        n, n_sites = len(templates), len(templates.position)
        nothing = DrawnPrototypes(
            parametrised=ParametrisedTemplates(
                templates=templates,
                log_volume=torch.zeros(n, dtype=torch.float64),
                shape=torch.zeros(n, 5, dtype=torch.float64),
                u=torch.zeros(n_sites, 3, dtype=torch.float64),
            ),
            known=torch.zeros(n, dtype=torch.bool),
        )
        if n == 0 or len(self) == 0:
            return nothing
        elements = ranked_elements(templates)
        row, member, distance = self._pairs(self._numbers(templates), elements)
        # the largest of numbers with Gumbel noise falls on each as often as its weight says
        noise = -torch.rand(len(row), generator=rng, dtype=torch.float64).clamp_min(1e-300).log()
        chance = -distance / DRAW_REACH - noise.log()
        highest = torch.full((n,), -torch.inf, dtype=torch.float64).scatter_reduce(0, row, chance, "amax")
        picked = chance == highest[row]
        row, member = row[picked], member[picked]

        own = self._with_elements(templates[row], elements[row], member, volume_rule)
        sites = templates.sites_of(row)
        empty = nothing.parametrised
        return DrawnPrototypes(
            parametrised=ParametrisedTemplates(
                templates=substitute(
                    replace(templates, position=templates.position.index_put((sites,), own.templates.position)),
                    templates.atomic_numbers.index_put((sites,), own.templates.atomic_numbers),
                ),
                log_volume=empty.log_volume.index_put((row,), own.log_volume),
                shape=empty.shape.index_put((row,), own.shape),
                u=empty.u.index_put((sites,), own.u),
            ),
            known=nothing.known.index_fill(0, row, value=True),
        )

    def nearest(self, templates: Templates, volume_rule: VolumeRule, n: int) -> ParametrisedTemplates:
        """The crystals with the nearest elements for each template that is known, up to n of them.

        Args:
            templates: with the elements of the request on them.
            volume_rule: how cells grow with their elements.
            n: for a template that leaves anything but the volume free; one for the others.

        Returns:
            With the elements of the request: the nearest crystal of each template, then the second ones, and so on.
        """
        elements = ranked_elements(templates) if len(templates) else self._elements[:0]
        row, member, distance = self._pairs(self._numbers(templates), elements)
        by_distance = torch.argsort(distance, stable=True)
        by_distance = by_distance[torch.argsort(row[by_distance], stable=True)]
        row, member = row[by_distance], member[by_distance]
        place = ranges(torch.bincount(row, minlength=len(templates)))
        shapes = free_shape(crystal_system(templates.space_group_number), torch.float64).sum(1)
        wanted = torch.where(templates.num_free + shapes > 0, n, 1)
        by_place = torch.argsort(place, stable=True)
        chosen = by_place[(place < wanted[row])[by_place]]
        row, member = row[chosen], member[chosen]
        return self._with_elements(templates[row], elements[row], member, volume_rule)

    def _with_elements(
        self, templates: Templates, elements: Tensor, member: Tensor, volume_rule: VolumeRule
    ) -> ParametrisedTemplates:
        """One crystal of the library for each template of its protostructure, with the template's elements."""
        rank = self._rank[self.parametrised.templates.sites_of(member)]
        species = elements[torch.repeat_interleave(torch.arange(len(member)), templates.num_sites), rank]
        return substitute(self.parametrised[member], species, volume_rule)

    def _pairs(self, number: Tensor, elements: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each row of a request with each crystal of its protostructure: both positions, and the distance."""
        known = (number >= 0).nonzero().flatten()
        counts = self._counts[number[known]]
        member = torch.repeat_interleave(self._starts[number[known]], counts) + ranges(counts)
        row = torch.repeat_interleave(known, counts)
        width = min(self._elements.shape[1], elements.shape[1])  # none has more than the fewer
        scale = mendeleev_numbers()
        apart = (scale[elements[row, :width]] - scale[self._elements[member, :width]]).abs()
        return row, member, (apart * self._shares[member, :width]).sum(1)
