"""Which elements each arrangement of the training crystals was seen with.

An arrangement is a template whatever its elements, but for their order of electronegativity. What crystals have it, and
how near their elements are to those asked for, says much of whether it is the one that these crystallise in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import mendeleev_numbers
from crystalgraph.crystals import ranges
from crystalgraph.symmetry.decorate import ranked_elements, species_rank
from crystalgraph.symmetry.template import Templates

#: How far elements may be apart, in Mendeleev numbers, for a crystal to count; in the last column all count.
REACHES = (2.0, 5.0, 15.0, float("inf"))

#: Sums of less than this are as none.
LEAST = 1e-4


def arrangements(templates: Templates) -> list[str]:
    """A name for the arrangement of each template; equal for equivalent choices of letters."""
    return templates.replace_species(1 + species_rank(templates)).names() if len(templates) else []


class Memory:
    """The training crystals by their arrangement.

    Args:
        templates: of the training crystals; copies are kept once.

    Attributes:
        templates: those, each once.
    """

    def __init__(self, templates: Templates) -> None:
        first, _ = templates.distinct()
        self.templates = templates = templates[first]
        self._number: dict[str, int] = {}
        number = torch.tensor(
            [self._number.setdefault(name, len(self._number)) for name in arrangements(templates)], dtype=torch.long
        )
        order = torch.argsort(number, stable=True)
        self._counts = torch.bincount(number, minlength=len(self._number))
        self._starts = torch.cumsum(self._counts, 0) - self._counts
        self._elements, self._shares = torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.float64)
        if len(templates):
            self._elements = ranked_elements(templates)[order]
            atoms = torch.zeros(self._elements.shape, dtype=torch.float64)
            where = templates.batch, species_rank(templates)
            atoms.index_put_(where, templates.multiplicity.double(), accumulate=True)
            self._shares = (atoms / atoms.sum(1, keepdim=True))[order]

    def find(self, templates: Templates) -> Tensor:
        """The number of each template's arrangement, (n,), −1 where it was never seen."""
        return torch.tensor([self._number.get(name, -1) for name in arrangements(templates)], dtype=torch.long)

    def familiarity(self, arrangement: Tensor, elements: Tensor, *, own: bool = True) -> Tensor:
        """How often an arrangement was seen with elements like these.

        For each reach the logarithm of Σ exp(−d / reach) over the crystals that have the arrangement. Their distance d
        is the mean over the atoms of how far the elements in their places are apart in Mendeleev numbers.

        Args:
            arrangement: numbers from ``find``, (n,).
            elements: asked for, least electronegative first, (n, any number), 0 beyond the last.
            own: whether crystals of the very same elements count.

        Returns:
            (n, len(REACHES)), float32, 0 where no crystal is near.

        Reference:
            D. G. Pettifor, Solid State Commun. 51, 31 (1984) (the scale, and that compounds of a structure lie
            together on it).
        """
        known = (arrangement >= 0).nonzero().flatten()
        counts = self._counts[arrangement[known]]
        member = torch.repeat_interleave(self._starts[arrangement[known]], counts) + ranges(counts)
        asker = torch.repeat_interleave(known, counts)
        width = min(self._elements.shape[1], elements.shape[1])  # none has more than the fewer
        here, there = elements[asker, :width], self._elements[member, :width]
        scale = mendeleev_numbers()
        distance = ((scale[here] - scale[there]).abs() * self._shares[member, :width]).sum(1)
        if not own:
            others = (here != there).any(1)
            asker, distance = asker[others], distance[others]
        near = torch.exp(-distance[:, None] / torch.tensor(REACHES, dtype=torch.float64))
        total = near.new_zeros(len(arrangement), len(REACHES)).index_add(0, asker, near)
        return (1 + total / LEAST).log().float()

    def familiarity_of(self, templates: Templates) -> Tensor:
        """As ``familiarity``, of templates with the asked elements on them."""
        if len(templates) == 0:
            return torch.zeros(0, len(REACHES))
        return self.familiarity(self.find(templates), ranked_elements(templates))
