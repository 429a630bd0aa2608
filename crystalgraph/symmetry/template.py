"""Templates: a space group and the Wyckoff positions that are occupied, with the species on each.

A template fixes composition and symmetry; a lattice and the free parameters u of its sites make it a crystal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from crystalgraph.crystals.batch import ranges
from crystalgraph.symmetry.wyckoff import wyckoff_table


@dataclass(frozen=True, kw_only=True)
class Templates:
    """A frozen batch of Wyckoff templates.

    Attributes:
        space_group_number: (n_templates,), 1 to 230.
        num_sites: occupied positions (orbits) per template, (n_templates,), >= 1.
        position: row of each orbit's position in the ``WyckoffTable``, (n_sites,).
        atomic_numbers: element on each orbit, (n_sites,).
    """

    space_group_number: Tensor
    num_sites: Tensor
    position: Tensor
    atomic_numbers: Tensor

    def __len__(self) -> int:
        return self.num_sites.shape[0]

    @cached_property
    def batch(self) -> Tensor:
        """Template index of each site, (n_sites,)."""
        return torch.repeat_interleave(torch.arange(len(self)), self.num_sites)

    @cached_property
    def multiplicity(self) -> Tensor:
        """Atoms of each site in the primitive cell, (n_sites,)."""
        return wyckoff_table().multiplicity[self.position]

    @cached_property
    def num_atoms(self) -> Tensor:
        """Atoms in the primitive cell of each template, (n_templates,)."""
        return torch.zeros(len(self), dtype=torch.long).index_add(0, self.batch, self.multiplicity)

    @cached_property
    def num_free(self) -> Tensor:
        """Free site parameters of each template, (n_templates,)."""
        free = wyckoff_table().free[self.position].sum(1)
        return torch.zeros(len(self), dtype=torch.long).index_add(0, self.batch, free)

    def __getitem__(self, index: int | Sequence[int] | Tensor | slice) -> Templates:
        """Select templates by position, slice, list of positions or boolean mask; always a batch."""
        everything = torch.arange(len(self))
        if isinstance(index, int):
            chosen = everything[index].reshape(1)
        elif isinstance(index, slice):
            chosen = everything[index]
        else:
            key = torch.as_tensor(index)
            chosen = everything[key if key.dtype == torch.bool else key.long()]
        sites = self.sites_of(chosen)
        return Templates(
            space_group_number=self.space_group_number[chosen],
            num_sites=self.num_sites[chosen],
            position=self.position[sites],
            atomic_numbers=self.atomic_numbers[sites],
        )

    def sites_of(self, index: Tensor) -> Tensor:
        """Positions of the sites of some templates, in the order given, (sum of their num_sites,)."""
        counts = self.num_sites[index]
        starts = torch.cumsum(self.num_sites, 0) - self.num_sites
        return torch.repeat_interleave(starts[index], counts) + ranges(counts)

    @staticmethod
    def concatenate(batches: Sequence[Templates]) -> Templates:
        """Join batches in order."""
        return Templates(
            space_group_number=torch.cat([b.space_group_number for b in batches]),
            num_sites=torch.cat([b.num_sites for b in batches]),
            position=torch.cat([b.position for b in batches]),
            atomic_numbers=torch.cat([b.atomic_numbers for b in batches]),
        )

    def _letters(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(space group, letter indices, atomic numbers) of each template."""
        table = wyckoff_table()
        first = torch.searchsorted(table.space_group_number, self.space_group_number)
        letters = (self.position - first[self.batch]).numpy()
        species, stops = self.atomic_numbers.numpy(), np.cumsum(self.num_sites.numpy())
        return [
            (number, letters[stop - count : stop], species[stop - count : stop])
            for number, count, stop in zip(
                self.space_group_number.tolist(), self.num_sites.tolist(), stops.tolist(), strict=True
            )
        ]

    def names(self) -> list[str]:
        """A name for each template, equal for equivalent choices of letters: ``136:a.Nb f.O``."""
        from ase.data import chemical_symbols

        names = [""] * len(self)
        by_kind: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        all_letters = self._letters()
        for k, (number, letters, _) in enumerate(all_letters):
            by_kind[number, len(letters)].append(k)
        for (number, count), own in by_kind.items():
            letters, species = (np.stack([all_letters[k][part] for k in own]) for part in (1, 2))
            codes = np.sort((wyckoff_table().alternatives[number][:, letters] << 8) + species, axis=-1)
            texts = codes.astype(">u2", order="C").view(f"S{2 * count}")[..., 0]  # in order of the codes
            least = np.sort(texts, axis=0)[0]
            for k, row in zip(own, least[:, None].view(">u2").tolist(), strict=True):
                sites = (f"{_LETTERS[code >> 8]}.{chemical_symbols[code & 255]}" for code in row)
                names[k] = f"{number}:" + " ".join(sites)
        return names

    def distinct(self) -> tuple[Tensor, Tensor]:
        """Position of the first template of each name, and for every template which of those it equals.

        Returns:
            (n_distinct,) and (n_templates,), int64.
        """
        seen: dict[str, int] = {}
        which = torch.tensor([seen.setdefault(name, len(seen)) for name in self.names()], dtype=torch.long)
        first = torch.full((len(seen),), len(which)).scatter_reduce(0, which, torch.arange(len(which)), "amin")
        return first, which

    def prototypes(self) -> list[str]:
        """A name for each template whatever its elements: ``136:a/f``; equal for equivalent choices of letters."""
        names = []
        for number, letters, species in self._letters():
            roles = [letters[species == z] for z in np.unique(species)]
            best = min(
                tuple(sorted(tuple(sorted(images[role].tolist())) for role in roles))
                for images in wyckoff_table().alternatives[number]
            )
            names.append(f"{number}:" + "/".join("".join(_LETTERS[letter] for letter in role) for role in best))
        return names


_LETTERS = "abcdefghijklmnopqrstuvwxyzA"
