"""The leakage rule, and the split into templates to learn from and templates held out."""

from collections import Counter

import pytest
import torch
from pymatgen.core import Composition

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.datasets import load_dataset
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.config import DataConfig
from crystalgraph.training.corpus import Corpus, LeakageError, is_held_out, prepare, refuse_leaks


def formulas(data: ParametrisedTemplates) -> list[Composition]:
    return [structure.composition for structure in to_structures(data.crystals())]


@pytest.mark.slow
def test_no_crystal_of_the_asked_system_is_learned_from(small_dataset: CrystalTable, small_corpus: Corpus) -> None:
    asked = {"Nb", "O"}
    assert any({e.symbol for e in s.composition} == asked for s in to_structures(small_dataset.crystals))
    for part in (small_corpus.training, small_corpus.heldout):
        assert not any({e.symbol for e in c} <= asked for c in formulas(part))


def test_planted_known_phase_is_refused(small_corpus: Corpus) -> None:
    training = small_corpus.training
    refuse_leaks(training.templates, small_corpus.training_ids, ChemicalSystem.parse("Nb-O"))
    known = load_dataset("nbo")
    rutile = extract(known.crystals[int((known.columns["formula"] == "NbO2").nonzero()[0][0])])
    planted = Templates.concatenate([training.templates, rutile.templates])
    with pytest.raises(LeakageError, match="planted"):
        refuse_leaks(planted, [*small_corpus.training_ids, "planted"], ChemicalSystem.parse("Nb-O"))


@pytest.mark.slow
def test_held_out_systems_are_never_learned_from_either(small_dataset: CrystalTable) -> None:
    present = [{e.symbol for e in s.composition} for s in to_structures(small_dataset.crystals)]
    common = Counter("-".join(sorted(elements)) for elements in present if 2 <= len(elements) <= 3)
    held_out = tuple(system for system, _ in common.most_common(4) if system != "Nb-O")
    corpus = prepare(small_dataset, DataConfig(system="Nb-O", holdout_systems=held_out, max_atoms=20, max_sites=8))
    asked = [{"Nb", "O"}, *({*system.split("-")} for system in held_out)]
    inside = [any(elements <= system for system in asked) for elements in present]
    assert len(held_out) > 1
    assert sum(inside) > sum(elements <= {"Nb", "O"} for elements in present) + 2
    for part in (corpus.training, corpus.heldout):
        assert not any({e.symbol for e in c} <= system for c in formulas(part) for system in asked)
    assert sum(n for reason, n in corpus.left_out.items() if "system" in reason) == sum(inside)
    counted = len(corpus.training) + len(corpus.heldout) + sum(corpus.left_out.values())
    assert counted == len(small_dataset)


def test_held_out_prototypes_are_never_trained_on(small_corpus: Corpus) -> None:
    trained, held = set(small_corpus.training.prototypes), set(small_corpus.heldout.prototypes)
    assert trained
    assert held
    assert not trained & held
    assert 0.03 < len(held) / len(held | trained) < 0.2


@pytest.mark.slow
def test_polymorphs_are_held_out_together(small_dataset: CrystalTable) -> None:
    config = DataConfig(system="Nb-O", max_atoms=20, max_sites=8, holdout=0.3, holdout_by="formula")
    corpus = prepare(small_dataset, config)
    structures = dict(zip(small_dataset.ids, to_structures(small_dataset.crystals), strict=True))
    trained, held = (
        Counter(structures[name].composition.reduced_formula for name in ids)
        for ids in (corpus.training_ids, corpus.heldout_ids)
    )
    assert not trained.keys() & held.keys()
    assert 0.2 < len(held) / len(held | trained) < 0.4
    assert max(held.values()) > 1
    assert set(corpus.training.prototypes) & set(corpus.heldout.prototypes)


def test_the_split_depends_on_name_and_seed_alone() -> None:
    names = [f"62:{i}" for i in range(4000)]
    first = [is_held_out(name, 0.1, 0) for name in names]
    assert first == [is_held_out(name, 0.1, 0) for name in names]
    assert first != [is_held_out(name, 0.1, 1) for name in names]
    assert 0.08 < sum(first) / len(names) < 0.12


def test_every_crystal_is_accounted_for(small_dataset: CrystalTable, small_corpus: Corpus) -> None:
    counted = len(small_corpus.training) + len(small_corpus.heldout) + sum(small_corpus.left_out.values())
    assert counted == len(small_dataset)
    assert all(count >= 0 for count in small_corpus.left_out.values())


def test_crystals_come_back_from_their_codes(small_dataset: CrystalTable, small_corpus: Corpus) -> None:
    place = {name: row for row, name in enumerate(small_dataset.ids)}
    training = small_corpus.training
    rows = torch.tensor([place[name] for name in small_corpus.training_ids])
    real = small_dataset.crystals[rows]
    per_atom = real.volume / real.num_atoms
    made = training.crystals()
    torch.testing.assert_close(made.volume / made.num_atoms, per_atom, rtol=1e-3, atol=0)


def test_without_symmetry_nothing_but_the_description_changes(small_corpus: Corpus) -> None:
    training = small_corpus.training
    flat = training.without_symmetry()
    assert (flat.templates.space_group_number == 1).all()
    assert flat.prototypes == training.prototypes
    assert flat[torch.tensor([3, 1])].prototypes == [training.prototypes[3], training.prototypes[1]]
    torch.testing.assert_close(flat.crystals().volume, training.crystals().volume)


def test_larger_cells_are_left_out_by_the_config(small_dataset: CrystalTable) -> None:
    corpus = prepare(small_dataset, DataConfig(system="Nb-O", max_atoms=4))
    assert corpus.training.templates.num_atoms.max() <= 4
    assert corpus.left_out["more than 4 atoms"] > 100
