import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.periodic_graph import PeriodicGraph, nth_distance

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
DIAMOND = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.57), ["C"], [[0, 0, 0]])
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.2, 71, 82, 98),
    ["Nb", "O", "O"],
    [[0.1, 1.2, 0.3], [0.6, -0.7, 0.4], [0, 0.4, 0.9]],
)
KNOWN = [ROCK_SALT, CSCL, DIAMOND, PEROVSKITE, TRICLINIC]


@pytest.fixture
def crystals():
    return from_structures(KNOWN)


def test_edges_point_from_neighbour_to_centre_and_match_pymatgen_distances(crystals):
    graph = PeriodicGraph.build(crystals, 4.0)
    distances, vectors = graph.edge_distances().numpy(), graph.edge_vectors().numpy()
    assert np.allclose(np.linalg.norm(vectors, axis=1), distances)
    for number, structure in enumerate(KNOWN):
        _, _, _, expected = structure.get_neighbor_list(4.0)
        assert np.allclose(np.sort(distances[graph.edge_batch == number]), np.sort(expected))
    j, i = graph.edge_index.numpy()
    cart = crystals.cart_coords.numpy()
    image = cart[j] + np.einsum("nk,nkl->nl", graph.edge_shift.numpy(), crystals.lattice.numpy()[graph.edge_batch])
    assert np.allclose(cart[i] + vectors, image)


@pytest.mark.parametrize(
    ("structure", "shells"),
    [(ROCK_SALT, (6, 18)), (CSCL, (8, 14)), (DIAMOND, (4, 16))],
    ids=["rock salt", "CsCl", "diamond"],
)
def test_cap_keeps_whole_shells(structure, shells):
    first, second = shells
    for cap, expected in [(1, first), (first, first), (first + 1, second), (second, second)]:
        graph = PeriodicGraph.build(from_structures([structure]), 6.0, cap)
        assert (graph.num_neighbors == expected).all()


def test_cap_gives_equivalent_atoms_equivalent_neighbours():
    # Perturbed by less than the tolerance, the six O of rock salt's Nb are still one shell.
    noise = np.random.default_rng(0).uniform(-5e-4, 5e-4, (8, 3))
    noisy = Structure(ROCK_SALT.lattice, ROCK_SALT.species, ROCK_SALT.frac_coords + noise)
    counts = PeriodicGraph.build(from_structures([noisy]), 6.0, 4).num_neighbors
    assert (counts == 6).all()
    crystals = from_structures([PEROVSKITE.make_supercell([2, 2, 1], in_place=False)])
    counts = PeriodicGraph.build(crystals, 5.0, 5).num_neighbors
    for z in (38, 22, 8):
        assert len(counts[crystals.atomic_numbers == z].unique()) == 1


def test_cap_keeps_the_nearest(crystals):
    capped, full = PeriodicGraph.build(crystals, 5.0, 7), PeriodicGraph.build(crystals, 5.0)
    for atom in range(len(crystals.atomic_numbers)):
        kept = capped.edge_distances()[capped.edge_index[1] == atom].sort().values
        every = full.edge_distances()[full.edge_index[1] == atom].sort().values
        assert len(kept) >= 7
        assert torch.allclose(kept, every[: len(kept)])
        assert kept[-1] <= every[6] + 0.01


def test_isolated_atom_is_a_node_without_edges():
    crystals = from_structures([Structure(Lattice.cubic(20), ["Ar"], [[0, 0, 0]]), CSCL])
    graph = PeriodicGraph.build(crystals, 5.0, 12)
    assert graph.num_neighbors[0] == 0
    assert (graph.num_neighbors[1:] > 0).all()
    assert (graph.edge_batch == 1).all()


@pytest.mark.slow
def test_gradcheck_of_vectors_and_distances():
    crystals = from_structures([TRICLINIC, CSCL])
    graph = PeriodicGraph.build(crystals, 3.6)

    def at(lattice, frac_coords):
        moved = crystals.replace(lattice=lattice, frac_coords=frac_coords)
        moved = PeriodicGraph(crystals=moved, edge_index=graph.edge_index, edge_shift=graph.edge_shift)
        return moved.edge_vectors(), moved.edge_distances()

    inputs = crystals.lattice.clone().requires_grad_(), crystals.frac_coords.clone().requires_grad_()
    assert torch.autograd.gradcheck(at, inputs)
    assert torch.autograd.gradgradcheck(at, inputs)


def test_gradient_is_finite_where_atoms_coincide():
    crystals = from_structures([Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [0, 0, 0]])])
    frac_coords = crystals.frac_coords.requires_grad_()
    graph = PeriodicGraph.build(crystals.replace(frac_coords=frac_coords), 3.0)
    graph.edge_distances().sum().backward()
    assert len(graph.edge_shift) == 2
    assert frac_coords.grad.isfinite().all()


def test_unsearchable_crystal_gets_no_edges():
    crystals = from_structures([CSCL, CSCL])
    lattice = crystals.lattice.clone()
    lattice[0] = 0
    broken = crystals.replace(lattice=lattice)
    with pytest.raises(ValueError, match="crystal 0"):
        PeriodicGraph.build(broken, 4.0)
    graph = PeriodicGraph.build(broken, 4.0, 8, searchable=torch.tensor([False, True]))
    assert graph.num_neighbors.tolist() == [0, 0, 8, 8]


def test_cap_below_one_is_refused(crystals):
    with pytest.raises(ValueError, match="max_neighbors is 0"):
        PeriodicGraph.build(crystals, 4.0, 0)


def test_to_changes_the_float_type_only(crystals):
    graph = PeriodicGraph.build(crystals, 4.0).to(dtype=torch.float32)
    assert graph.crystals.lattice.dtype == graph.edge_vectors().dtype == torch.float32
    assert graph.edge_index.dtype == graph.edge_shift.dtype == torch.int64


def test_nth_distance_against_a_plain_loop():
    generator = torch.Generator().manual_seed(5)
    centers = torch.randint(0, 20, (150,), generator=generator)
    distances = torch.rand(150, generator=generator, dtype=torch.float64) * 5
    result = nth_distance(distances, centers, 21, 6)
    for atom in range(21):
        own = distances[centers == atom].sort().values
        assert result[atom] == (own[5] if len(own) >= 6 else torch.inf)


def test_gradient_of_nth_distance_goes_to_that_edge():
    distances = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    nth_distance(distances, torch.tensor([0, 0, 0]), 1, 2).sum().backward()
    assert distances.grad.tolist() == [0, 0, 1]


def test_empty_batch_of_edges():
    crystals = Crystals(
        lattice=torch.eye(3, dtype=torch.float64)[None] * 30,
        frac_coords=torch.zeros(1, 3, dtype=torch.float64),
        atomic_numbers=torch.tensor([2]),
        num_atoms=torch.tensor([1]),
    )
    graph = PeriodicGraph.build(crystals, 5.0, 12)
    assert graph.edge_distances().shape == (0,)
