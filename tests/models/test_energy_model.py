"""Forces and stress are those of the learned energy: finite differences, rotation, and no force on the whole."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.energy_model import ENERGY_PER_SCORE, learned_energy

CRYSTALS = from_structures(
    [
        Structure(
            Lattice.from_parameters(4.1, 5.3, 6.2, 71, 82, 98),
            ["Nb", "O", "O"],
            [[0.1, 1.2, 0.3], [0.6, -0.7, 0.4], [0, 0.4, 0.9]],
        ),
        Structure(Lattice.tetragonal(3.1, 4.0), ["Ti", "N"], [[0, 0, 0], [0.5, 0.45, 0.53]]),
    ]
)
GROUPS = torch.tensor([1, 6])
STEP = 1e-4


@pytest.fixture(scope="module")
def model() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(width=16).double()


def found(model: Discriminator, crystals: Crystals):
    return learned_energy(model, model.graph(crystals), GROUPS)


def test_energy_is_the_score_turned_around(model: Discriminator) -> None:
    with torch.no_grad():
        score = model(model.graph(CRYSTALS), GROUPS)
    assert torch.allclose(found(model, CRYSTALS).e_above_hull, -ENERGY_PER_SCORE * score, atol=1e-12)


@pytest.mark.parametrize("atom", range(5))
def test_forces_are_what_the_energy_loses(model: Discriminator, atom: int) -> None:
    crystal = int(CRYSTALS.batch[atom])
    inverse = torch.linalg.inv(CRYSTALS.lattice[crystal])
    for axis in range(3):
        ends = []
        for way in (STEP, -STEP):
            frac_coords = CRYSTALS.frac_coords.clone()
            frac_coords[atom] += way * inverse[axis]
            ends.append(found(model, CRYSTALS.replace(frac_coords=frac_coords)).e_above_hull[crystal])
        lost = -CRYSTALS.num_atoms[crystal] * (ends[0] - ends[1]) / (2 * STEP)
        assert found(model, CRYSTALS).forces[atom, axis].item() == pytest.approx(lost.item(), abs=1e-6)


def test_stress_is_what_a_strain_costs(model: Discriminator) -> None:
    slope = found(model, CRYSTALS).strain_energy
    assert torch.equal(slope, slope.transpose(1, 2))
    for row, column in [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]:
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[row, column] = strain[column, row] = STEP
        ends = [
            found(model, CRYSTALS.replace(lattice=CRYSTALS.lattice @ (torch.eye(3) + way * strain))).e_above_hull
            for way in (1, -1)
        ]
        cost = (ends[0] - ends[1]) / (2 * STEP)
        assert torch.allclose((slope * (strain / STEP)).sum((1, 2)), cost, atol=1e-6)


def test_crystals_pull_at_themselves_in_vain(model: Discriminator) -> None:
    total = torch.zeros(2, 3, dtype=torch.float64).index_add(0, CRYSTALS.batch, found(model, CRYSTALS).forces)
    assert torch.allclose(total, torch.zeros_like(total), atol=1e-10)


def test_forces_turn_with_the_crystal(model: Discriminator) -> None:
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    straight = found(model, CRYSTALS)
    turned = found(model, CRYSTALS.replace(lattice=CRYSTALS.lattice @ rotation))
    assert torch.allclose(turned.forces, straight.forces @ rotation, atol=1e-10)
    assert torch.allclose(turned.strain_energy, rotation.T @ straight.strain_energy @ rotation, atol=1e-10)


def test_derivatives_can_be_learned(model: Discriminator) -> None:
    again = learned_energy(model, model.graph(CRYSTALS), GROUPS, create_graph=True)
    weight = model.score.weight
    for value in (again.e_above_hull, again.forces, again.strain_energy):
        (gradient,) = torch.autograd.grad(value.square().sum(), weight, retain_graph=True)
        assert gradient.abs().sum() > 0
    assert not any(value.requires_grad for value in vars(found(model, CRYSTALS)).values())
