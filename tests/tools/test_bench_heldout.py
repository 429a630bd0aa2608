"""Held-out systems give compounds that no training crystal is, the gap is that of the lowest valid draw, relatives."""

import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.evaluation.heldout import HeldoutResult
from crystalgraph.relax.pool import Workers
from crystalgraph.symmetry.substitute import keep_volume
from crystalgraph.training.config import DataConfig


@pytest.fixture
def module(tool):
    return tool("bench_heldout")


def test_compounds_of_held_out_systems(module) -> None:
    cases = module.of_held_out_systems(DataConfig(system="Nb-O", holdout_systems=("Ti-O",)))
    truth = to_structures(cases.truth)
    systems = {structure.composition.chemical_system for structure in truth}
    assert systems == {"Nb-O", "O-Ti"}
    assert len(truth) == len(cases.templates) > 20
    assert (cases.templates.num_free > 0).all()
    assert 20 < max(map(len, truth)) <= 24
    groups = [structure.get_space_group_info(symprec=0.05)[1] for structure in truth]
    same = [own == asked for own, asked in zip(groups, cases.templates.space_group_number.tolist(), strict=True)]
    assert sum(same) >= 0.9 * len(same)


@pytest.mark.slow
def test_shipped_arms_recall_no_training_crystal(module, monkeypatch) -> None:
    cases = module.of_held_out_systems(DataConfig(system="Nb-O"))
    templates = cases.templates[torch.arange(6)]
    model = module.load_model("nbo")
    monkeypatch.setattr(module, "load_model", lambda _: model)
    asked: list[int] = []
    draw = model.library.draw
    monkeypatch.setattr(model.library, "draw", lambda *given: asked.append(1) or draw(*given))
    assert draw(templates, keep_volume, torch.Generator()).known.any()
    for arm in module.shipped_arms(templates):
        assert len(arm.draw(torch.Generator().manual_seed(1))) == len(templates)
    assert not asked


@pytest.mark.slow
def test_gap_is_that_of_the_lowest_valid_draw(module, monkeypatch, toy_calculator) -> None:
    monkeypatch.setattr(module, "CHGNET", toy_calculator)
    truth = module.of_held_out_systems(DataConfig(system="Nb-O")).truth[torch.arange(4)]
    scales = iter([1.1, 1.02, 0.5, *[1.1] * 9])
    drawn: list[Crystals] = []

    def draw(_rng: torch.Generator) -> Crystals:
        drawn.append(truth.replace(lattice=truth.lattice * next(scales)))
        return drawn[-1]

    with Workers(toy_calculator, 1) as workers:
        found = module.energy_gap(module.Arm(name="scaled", draw=draw), truth, 0, workers)
    from toy_potential import make

    def energies(crystals: Crystals) -> torch.Tensor:
        found = []
        for structure in to_structures(crystals):
            atoms = structure.to_ase_atoms()
            atoms.calc = make()
            found.append(atoms.get_potential_energy() / len(atoms))
        return torch.tensor(found)

    gaps = torch.minimum(energies(drawn[0]), energies(drawn[1])) - energies(truth)  # crushed to half, it does not count
    assert (found["n"], found["draws"]) == (4, 12)
    assert found["median"] == pytest.approx(gaps.double().quantile(0.5).item(), abs=1e-5)
    assert found["within_0.1"] == (gaps <= 0.1).double().mean()


def test_relatives_are_distortions_with_any_elements(module, as_parametrised) -> None:
    perovskite = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    sheared = Structure(  # tetragonal, with other elements whose electronegativities come in another order
        Lattice.tetragonal(4.0, 4.2),
        ["Br", "Na", "Ca", "Ca", "Ca"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.02], [0.5, 0, 0.52], [0, 0.5, 0.52]],
    )
    far = Structure(
        Lattice.cubic(3.9), perovskite.species, [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0], [0, 0, 0.5]]
    )
    training = as_parametrised(perovskite)
    cases = as_parametrised(sheared, far)
    assert set(cases.prototypes).isdisjoint(training.prototypes)
    assert module.has_relatives(cases, training).tolist() == [True, False]


def test_figures_of_groups(module) -> None:
    result = HeldoutResult(strict=1.0, first_match=torch.tensor([1, 0, 3, 1]), n_draws=3, volume_error=0.0, timed_out=0)
    related = torch.tensor([True, True, True, False])
    groups = {"simple": ~torch.zeros(4, dtype=torch.bool), "related": related, "unrelated": ~related}
    found = module.row("ours", result, groups, torch.ones(4, dtype=torch.long), 1.0)
    assert (found["match_1"], found["simple_match_3"]) == (0.5, 0.75)
    assert (found["related_match_1"], found["related_match_3"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found["unrelated_match_1"], found["unrelated_match_3"]) == (1, 1)
    table = module.relatives_table([found], 3, 4, 3)
    assert "3 with relatives" in table
    assert "| ours | 0.33 (" in table
