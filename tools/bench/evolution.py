"""An evolutionary search of a system's crystals, by CrySPY's operators: the peer that needs no data.

Compositions vary. The first generation is PyXtal's random crystals; those after it come of the fittest by crossover,
permutation, strain, and by atoms added, taken away and exchanged, with some random ones among them. A crystal's fitness
is its energy above the hull of the known phases: the peer is told as much as ours.

Reference:
    T. Yamashita et al., Sci. Technol. Adv. Mater. Methods 1, 87 (2021) (CrySPY).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryspy.EA.gen_struc_EA.addition import gen_addition, get_add_dnat_comb
from cryspy.EA.gen_struc_EA.crossover import gen_crossover
from cryspy.EA.gen_struc_EA.elimination import gen_elimination, get_elim_dnat_comb
from cryspy.EA.gen_struc_EA.permutation import gen_permutation
from cryspy.EA.gen_struc_EA.select_parents import SelectParents
from cryspy.EA.gen_struc_EA.strain import gen_strain
from cryspy.EA.gen_struc_EA.substitution import gen_substitution, get_subs_comb
from cryspy.EA.natural_selection import natural_selection
from cryspy.util.struc_util import get_nat, set_mindist
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from tools.bench.arms import MAX_ATOMS, RandomCrystals

OFFSPRING = {"crossover": 5, "permutation": 2, "strain": 2, "addition": 3, "elimination": 3, "substitution": 3}
"""Crystals that come of each operator in a generation."""

N_RANDOM = 2
"""Random crystals in every generation after the first."""

POPULATION = sum(OFFSPRING.values()) + N_RANDOM
"""Crystals of a generation."""

N_FITTEST = 10
"""Different crystals that survive as parents."""

TOURNAMENT = 2
"""Candidates of which the fitter becomes a parent."""

CHANGED = 3
"""Most atoms that addition, elimination and substitution change."""


@dataclass
class Evolution:
    """Generations of crystals, each of the fittest before.

    Attributes:
        system: of the crystals; all have all of its elements.
        seed: of everything.
    """

    system: ChemicalSystem
    seed: int
    _structures: dict[int, Structure] = field(default_factory=dict)
    _fitness: dict[int, float] = field(default_factory=dict)
    _born: int = 0

    def __post_init__(self) -> None:
        logging.getLogger("cryspy").setLevel(logging.ERROR)  # it warns at every failed attempt
        self._rng = np.random.default_rng(self.seed)
        self._random = RandomCrystals(self.system, self.seed)
        self._elements = tuple(self.system.elements)
        self._distances = set_mindist(self._elements, None, 1.0, no_print=True)

    def next_generation(self) -> list[Structure]:
        """Crystals to be relaxed next, of at most ``MAX_ATOMS`` atoms."""
        ranking = self._parents()
        if len(ranking) < TOURNAMENT:
            return self._random.draw(POPULATION)
        born: list[Structure] = []
        for operator, n in OFFSPRING.items():
            born += self._offspring(operator, n, ranking)
        fit = [child for child in born if len(child) <= MAX_ATOMS and set(self._elements) <= _elements_of(child)]
        return fit + self._random.draw(POPULATION - len(fit))

    def tell(self, relaxed: list[Structure | None], fitness: list[float]) -> None:
        """What became of a generation.

        Args:
            relaxed: each crystal as relaxed; None where that failed.
            fitness: eV/atom above the hull.
        """
        for structure, value in zip(relaxed, fitness, strict=True):
            if structure is not None and np.isfinite(value):
                self._structures[self._born], self._fitness[self._born] = structure, value
            self._born += 1

    def _parents(self) -> list[int]:
        """The fittest different crystals so far."""
        if not self._structures:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ranking, _, _ = natural_selection(self._fitness, self._structures, n_fittest=N_FITTEST, rng=self._rng)
        return list(ranking)

    def _offspring(self, operator: str, n: int, ranking: list[int]) -> list[Structure]:
        """Children by one operator; none where no parent can have any."""
        counts = {k: get_nat(self._structures[k], self._elements) for k in ranking}
        fewest, most = [1] * len(self._elements), [MAX_ATOMS - 1] * len(self._elements)
        possible: Mapping[str, Callable[[int], Any]] = {
            "addition": lambda k: get_add_dnat_comb(most, min(CHANGED, MAX_ATOMS - sum(counts[k])), counts[k]),
            "elimination": lambda k: get_elim_dnat_comb(fewest, CHANGED, counts[k]),
            "substitution": lambda k: get_subs_comb(self._elements, fewest, most, CHANGED, counts[k]),
        }
        changes = {k: found for k in ranking if (found := possible[operator](k))} if operator in possible else {}
        able = list(changes) if operator in possible else ranking
        if len(able) < TOURNAMENT:
            return []
        select = SelectParents(able, self._rng)
        select.set_tournament(TOURNAMENT)
        free = self._elements, self._structures, select, n
        apart = self._elements, self._distances, self._structures, select, n
        options: dict[str, Any] = {"id_start": max(self._structures) + 1, "rng": self._rng}
        limits = {"vc": True, "ll_nat": fewest, "ul_nat": most}
        operators: Mapping[str, Callable[[], Any]] = {
            "crossover": lambda: gen_crossover(apart[0], None, *apart[1:], **limits, **options),
            "permutation": lambda: gen_permutation(*apart, **options),
            "strain": lambda: gen_strain(*apart, **options),
            "addition": lambda: gen_addition(*apart, changes, **options),
            "elimination": lambda: gen_elimination(*free, changes, **options),
            "substitution": lambda: gen_substitution(*apart, changes, **options),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            children, _, _ = operators[operator]()
        return list(children.values())


def _elements_of(structure: Structure) -> set[str]:
    return {element.symbol for element in structure.composition}
