"""Held-out systems give the compounds that no training crystal is, and the gap is that of the lowest valid draw."""

import pytest
import torch

from crystalgraph.config import DataConfig
from crystalgraph.crystals import Crystals
from crystalgraph.io.structures import to_structures
from crystalgraph.relax.pool import Workers


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
    assert max(map(len, truth)) <= 20
    groups = [structure.get_space_group_info(symprec=0.05)[1] for structure in truth]
    same = [own == asked for own, asked in zip(groups, cases.templates.space_group_number.tolist(), strict=True)]
    assert sum(same) >= 0.9 * len(same)


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
