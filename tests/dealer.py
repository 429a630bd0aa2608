"""A stand-in for a trained model and its sampler: it deals out niobium oxides with known answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle

import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.sampling.draws import Draws

PROTOTYPES = {
    "rock salt": (225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "CsCl": (221, Lattice.cubic(2.8), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "sphalerite": (216, Lattice.cubic(4.9), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "wurtzite": (186, Lattice.hexagonal(3.4, 5.5), ["Nb", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]),
    "rutile": (136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]]),
    "fluorite": (225, Lattice.cubic(5.0), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "ReO3": (221, Lattice.cubic(3.9), ["Nb", "O"], [[0, 0, 0], [0.5, 0, 0]]),
    "antifluorite": (225, Lattice.cubic(5.4), ["O", "Nb"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "cuprite": (224, Lattice.cubic(4.8), ["O", "Nb"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
}
"""Nine niobium oxides, all strictly valid, no two equal."""


CRUSHED = (225, Lattice.cubic(2.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
"""Rock salt with all atoms much too close."""


@cache
def prototype(name: str, scale: float = 1.0) -> Structure:
    """The primitive cell of a prototype, its lengths scaled."""
    number, lattice, species, sites = PROTOTYPES.get(name, CRUSHED)
    whole = Structure.from_spacegroup(number, lattice.scale(lattice.volume * scale**3), species, sites)
    return whole.get_primitive_structure()


@dataclass(frozen=True)
class NamedTemplates:
    """Templates that are known by the names of their prototypes."""

    prototypes: list[str]
    space_group_number: torch.Tensor

    def names(self) -> list[str]:
        return self.prototypes

    def __getitem__(self, index: slice) -> "NamedTemplates":
        return NamedTemplates(self.prototypes[index], self.space_group_number[index])


class Dealer:
    """A sampler and model in one that deals out named prototypes, again and again, slightly scaled each time."""

    name, checksum, record = "dealer", "0" * 64, {"note": "stands in for a trained model"}
    knows_energies, formulas = False, ()

    def __init__(self, names: list[str], *, scales: tuple[float, ...] = (1.0, 1.01, 0.99, 1.02), seed: int = 0) -> None:
        self._names, self._scales = cycle(names), cycle(scales)
        self.rng = torch.Generator().manual_seed(seed)
        self.drawn: list[str] = []
        self.parents: list[int] = []
        self.factors: list[dict[str, float]] = []

    def draw(self, n: int) -> Draws:
        names = [next(self._names) for _ in range(n)]
        self.drawn += names
        return Draws(
            crystals=from_structures([prototype(name, next(self._scales)) for name in names]),
            templates=NamedTemplates(names, torch.tensor([PROTOTYPES.get(name, CRUSHED)[0] for name in names])),
            sources=["generator"] * n,
            model=self,
        )

    def prototypes(self, n: int) -> Draws:
        """The first of all names, as a known crystal."""
        return replace(self.draw(min(n, 1)), sources=["prototype"] * min(n, 1))

    def children(self, structures: Sequence[Structure]) -> Draws:
        """Each of them again, its lengths as they come."""
        self.parents.append(len(structures))
        return replace(self.draw(len(structures)), sources=["child"] * len(structures))

    def reweigh(self, factors: Mapping[str, float]) -> None:
        """Only told."""
        self.factors.append(dict(factors))

    def score(self, crystals: Crystals, space_group_number: torch.Tensor) -> torch.Tensor:
        """Larger groups first, then larger cells."""
        return space_group_number + crystals.volume / 1000

    def to(self, device: str) -> "Dealer":
        assert device == "cpu"
        return self
