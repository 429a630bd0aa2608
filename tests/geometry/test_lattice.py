"""Lattice codes: the metric each crystal system demands, and the way back."""

import pytest
import torch
from pymatgen.core import Lattice

from crystalgraph.geometry.lattice import (
    CRYSTAL_SYSTEMS,
    code_from_lattice,
    crystal_system,
    exponential,
    free_shape,
    lattice_from_code,
    project_strain,
)

SEED = 3
GROUPS = torch.tensor([1, 5, 20, 80, 150, 180, 200])


def random_lattices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(SEED)
    system = crystal_system(GROUPS)
    volume = 100 * torch.rand(7, generator=rng, dtype=torch.float64) + 10
    shape = 0.3 * torch.randn(7, 5, generator=rng, dtype=torch.float64)
    return system, volume, shape, lattice_from_code(system, volume.log(), shape)


@pytest.mark.slow
def test_systems_of_all_groups_equal_pymatgen() -> None:
    from pymatgen.symmetry.groups import SpaceGroup

    numbers = torch.arange(1, 231)
    for number, system in zip(numbers.tolist(), crystal_system(numbers).tolist(), strict=True):
        assert SpaceGroup.from_int_number(number).crystal_system == CRYSTAL_SYSTEMS[system]


def test_metric_of_each_system() -> None:
    _, volume, _, lattice = random_lattices()
    cells = [Lattice(m.numpy()) for m in lattice]
    for cell, expected in zip(cells, volume.tolist(), strict=True):
        assert cell.volume == pytest.approx(expected)
    assert cells[1].alpha == pytest.approx(90)
    assert cells[1].gamma == pytest.approx(90)
    assert cells[1].beta != 90
    assert cells[2].angles == pytest.approx((90, 90, 90))
    assert cells[3].a == pytest.approx(cells[3].b)
    assert cells[3].angles == pytest.approx((90, 90, 90))
    for hexagonal in (cells[4], cells[5]):
        assert hexagonal.a == pytest.approx(hexagonal.b)
        assert hexagonal.angles == pytest.approx((90, 90, 120))
    assert cells[6].abc == pytest.approx([cells[6].a] * 3)
    assert cells[6].angles == pytest.approx((90, 90, 90))


def test_code_comes_back_after_rotation() -> None:
    system, volume, shape, lattice = random_lattices()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(SEED)).double())[0]
    log_volume, found = code_from_lattice(lattice @ rotation)
    free = free_shape(system, torch.float64)
    torch.testing.assert_close(log_volume, volume.log())
    torch.testing.assert_close(found * free, shape * free)


def test_isotropic_strain_changes_the_volume_alone() -> None:
    system = crystal_system(GROUPS)
    volume, shape = project_strain(system, 0.01 * torch.eye(3, dtype=torch.float64).expand(7, 3, 3))
    torch.testing.assert_close(volume, torch.full((7,), 0.03, dtype=torch.float64))
    assert shape.abs().max() < 1e-12


def test_gradient_of_the_lattice() -> None:
    system = crystal_system(GROUPS)
    shape = (0.2 * torch.randn(7, 5, generator=torch.Generator().manual_seed(SEED))).double().requires_grad_()
    volume = torch.full((7,), 4.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, s: lattice_from_code(system, v, s), (volume, shape))


@pytest.mark.parametrize(("dtype", "norm"), [(torch.float64, 0.1), (torch.float64, 4.0), (torch.float32, 4.0)])
def test_exponential_equals_torch(dtype: torch.dtype, norm: float) -> None:
    matrix = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    matrix = (matrix + matrix.transpose(1, 2)).to(dtype)
    matrix = norm * matrix / torch.linalg.matrix_norm(matrix)[:, None, None]
    expected = torch.linalg.matrix_exp(matrix)
    torch.testing.assert_close(
        exponential(matrix),
        expected,
        rtol=1e-12 if dtype == torch.float64 else 1e-5,
        atol=1e-12 if dtype == torch.float64 else 1e-5,
    )
