"""What the model's own crystals are worth: a calculator's answers for crystals drawn in the systems it learned from.

Each crystal gets one energy, with forces and stress, as it was drawn, and is placed on the hull of the training
crystals of its system, which get their energies in the same way. The systems are those of the training crystals, none
of which holds two elements of a system that is left out, or a formula that is held out; of an element that is left out
with a system only the energy of its crystals is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from math import isfinite, nan
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.known.phases import known_phases
from crystalgraph.models.bundle import Model
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.many import many_derivatives, single_points
from crystalgraph.relax.potentials import element_energy
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.sampling.settings import USUAL_SAMPLING
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import module_tensors, restore_module
from crystalgraph.training.config import EnergiesConfig

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.relaxation import Derivatives


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Crystals with energies and how they change.

    Attributes:
        crystals: as drawn, or real.
        space_group_number: of their templates, (n,).
        e_above_hull: above the hull of the training crystals, eV/atom, (n,).
        forces: on the atoms, crystal after crystal, (n_atoms, 3), eV/Å.
        stress: of the cells, (n, 3, 3), eV/Å³, positive where they are stretched.
    """

    crystals: Crystals
    space_group_number: Tensor
    e_above_hull: Tensor
    forces: Tensor
    stress: Tensor

    def __len__(self) -> int:
        return len(self.e_above_hull)

    def __getitem__(self, index: Tensor) -> Labelled:
        """Select by positions."""
        return Labelled(
            crystals=self.crystals[index],
            space_group_number=self.space_group_number[index],
            e_above_hull=self.e_above_hull[index],
            forces=self.forces[self.crystals.atoms_of(index)],
            stress=self.stress[index],
        )

    def to(self, device: torch.device) -> Labelled:
        """Move to a device."""
        return Labelled(
            crystals=self.crystals.to(device=device),
            **{name: value.to(device) for name, value in vars(self).items() if name != "crystals"},
        )

    @staticmethod
    def concatenate(parts: list[Labelled]) -> Labelled:
        """Join."""
        return Labelled(
            crystals=Crystals.concatenate([part.crystals for part in parts]),
            space_group_number=torch.cat([part.space_group_number for part in parts]),
            e_above_hull=torch.cat([part.e_above_hull for part in parts]),
            forces=torch.cat([part.forces for part in parts]),
            stress=torch.cat([part.stress for part in parts]),
        )


def training_systems(
    training: ParametrisedTemplates,
    left_out: Sequence[ChemicalSystem],
    held_out: ParametrisedTemplates | None,
    seed: int,
) -> list[ChemicalSystem]:
    """The systems of two and of three elements that there are training crystals of.

    Those that share two elements with a system that is left out, or hold a compound that is held out, are passed over:
    their hull would lack it, and the model would draw it.

    Args:
        training: what is learned from.
        left_out: systems of which, and of whose subsystems, no crystal is learned from.
        held_out: crystals of whose formulas none is learned from.
        seed: of their order.

    Returns:
        Each once, in random order, by turns one of two elements and one of three while there are both.
    """
    elements = _elements(training)
    lacking_compounds = set() if held_out is None else {frozenset(own) for own in _elements(held_out)}
    of_size: dict[int, list[ChemicalSystem]] = {}
    for size in (2, 3):
        there = sorted({tuple(sorted(own)) for own in elements if len(own) == size})
        there = [own for own in there if not lacking_compounds & set(_compounds(own))]
        systems = [Formula.from_atomic_numbers(own).system for own in there]
        whole = [s for s in systems if all(len({*s.elements} & {*lacking.elements}) < 2 for lacking in left_out)]
        order = torch.randperm(len(whole), generator=step_rng(seed, 30, size))
        of_size[size] = [whole[k] for k in order.tolist()]
    return [system for pair in zip_longest(*of_size.values()) for system in pair if system is not None]


def _elements(crystals: ParametrisedTemplates) -> list[set[int]]:
    """The elements of each crystal."""
    elements: list[set[int]] = [set() for _ in range(len(crystals))]
    for crystal, z in zip(crystals.templates.batch.tolist(), crystals.templates.atomic_numbers.tolist(), strict=True):
        elements[crystal].add(z)
    return elements


def _compounds(system: tuple[int, ...]) -> Iterator[frozenset[int]]:
    """The elements of a compound in a system: any two or more."""
    for size in range(2, len(system) + 1):
        yield from map(frozenset, combinations(system, size))


class Labels:
    """A phase whose every step draws crystals of one system, and finds the energies of them and of the real ones.

    Args:
        model: draws; its generator is kept in the checkpoints.
        training: what it learned from.
        config: how many systems and crystals.
        left_out: systems that nothing is learned of.
        held_out: crystals of whose formulas nothing is learned; None where prototypes are held out.
        seed: of the run.
        workers: hold the calculator.
        earlier: the labels of the round before, which come before these; then ``model`` has learned from them, and its
            crystals are relaxed on what it learned.
    """

    name = "labels"

    def __init__(
        self,
        model: Model,
        training: ParametrisedTemplates,
        config: EnergiesConfig,
        left_out: Sequence[ChemicalSystem],
        held_out: ParametrisedTemplates | None,
        seed: int,
        workers: Workers,
        earlier: Labels | None = None,
    ) -> None:
        self.model, self._training, self._config, self._seed, self._workers = model, training, config, seed, workers
        self._begin: int = 0 if earlier is None else earlier._begin + config.systems
        systems = training_systems(training, left_out, held_out, seed)
        self._systems = systems[self._begin : self._begin + config.systems]
        self.steps = len(self._systems)
        self._surrogate_steps = 0 if earlier is None else USUAL_SAMPLING.surrogate_steps
        self._parts: list[Labelled] = [] if earlier is None else list(earlier._parts)
        self._real: dict[int, Derivatives | None] = {}  # of training crystals
        self._element_energy = dict(element_energy(config.calculator))

    @property
    def labelled(self) -> Labelled:
        """All crystals with energies so far.

        Raises:
            InputError: if there are none.
        """
        if not self._parts:
            raise InputError(
                f"{self._config.calculator} gave no energy for crystals of {self.steps} systems; ask for more systems"
            )
        self._parts = [Labelled.concatenate(self._parts)]
        return self._parts[0]

    def step(self, step: int) -> dict[str, float]:
        """Label the crystals of a system and return what to log."""
        system, templates = self._systems[step], self._training.templates
        try:
            sampler = Sampler(
                self.model,
                list(system.atomic_numbers),
                step_rng(self._seed, 31, self._begin + step),
                n_draws=1,
                guided=False,
                surrogate_steps=self._surrogate_steps,
            )
        except InputError:  # no template of the pool has so many elements
            return {"labelled": 0.0}
        drawn = sampler.draw(self._config.samples)
        valid = strict_validity(drawn.crystals).valid
        inside = is_within(templates.atomic_numbers, templates.batch, len(templates), system).nonzero().flatten()
        known = self._training[inside]
        crystals, references = drawn.crystals[valid], known.crystals()
        own, real = to_structures(crystals), to_structures(references)
        new = [place for place, k in enumerate(inside.tolist()) if k not in self._real]
        answers = self._derivatives(own + [real[place] for place in new])
        self._real |= dict(zip(inside[new].tolist(), answers[len(own) :], strict=True))
        of_real = [self._real[k] for k in inside.tolist()]
        try:
            hull = Hull(system, self._phases(system, real, of_real))
        except InputError:  # an element has no energy
            return {"labelled": 0.0}

        whole = [place for place, structure in enumerate(real) if len(structure.composition) == len(system)]
        structures = own + [real[place] for place in whole]
        answers = answers[: len(own)] + [of_real[place] for place in whole]
        answered = {place: answer for place, answer in enumerate(answers) if answer is not None}
        if not answered:
            return {"labelled": 0.0}
        kept = torch.tensor(list(answered))
        e_above_hull = [hull.e_above_hull(structures[k].composition, answer.energy) for k, answer in answered.items()]
        labelled = Labelled(
            crystals=Crystals.concatenate([crystals, references[whole]])[kept],
            space_group_number=torch.cat([drawn.space_group_number[valid], known.templates.space_group_number[whole]])[
                kept
            ],
            e_above_hull=torch.tensor(e_above_hull, dtype=torch.float64),
            forces=torch.from_numpy(np.concatenate([answer.forces for answer in answered.values()])),
            stress=torch.from_numpy(np.stack([answer.stress for answer in answered.values()])),
        )
        self._parts.append(labelled)
        return {"labelled": float(len(labelled)), "e_above_hull": float(labelled.e_above_hull.median())}

    def _derivatives(self, structures: list[Structure]) -> list[Derivatives | None]:
        return many_derivatives(structures, self._config.calculator, workers=self._workers)

    def _phases(self, system: ChemicalSystem, real: list[Structure], answers: list[Derivatives | None]) -> list[Phase]:
        """The real crystals that have an energy, and a reference for each element that none of them is."""
        energy_of_real = [
            (s.composition, answer.energy) for s, answer in zip(real, answers, strict=True) if answer is not None
        ]
        phases = [
            Phase(name=str(place), formula=str(Formula.parse(composition.formula)), energy=energy)
            for place, (composition, energy) in enumerate(energy_of_real)
            if not (composition.is_element and composition.chemical_system in self._element_energy)
        ]
        present = {ChemicalSystem.parse(phase.formula) for phase in phases}
        for element in system.elements:
            if ChemicalSystem((element,)) in present:
                continue
            if element not in self._element_energy:
                known = known_phases(ChemicalSystem((element,))).structures
                energies = single_points(known, self._config.calculator, workers=self._workers)
                self._element_energy[element] = min(filter(isfinite, energies), default=nan)
            if isfinite(self._element_energy[element]):
                phases.append(Phase(name=element, formula=element, energy=self._element_energy[element]))
        return phases

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        tensors = module_tensors("generator", self.model.generator)
        if not self._parts:
            return tensors
        labelled = self.labelled
        return tensors | {
            "labels.lattice": labelled.crystals.lattice,
            "labels.frac_coords": labelled.crystals.frac_coords,
            "labels.atomic_numbers": labelled.crystals.atomic_numbers,
            "labels.num_atoms": labelled.crystals.num_atoms,
            "labels.space_group_number": labelled.space_group_number,
            "labels.e_above_hull": labelled.e_above_hull,
            "labels.forces": labelled.forces,
            "labels.stress": labelled.stress,
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        restore_module("generator", self.model.generator, tensors)
        own = {name.removeprefix("labels."): value for name, value in tensors.items() if name.startswith("labels.")}
        if own:
            rest = {name: own.pop(name) for name in ("space_group_number", "e_above_hull", "forces", "stress")}
            self._parts = [Labelled(crystals=Crystals(**own), **rest)]
