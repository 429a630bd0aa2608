"""The training crystals by their arrangement: with which elements it was seen, and where the atoms were.

An arrangement is a template whatever its elements, but for their order of electronegativity. What crystals have it, and
how near their elements are to those asked for, says much of whether these crystallise in it. One of them, with the
asked elements in its place, is a way to fill the template: plain substitution. And how many arrangements were seen but
once says where substitution leaves something to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import mendeleev_numbers
from crystalgraph.crystals.batch import ranges
from crystalgraph.symmetry.decorate import ranked_elements, species_rank
from crystalgraph.symmetry.template import Templates

#: How far elements may be apart, in Mendeleev numbers, for a crystal to count; and for it to be recalled.
REACH, RECALL_REACH = 5.0, 2.0

#: What an arrangement counts that was never seen.
UNSEEN = 1e-3

#: How far numbers of free parameters may be apart to count as alike, in the logarithm of one more than them.
ALIKE = 0.25


def arrangements(templates: Templates) -> list[str]:
    """A name for the arrangement of each template; equal for equivalent choices of letters."""
    return templates.replace_species(1 + species_rank(templates)).names() if len(templates) else []


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A crystal for each template whose arrangement was seen.

    Attributes:
        templates: as asked, in the setting of the crystal that is recalled.
        known: whether there is one, (n,), bool; the rest is 0 where there is none.
        log_volume: of the conventional cell, grown with the elements, (n,), Å³.
        shape: k₁…k₅ of the lattice code, (n, 5).
        u: site parameters, (n_sites, 3).
    """

    templates: Templates
    known: Tensor
    log_volume: Tensor
    shape: Tensor
    u: Tensor


class Memory:
    """The training crystals by their arrangement.

    Args:
        templates: of the training crystals; of equal ones the first is kept.
        log_volume: of their conventional cells, (n,), Å³.
        shape: k₁…k₅ of their lattice codes, (n, 5).
        u: their site parameters, (n_sites, 3).

    Attributes:
        templates, log_volume, shape, u: of those kept, by arrangement.
    """

    def __init__(self, templates: Templates, log_volume: Tensor, shape: Tensor, u: Tensor) -> None:
        first, _ = templates.distinct()
        self._number: dict[str, int] = {}
        number = torch.tensor(
            [self._number.setdefault(name, len(self._number)) for name in arrangements(templates[first])],
            dtype=torch.long,
        )
        kept = first[torch.argsort(number, stable=True)]
        self.templates, self.u = templates[kept], u[templates.sites_of(kept)].double()
        self.log_volume, self.shape = log_volume[kept].double(), shape[kept].double()
        self._counts = torch.bincount(number, minlength=len(self._number))
        self._starts = torch.cumsum(self._counts, 0) - self._counts
        self._rank = species_rank(self.templates)
        self._elements, self._shares = torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.float64)
        if len(kept):
            self._elements = ranked_elements(self.templates)
            atoms = torch.zeros(self._elements.shape, dtype=torch.float64)
            where = self.templates.batch, self._rank
            atoms.index_put_(where, self.templates.multiplicity.double(), accumulate=True)
            self._shares = atoms / atoms.sum(1, keepdim=True)

    def _find(self, templates: Templates) -> Tensor:
        """The number of each template's arrangement, (n,), −1 where it was never seen."""
        return torch.tensor([self._number.get(name, -1) for name in arrangements(templates)], dtype=torch.long)

    def familiarity(self, templates: Templates) -> Tensor:
        """How often the arrangement of each template was seen with elements like those on it.

        The logarithm of Σ exp(−d / REACH) over the crystals that have the arrangement, or of ``UNSEEN`` if it is less.
        Their distance d is the mean over the atoms of how far the elements in their places are apart in Mendeleev
        numbers.

        Args:
            templates: with the asked elements on them.

        Returns:
            (n,), float64.

        Reference:
            D. G. Pettifor, Solid State Commun. 51, 31 (1984) (the scale, and that compounds of a structure lie
            together on it).
        """
        total = torch.zeros(len(templates), dtype=torch.float64)
        if len(templates) and len(self.templates):
            asker, _, distance = self._pairs(self._find(templates), ranked_elements(templates))
            total = total.index_add(0, asker, torch.exp(-distance / REACH))
        return total.clamp_min(UNSEEN).log()

    def newness(self, templates: Templates) -> Tensor:
        """How likely the next crystal with as many free site parameters has an arrangement that was never seen.

        The logarithm of the share of crystals whose arrangement no other has, among those of about as many parameters.

        Args:
            templates: with any elements on them.

        Returns:
            (n,), float64; 0 where nothing is remembered.

        Reference:
            I. J. Good, Biometrika 40, 237 (1953) (that the share of what was seen once is the chance of something new).
        """
        if not len(templates) or not len(self.templates):
            return torch.zeros(len(templates), dtype=torch.float64)
        seen = self.templates.num_free
        once = torch.repeat_interleave(self._counts == 1, self._counts).double()
        crystals = torch.bincount(seen).double()
        alone = torch.bincount(seen, once)
        numbers = torch.arange(len(crystals), dtype=torch.float64).log1p()
        alike = torch.exp(-((numbers[:, None] - numbers) / ALIKE).square() / 2)
        # as if half a crystal more had been alone, of one more
        share = (alike @ alone + 0.5) / (alike @ crystals + 1)
        return share.log()[templates.num_free.clamp_max(len(share) - 1)]

    def recall(self, templates: Templates, element_volume: Tensor, rng: torch.Generator) -> Recalled:
        """A crystal for each template, picked at random, those with near elements far more often.

        Args:
            templates: with the asked elements on them.
            element_volume: (119,), Å³/atom; cells grow with their elements.
            rng: picks.
        """
        n, n_sites = len(templates), len(templates.position)
        nothing = Recalled(
            templates=templates,
            known=torch.zeros(n, dtype=torch.bool),
            log_volume=torch.zeros(n, dtype=torch.float64),
            shape=torch.zeros(n, 5, dtype=torch.float64),
            u=torch.zeros(n_sites, 3, dtype=torch.float64),
        )
        if n == 0 or len(self.templates) == 0:
            return nothing
        arrangement, elements = self._find(templates), ranked_elements(templates)
        asker, member, distance = self._pairs(arrangement, elements)
        # the largest of numbers with Gumbel noise falls on each as often as its weight says
        noise = -torch.rand(len(asker), generator=rng, dtype=torch.float64).clamp_min(1e-300).log()
        chance = -distance / RECALL_REACH - noise.log()
        highest = torch.full((n,), -torch.inf, dtype=torch.float64).scatter_reduce(0, asker, chance, "amax")
        taken = chance == highest[asker]
        asker, member = asker[taken], member[taken]

        sites, from_sites = templates.sites_of(asker), self.templates.sites_of(member)
        crystal = torch.repeat_interleave(asker, templates.num_sites[asker])
        position = templates.position.index_put((sites,), self.templates.position[from_sites])
        species = templates.atomic_numbers.index_put((sites,), elements[crystal, self._rank[from_sites]])
        asked = replace(templates, position=position, atomic_numbers=species)
        growth = (_volume(asked, element_volume)[asker] / _volume(self.templates, element_volume)[member]).log()
        return Recalled(
            templates=asked,
            known=nothing.known.index_fill(0, asker, value=True),
            log_volume=nothing.log_volume.index_put((asker,), self.log_volume[member] + growth),
            shape=nothing.shape.index_put((asker,), self.shape[member]),
            u=nothing.u.index_put((sites,), self.u[from_sites]),
        )

    def _pairs(self, arrangement: Tensor, elements: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each of those who ask with each crystal of its arrangement: both positions, and the distance."""
        known = (arrangement >= 0).nonzero().flatten()
        counts = self._counts[arrangement[known]]
        member = torch.repeat_interleave(self._starts[arrangement[known]], counts) + ranges(counts)
        asker = torch.repeat_interleave(known, counts)
        width = min(self._elements.shape[1], elements.shape[1])  # none has more than the fewer
        scale = mendeleev_numbers()
        apart = (scale[elements[asker, :width]] - scale[self._elements[member, :width]]).abs()
        return asker, member, (apart * self._shares[member, :width]).sum(1)


def _volume(templates: Templates, element_volume: Tensor) -> Tensor:
    """Sum over the atoms of the volumes of their elements, (n,)."""
    own = element_volume.double()[templates.atomic_numbers] * templates.multiplicity
    return own.new_zeros(len(templates)).index_add(0, templates.batch, own)
