"""Expansion: its gradients, and the symmetry of what it makes."""

import spglib
import torch

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.geometry.lattice import crystal_system, lattice_from_code
from crystalgraph.symmetry.expand import Orbits, expand
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table

SEED = 7


def general_positions(numbers: list[int]) -> Templates:
    """One atom on the general position of each group."""
    table = wyckoff_table()
    return Templates(
        space_group_number=torch.tensor(numbers),
        num_sites=torch.ones(len(numbers), dtype=torch.long),
        position=torch.tensor([table.positions(number)[-1] for number in numbers]),
        atomic_numbers=torch.full((len(numbers),), 41),
    )


def test_every_group_is_found_again_by_spglib() -> None:
    """Carbon on the general position pins the group down; niobium at another makes an accident unlikely."""
    rng = torch.Generator().manual_seed(SEED)
    numbers = list(range(1, 231))
    one = general_positions(numbers)
    two = Templates(
        space_group_number=one.space_group_number,
        num_sites=2 * one.num_sites,
        position=one.position.repeat_interleave(2),
        atomic_numbers=torch.tensor([41, 6]).repeat(len(numbers)),
    )
    system = crystal_system(two.space_group_number)
    shape = 0.2 * torch.randn(230, 5, generator=rng, dtype=torch.float64)
    volume = (60.0 * two.num_atoms).double()
    lattice = lattice_from_code(system, volume.log(), shape)
    u = torch.rand(460, 3, generator=rng, dtype=torch.float64)
    for number, structure in zip(numbers, to_structures(expand(two, lattice, u)), strict=True):
        cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        assert spglib.get_symmetry_dataset(cell, symprec=1e-4).number == number, f"seed {SEED}"


def test_gradients_of_expansion() -> None:
    templates = Templates.concatenate([general_positions([15, 62]), general_positions([166])])
    orbits = Orbits.of(templates, dtype=torch.float64)
    rng = torch.Generator().manual_seed(SEED)
    lattice = (4 * torch.eye(3) + torch.randn(3, 3, 3, generator=rng)).double().requires_grad_()
    u = torch.rand(3, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: orbits.expand(a, b).cart_coords, (lattice, u))
