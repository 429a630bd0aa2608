"""The dense search against the exact list, where the images −1, 0, 1 hold all that is near."""

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.nearest import image_distances, image_vectors
from crystalgraph.geometry.neighbors import neighbor_list

SEED = 5


def random_batch() -> Crystals:
    rng = torch.Generator().manual_seed(SEED)
    num_atoms = torch.tensor([1, 4, 7, 2])
    lattice = 5 * torch.eye(3).double() + torch.rand(4, 3, 3, generator=rng, dtype=torch.float64)
    frac = 3 * torch.rand(14, 3, generator=rng, dtype=torch.float64) - 1
    return Crystals(lattice=lattice, frac_coords=frac, atomic_numbers=torch.full((14,), 8), num_atoms=num_atoms)


def test_nearest_equal_the_exact_list() -> None:
    crystals = random_batch()
    centers = torch.arange(14)
    atoms, shifts, exists = image_distances(crystals, centers).nearest(6)
    assert exists.all()
    found = image_vectors(crystals, centers, atoms, shifts).norm(dim=2)
    i, j, shift = neighbor_list(crystals.lattice, crystals.frac_coords, crystals.num_atoms, 12.0)
    vectors = crystals.frac_coords[j] - crystals.frac_coords[i] + shift
    exact = torch.einsum("nk,nkl->nl", vectors, crystals.lattice[crystals.batch[i]]).norm(dim=1)
    for center in range(14):
        torch.testing.assert_close(found[center], exact[i == center].sort().values[:6], msg=f"seed {SEED}")


def test_allowed_atoms_only_and_missing_ones_are_marked() -> None:
    crystals = random_batch()
    images = image_distances(crystals, torch.tensor([1, 5]))
    nobody = torch.zeros(images.atom.shape, dtype=torch.bool)
    assert not images.nearest(5, nobody)[2].any()
    atoms, _, exists = images.nearest(5, images.atom == 1)
    assert exists.all(1).tolist() == [True, False]
    assert (atoms[0] == 1).all()
