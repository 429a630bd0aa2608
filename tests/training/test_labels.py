"""Labels: the systems are those learned from, the energies those that pymatgen's phase diagram gives."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.known.reference_hull import known_phases
from crystalgraph.models.bundle import Model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.energy_model import ENERGY_PER_SCORE
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.relax.potentials import make_calculator
from crystalgraph.training.config import EnergiesConfig
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.energies import Energies
from crystalgraph.training.labels import Labels, training_systems

pytestmark = pytest.mark.slow

CONFIG = EnergiesConfig(systems=6, samples=5, calculator="toy_potential:make", steps=60, batch_size=16, width=16)
LEFT_OUT = [ChemicalSystem.parse("Nb-O")]


@pytest.fixture
def workers(request: pytest.FixtureRequest):
    request.getfixturevalue("toy_calculator")  # must be importable before the workers start
    with Workers(2) as running:
        yield running


@pytest.fixture
def model(small_corpus: Corpus) -> Model:
    torch.manual_seed(0)
    return Model(
        name="untrained",
        generator=Generator(width=16, n_stages=1).eval(),
        discriminator=Discriminator(width=8).eval(),
        prior=TemplatePrior(width=8).eval(),
        pool=small_corpus.training.templates,
        library=PrototypeLibrary(small_corpus.training),
        record={},
        checksum="",
    )


def test_systems_are_those_of_the_training_crystals(small_corpus: Corpus) -> None:
    found = training_systems(small_corpus.training, LEFT_OUT, None, seed=0)
    assert len(set(found)) == len(found) > 100
    formulas = [structure.composition for structure in to_structures(small_corpus.training.crystals())]
    there = {frozenset(str(element) for element in formula.elements) for formula in formulas}
    assert {frozenset(system.elements) for system in found} == {own for own in there if len(own) in (2, 3)}
    sizes = [len(system) for system in found]
    n_both = 2 * min(sizes.count(2), sizes.count(3))
    assert all(a != b for a, b in pairwise(sizes[:n_both]))
    assert training_systems(small_corpus.training, LEFT_OUT, None, seed=1) != found


def test_systems_with_two_elements_of_one_left_out_are_passed_over(small_corpus: Corpus) -> None:
    """Their hull would lack what is left out, and all would seem to lie below it."""
    whole = training_systems(small_corpus.training, LEFT_OUT, None, seed=0)
    three = next(system for system in whole if len(system) == 3)
    left_out = [*LEFT_OUT, ChemicalSystem((*three.elements[:2], "Xe"))]
    found = training_systems(small_corpus.training, left_out, None, seed=0)
    assert set(whole) - set(found) == {s for s in whole if set(three.elements[:2]) <= set(s.elements)} >= {three}


def test_systems_with_a_compound_that_is_held_out_are_passed_over(small_corpus: Corpus) -> None:
    """The model would draw it, and learn its energy."""
    training = small_corpus.training
    whole = training_systems(training, LEFT_OUT, None, seed=0)
    two, three = (next(system for system in whole if len(system) == size) for size in (2, 3))
    elements = [{e.symbol for e in structure.composition} for structure in to_structures(training.crystals())]
    held_out = torch.tensor([k for k, own in enumerate(elements) if own in ({*two.elements}, {*three.elements})])
    found = training_systems(training, LEFT_OUT, training[held_out], seed=0)
    lost = {system for system in whole if {*two.elements} <= {*system.elements}} | {three}
    assert set(whole) - set(found) == lost


def test_heights_are_above_the_hull_of_the_training_crystals(
    small_corpus: Corpus, model: Model, workers: Workers
) -> None:
    """The toy energies again, here, and pymatgen's own phase diagram of them."""
    training, calculator = small_corpus.training, make_calculator("toy_potential:make")

    def energy(structure) -> float:
        atoms = structure.to_ase_atoms()
        atoms.calc = calculator
        return atoms.get_potential_energy()

    labels = Labels(model, training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    real = to_structures(training.crystals())
    n_before, n_real = 0, 0
    for step, system in enumerate(training_systems(training, LEFT_OUT, None, seed=0)[: labels.steps]):
        logged = labels.step(step)
        assert logged["labelled"] == len(labels.labelled) - n_before
        fresh = labels.labelled[torch.arange(n_before, len(labels.labelled))]
        inside = [s for s in real if {str(e) for e in s.composition.elements} <= set(system.elements)]
        for element in system.elements:
            if not any(s.composition.chemical_system == element for s in inside):
                inside += known_phases(element).structures
        if {s.composition.chemical_system for s in inside if s.composition.is_element} != set(system.elements):
            assert logged["labelled"] == 0  # no crystal of fluorine, say
            continue
        diagram = PhaseDiagram([PDEntry(s.composition, energy(s)) for s in inside])
        for structure, height in zip(to_structures(fresh.crystals), fresh.e_above_hull.tolist(), strict=True):
            floor = diagram.get_hull_energy_per_atom(structure.composition)
            assert height == pytest.approx(energy(structure) / len(structure) - floor, abs=1e-6)
            assert {str(element) for element in structure.composition.elements} == set(system.elements)
        n_real += sum(s.composition.chemical_system_set == set(system.elements) for s in inside)
        n_before = len(labels.labelled)
    assert strict_validity(labels.labelled.crystals).valid.double().mean() > 0.5
    assert n_real > 0


def test_forces_and_stress_are_slopes_of_the_energy(small_corpus: Corpus, model: Model, workers: Workers) -> None:
    """Moved along a random line, each crystal's toy energy changes as they say."""
    calculator, step, rng = make_calculator("toy_potential:make"), 1e-4, np.random.default_rng(0)
    labels = Labels(model, small_corpus.training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    for number in range(labels.steps):
        labels.step(number)
    labelled = labels.labelled
    slopes = []
    for k in range(0, len(labelled), 3):
        crystal = labelled[torch.tensor([k])]
        (structure,) = to_structures(crystal.crystals)
        strain, moves = rng.normal(size=(3, 3)), rng.normal(size=(len(structure), 3))
        strain = (strain + strain.T) / 2
        ends = []
        for way in (step, -step):
            atoms = structure.to_ase_atoms()
            atoms.set_positions(atoms.positions + way * moves)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + way * strain), scale_atoms=True)
            atoms.calc = calculator
            ends.append(atoms.get_potential_energy())
        said = structure.volume * (crystal.stress[0].numpy() * strain).sum() - (crystal.forces.numpy() * moves).sum()
        slopes.append((said, (ends[0] - ends[1]) / (2 * step)))
    said, found = np.array(slopes).T
    assert np.abs(found).max() > 0.1
    assert said == pytest.approx(found, rel=1e-3, abs=1e-3)


def test_restored_labels_are_the_same(small_corpus: Corpus, model: Model, workers: Workers) -> None:
    whole = Labels(model, small_corpus.training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    whole.step(0)
    kept = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    whole.step(1)
    other = Labels(model, small_corpus.training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    other.restore(kept)
    other.step(1)
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])


def test_a_second_round_labels_refined_crystals_of_other_systems(
    small_corpus: Corpus, model: Model, workers: Workers
) -> None:
    def round_of(earlier: Labels | None, config: EnergiesConfig) -> Labels:
        knowing = replace(model, record={"calculator": {}})
        labels = Labels(
            knowing, small_corpus.training, config, LEFT_OUT, None, seed=0, workers=workers, earlier=earlier
        )
        for step in range(labels.steps):
            labels.step(step)
        return labels

    half = CONFIG.model_copy(update={"systems": 3})
    first, at_once = round_of(None, half), round_of(None, CONFIG).labelled
    n_first = len(first.labelled)
    both = round_of(first, half).labelled
    before, after = torch.arange(n_first), torch.arange(n_first, len(both))
    assert len(after) > 0
    assert torch.equal(both[before].crystals.frac_coords, at_once[before].crystals.frac_coords)
    assert torch.equal(both[before].e_above_hull, at_once[before].e_above_hull)
    systems = [
        {s.composition.chemical_system for s in to_structures(part.crystals)}
        for part in (both[before], both[after], at_once)
    ]
    assert not systems[0] & systems[1]
    assert systems[0] | systems[1] == systems[2]
    assert both[after].crystals.volume.sum() != at_once.crystals.volume[n_first:].sum()


def test_nothing_labelled_is_said(small_corpus: Corpus, model: Model, workers: Workers) -> None:
    labels = Labels(model, small_corpus.training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    with pytest.raises(InputError, match="ask for more systems"):
        _ = labels.labelled


def test_the_scorer_learns_energies_and_the_generator_stays(
    small_corpus: Corpus, model: Model, workers: Workers
) -> None:
    labels = Labels(model, small_corpus.training, CONFIG, LEFT_OUT, None, seed=0, workers=workers)
    for step in range(labels.steps):
        labels.step(step)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    config = CONFIG.model_copy(update={"learning_rate": 1e-2})
    phase = Energies(labels, Discriminator(width=16), config, seed=0, threads=2)
    errors = [phase.step(step)["energy"] for step in range(60)]
    assert np.mean(errors[-10:]) < 0.7 * np.mean(errors[:10])
    assert all(torch.equal(value, before[name]) for name, value in phase.average.state_dict().items())
    graph = phase.scorer.graph(phase.data.crystals)
    with torch.no_grad():
        found = -ENERGY_PER_SCORE * phase.scorer(graph, phase.data.space_group_number)
    assert np.corrcoef(found, phase.data.e_above_hull)[0, 1] > 0.5
