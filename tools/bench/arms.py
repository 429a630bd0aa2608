"""The ways to propose crystals of a system, each of which draws one crystal after another.

Nothing here knows a particular system: prototypes are the corpus' crystals of other chemistries, and the elements are
put in by electronegativity, metals for metals and anions for anions.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from pymatgen.analysis.bond_valence import BV_PARAMS
from pymatgen.core import Element, Structure
from pyxtal import pyxtal
from scipy.optimize import brentq

from crystalgraph.chemistry.elements import (
    MAX_ATOMIC_NUMBER,
)
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.request import MAX_NUM, GenerationRequest
from crystalgraph.screening.screen import Screen
from crystalgraph.screening.search import search
from crystalgraph.symmetry.enumerate import is_possible
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.species import binds_its_anions
from crystalgraph.symmetry.substitute import covalent_radii_rule, substitutions
from crystalgraph.symmetry.wyckoff import wyckoff_table
from tools.bench.templates import random_parameters

MAX_ATOMS = 20
"""Largest primitive cell that any arm proposes."""

MAX_SITES = 12
"""Most orbits of an element in a random crystal."""

SHAPE_SAMPLE = 2000
"""Crystals from which the spread of lattice shapes is taken."""

BOND_REACH = 7.0
"""Å; pairs further apart carry no valence."""

TELLURIUM = 52
"""A metalloid by its place, but an anion in almost all its binary compounds."""


class Arm(Protocol):
    """A way to propose crystals."""

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals as proposed; fewer where no more can come."""
        ...

    def remarks(self) -> dict[str, int]:
        """What was tried besides the crystals drawn, so that its cost can be understood."""
        ...


@lru_cache(maxsize=1)
def is_anion_former() -> torch.Tensor:
    """Whether an element is a nonmetal, (119,), bool, tellurium among them."""
    elements = [Element.from_Z(z) for z in range(1, MAX_ATOMIC_NUMBER + 1)]
    return torch.tensor([False, *(not (e.is_metal or e.is_metalloid) or e.Z == TELLURIUM for e in elements)])


@lru_cache(maxsize=4)
def prototypes(system: ChemicalSystem, max_atoms: int = MAX_ATOMS) -> Crystals:
    """Crystals of other chemistries with the elements of a system put in.

    A source has as many elements as the system. Put in order of electronegativity, each gives its place to the
    system's element of the same rank; a metal replaces a metal only, and an anion an anion. Sources whose anions the
    system's metals could not bind are left out. Lengths are scaled by the mean covalent radius.

    Args:
        system: no source has elements of this system only.
        max_atoms: largest primitive cell.

    Returns:
        All of them, copies included, in the corpus' order.
    """
    crystals = load_dataset("corpus").crystals
    inside = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    crystals = crystals[(crystals.num_atoms <= max_atoms) & ~inside]
    present = torch.zeros(len(crystals), MAX_ATOMIC_NUMBER + 1, dtype=torch.bool)
    present[crystals.batch, crystals.atomic_numbers] = True
    crystals = crystals[present.sum(1) == len(system)]

    if not len(crystals):
        return crystals
    ((_, changed),) = substitutions(crystals, list(system.atomic_numbers), covalent_radii_rule)
    differs = is_anion_former()[changed.atomic_numbers] != is_anion_former()[crystals.atomic_numbers]
    n_differ = torch.zeros(len(crystals), dtype=torch.long).index_add(0, crystals.batch, differs.long())
    return changed[(n_differ == 0) & binds_its_anions(changed)]


class Substitution:
    """Prototypes with the system's elements put in, in random order, none twice, none equal to a known phase.

    The volume is that of `rescaled`.

    Args:
        system: of the crystals.
        known: known phases of the system.
        seed: of the order.
    """

    def __init__(self, system: ChemicalSystem, known: list[Structure], seed: int) -> None:
        self._sources = prototypes(system)
        order = torch.randperm(len(self._sources), generator=torch.Generator().manual_seed(seed))
        self._waiting = deque(order.tolist())
        self._known, self._drawn = ReferenceIndex(known), ReferenceIndex()
        self._counts = {"sources": len(self._waiting), "copies": 0, "equal to a known phase": 0}

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals; fewer when all prototypes were drawn."""
        drawn: list[Structure] = []
        while self._waiting and len(drawn) < n:
            (structure,) = to_structures(self._sources[self._waiting.popleft()])
            if self._known.find(structure) >= 0:
                self._counts["equal to a known phase"] += 1
            elif self._drawn.find_or_add(structure) < len(self._drawn) - 1:
                self._counts["copies"] += 1
            else:
                drawn.append(rescaled(structure))
        return drawn

    def remarks(self) -> dict[str, int]:
        """Sources in all, and those passed over."""
        return self._counts


def rescaled(structure: Structure) -> Structure:
    """The structure at the volume at which bonds between metals and anions carry the anions' valence.

    The sum of bond valences exp((R₀ − d) / 0.37 Å) is to equal the sum of the anions' lowest common oxidation states.
    Without metals or without anions the structure stays as it is.

    Reference:
        M. O'Keeffe and N. E. Brese, J. Am. Chem. Soc. 113, 3226 (1991) (R₀ of any pair).
    """
    is_anion = is_anion_former()[list(structure.atomic_numbers)].numpy()
    states = [min(element.common_oxidation_states, default=0) for element in structure.species]
    valence = -sum(state for state, anion in zip(states, is_anion, strict=True) if anion)
    centres, images, _, distances = structure.get_neighbor_list(BOND_REACH)
    bonds = ~is_anion[centres] & is_anion[images]
    known = all(element in BV_PARAMS for element in structure.composition)
    if valence <= 0 or not bonds.any() or not known:
        return structure
    length = np.array(
        [
            ideal_bond_length(structure[i].specie, structure[j].specie)
            for i, j in zip(centres[bonds], images[bonds], strict=True)
        ]
    )
    factor = brentq(lambda k: np.exp((length - k * distances[bonds]) / 0.37).sum() - valence, 0.2, 5)
    scaled = structure.copy()
    scaled.scale_lattice(structure.volume * factor**3)
    return scaled


@lru_cache(maxsize=1024)
def ideal_bond_length(cation: Element, anion: Element) -> float:
    """R₀ of a pair, the length of a bond of valence one, Å; see `rescaled`."""
    (r, c), (s, d) = ((BV_PARAMS[element]["r"], BV_PARAMS[element]["c"]) for element in (cation, anion))
    return r + s - r * s * (c**0.5 - d**0.5) ** 2 / (c * r + d * s)


class RandomCrystals:
    """PyXtal: a formula drawn from the prototypes, a cell size and a group from those that hold it, atoms at random.

    Args:
        system: of the crystals.
        seed: of everything.
    """

    def __init__(self, system: ChemicalSystem, seed: int) -> None:
        self._sources, self._seed = prototypes(system), seed
        self._chooser = random.Random(seed)
        self._counts = {"attempts": 0, "failed": 0}

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals; failed attempts are repeated with another composition and group."""
        drawn: list[Structure] = []
        while len(drawn) < n:
            made = self._attempt()
            self._counts["failed"] += made is None
            drawn += [] if made is None else [made]
        return drawn

    def _attempt(self) -> Structure | None:
        source = self._sources[self._chooser.randrange(len(self._sources))]
        counts = Counter(source.atomic_numbers.tolist())
        unit = math.gcd(*counts.values())
        n_units = self._chooser.randint(1, MAX_ATOMS * unit // counts.total())
        composition = {z: count // unit * n_units for z, count in counts.items()}
        group = self._group(composition)
        cells = round(1 / torch.linalg.det(wyckoff_table().centring[group]).item())
        made = pyxtal()
        rng = np.random.default_rng([self._seed, self._counts["attempts"]])
        self._counts["attempts"] += 1
        symbols = [Element.from_Z(z).symbol for z in composition]
        try:
            numbers = [count * cells for count in composition.values()]
            made.from_random(3, group, symbols, numbers, random_state=rng)
        except Exception:  # noqa: BLE001 - PyXtal raises several kinds of error when it finds no crystal; a failed attempt
            return None
        return made.to_pymatgen().get_primitive_structure() if made.valid else None

    def _group(self, composition: dict[int, int]) -> int:
        while True:
            number = self._chooser.randint(1, 230)
            if is_possible(number, composition, max_sites=MAX_SITES):
                return number

    def remarks(self) -> dict[str, int]:
        """Attempts, and how many gave no crystal."""
        return self._counts


class RandomParameters:
    """The model's own templates, as often as it draws them, with random parameters instead of its network.

    Args:
        model: whose templates and element volumes.
        system: of the crystals.
        seed: of templates and parameters.
    """

    def __init__(self, model: Model, system: ChemicalSystem, seed: int) -> None:
        self._rng = torch.Generator().manual_seed(seed)
        self._choices = Sampler(model, list(system.atomic_numbers), self._rng, max_atoms=MAX_ATOMS).choices
        self._volume = model.generator.element_volume.double()
        self._spread = shape_spread(system)
        self._waiting: deque[int] = deque()

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals."""
        while len(self._waiting) < n:
            order = torch.multinomial(self._choices.weights, len(self._choices), generator=self._rng)
            self._waiting.extend(order.tolist())
        chosen = self._choices.templates[[self._waiting.popleft() for _ in range(n)]]
        return to_structures(random_parameters(chosen, self._volume, self._spread, self._rng))

    def remarks(self) -> dict[str, int]:
        """How many templates there are."""
        return {"templates": len(self._choices)}


@lru_cache(maxsize=4)
def shape_spread(system: ChemicalSystem) -> torch.Tensor:
    """Standard deviation of the lattice shape k₁…k₅ over crystals of other chemistries, (5,)."""
    crystals = load_dataset("corpus").crystals
    inside = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    fits = torch.nonzero((crystals.num_atoms <= MAX_ATOMS) & ~inside).flatten()
    chosen = fits[torch.randperm(len(fits), generator=torch.Generator().manual_seed(0))[:SHAPE_SAMPLE]]
    return extract(crystals[chosen]).parametrised.shape.std(0)


class RawSamples:
    """What our generator draws, nothing chosen or dropped.

    Args:
        model: the model.
        system: of the crystals.
        seed: of everything.
    """

    def __init__(self, model: Model, system: ChemicalSystem, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        self._sampler = Sampler(model, list(system.atomic_numbers), rng, max_atoms=MAX_ATOMS, n_draws=1)

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals."""
        return to_structures(self._sampler.draw(n).crystals)

    def remarks(self) -> dict[str, int]:
        """How many templates there are."""
        return {"templates": len(self._sampler.choices)}


class ScreenedSamples:
    """What `cg-generate` keeps: the best of each formula by score, strictly valid, plausible, no copies.

    Args:
        model: the model.
        system: of the crystals.
        seed: of everything.
    """

    def __init__(self, model: Model, system: ChemicalSystem, seed: int) -> None:
        request = GenerationRequest(system=system, num=MAX_NUM, max_atoms=MAX_ATOMS, seed=seed)
        rng = torch.Generator().manual_seed(seed)
        self._sampler = Sampler(model, list(system.atomic_numbers), rng, max_atoms=MAX_ATOMS)
        self._screen = Screen(request, composition_filter(request))
        self._taken = 0

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals kept; fewer when almost nothing new comes."""
        search(self._sampler, self._screen, self._taken + n)
        drawn = self._screen.structures[self._taken : self._taken + n]
        self._taken += len(drawn)
        return drawn

    def remarks(self) -> dict[str, int]:
        """How many samples were drawn for what was kept."""
        return {"samples drawn": len(self._screen.samples), "kept": self._screen.n_selected}


class FileCrystals:
    """Another tool's crystals, in random order.

    Args:
        structures: all of them.
        seed: of the order.
    """

    def __init__(self, structures: list[Structure], seed: int) -> None:
        self._waiting = [structures[k] for k in np.random.default_rng(seed).permutation(len(structures))]
        self._counts = {"crystals": len(structures)}

    def draw(self, n: int) -> list[Structure]:
        """The next n crystals; fewer when there are no more."""
        drawn, self._waiting = self._waiting[:n], self._waiting[n:]
        return drawn

    def remarks(self) -> dict[str, int]:
        """How many there are."""
        return self._counts


ARMS = ("pyxtal", "substitution", "random", "raw", "screened")
"""Names of all arms, in the order of the table."""

FILES = "files"
"""Name of the arm whose crystals are another tool's, in files."""

SEARCH, EVOLUTION = "search", "evolution"
"""Names of the arms that are no source of crystals: a whole run of ours with energies, and an evolutionary search."""

CHOSEN = {
    "chosen": "ours, chosen with energies",
    "chosen-alone": "without the loop: no children, formulas not weighed anew",
    "chosen-free": "symmetry not held",
    "chosen-prototypes": "prototypes alone",
    "chosen-drawn": "the generator alone",
    "chosen-by-score": "the generator alone, chosen by score, not by energies",
}
"""Arms that are what a run of ours with energies relaxes, whole or without a part, see `tools.bench.chosen`."""

OF_MODEL = ("random", "raw", "screened", *CHOSEN, SEARCH)
"""Arms that depend on the model."""

TITLES = {
    "pyxtal": "PyXtal random",
    "substitution": "substitution",
    "random": "random parameters in our templates",
    "raw": "ours, raw",
    "screened": "ours, screened",
    **CHOSEN,
    FILES: "crystals of files",
    EVOLUTION: "evolutionary search (CrySPY)",
    SEARCH: "ours, search with energies",
}
"""Of all arms, in the order of the tables."""


def make_arm(name: str, system: ChemicalSystem, model: Model, known: list[Structure], seed: int) -> Arm:
    """Make an arm.

    Args:
        name: one of ``ARMS``.
        system: of the crystals.
        model: used by our arms only.
        known: known phases of the system, which substitution passes over.
        seed: of everything the arm draws.
    """
    if name == "pyxtal":
        return RandomCrystals(system, seed)
    if name == "substitution":
        return Substitution(system, known, seed)
    ours: dict[str, Callable[[Model, ChemicalSystem, int], Arm]] = {
        "random": RandomParameters,
        "raw": RawSamples,
        "screened": ScreenedSamples,
    }
    return ours[name](model, system, seed)
