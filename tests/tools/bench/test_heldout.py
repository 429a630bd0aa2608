"""No training crystal is put in, the gap is that of the lowest valid draw, and rates are of their groups."""

import pytest
import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.heldout import HeldoutResult
from crystalgraph.symmetry.substitute import element_volume_rule
from crystalgraph.training.config import DataConfig
from tools.bench import heldout, tables
from tools.bench.templates import of_held_out_systems


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws")
def test_shipped_arms_put_in_no_training_crystal(monkeypatch) -> None:
    cases = of_held_out_systems(DataConfig(system="Nb-O"))
    templates = cases.templates[torch.arange(6)]
    model = heldout.load_model("nbo")
    monkeypatch.setattr(heldout, "N_DRAWS", 2)
    monkeypatch.setattr(heldout, "load_model", lambda _: model)
    asked: list[int] = []
    draw = model.library.draw
    monkeypatch.setattr(model.library, "draw", lambda *given: asked.append(1) or draw(*given))
    assert draw(templates, element_volume_rule(model.generator.element_volume.cpu()), torch.Generator()).known.any()
    for arm in heldout.shipped_arms(templates):
        assert len(arm.draw(torch.Generator().manual_seed(1))) == len(templates)
    assert not asked


@pytest.mark.slow
def test_gap_is_that_of_the_lowest_valid_draw(monkeypatch, toy_calculator) -> None:
    monkeypatch.setattr(heldout, "CHGNET", toy_calculator)
    truth = of_held_out_systems(DataConfig(system="Nb-O")).truth[torch.arange(4)]
    scales = iter([1.1, 1.02, 0.5, *[1.1] * 9])
    drawn: list[Crystals] = []

    def draw(_rng: torch.Generator) -> Crystals:
        drawn.append(truth.replace(lattice=truth.lattice * next(scales)))
        return drawn[-1]

    with Workers(1) as workers:
        found = heldout.energy_gap(heldout.Arm(name="scaled", draw=draw), truth, 0, workers)
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


def test_figures_of_groups() -> None:
    result = HeldoutResult(strict=1.0, first_match=torch.tensor([1, 0, 3, 1]), n_draws=3, volume_error=0.0, timed_out=0)
    related = torch.tensor([True, True, True, False])
    groups = {"simple": ~torch.zeros(4, dtype=torch.bool), "related": related, "unrelated": ~related}
    found = heldout.row("ours", result, groups, torch.ones(4, dtype=torch.long), 1.0)
    assert (found["match_1"], found["simple_match_3"]) == (0.5, 0.75)
    assert (found["related_match_1"], found["related_match_3"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found["unrelated_match_1"], found["unrelated_match_3"]) == (1, 1)
    table = tables.relatives([found], 3, 4, 3)
    assert "3 with relatives" in table
    assert "| ours | 0.33 (" in table
