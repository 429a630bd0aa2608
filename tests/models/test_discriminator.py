import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.periodic_graph import PeriodicGraph
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.discriminator import Discriminator, envelope

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
DIAMOND = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.57), ["C"], [[0, 0, 0]])
BCC = Structure(Lattice.cubic(3.32), ["Nb", "Nb"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.2, 71, 82, 98),
    ["Nb", "O", "O"],
    [[0.1, 1.2, 0.3], [0.6, -0.7, 0.4], [0, 0.4, 0.9]],
)
KNOWN = [ROCK_SALT, RUTILE, DIAMOND, BCC, TRICLINIC]
GROUPS = torch.tensor([225, 136, 227, 229, 1])


@pytest.fixture(scope="module", params=[13, None], ids=["nearest", "all"])
def model(request):
    torch.manual_seed(0)
    return Discriminator(max_neighbors=request.param).double()


def scores(model, structures, groups=GROUPS):
    with torch.no_grad():
        return model(model.graph(from_structures(structures)), groups)


def rotated(structure, seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return Structure(structure.lattice.matrix @ rotation, structure.species, structure.frac_coords)


def test_scores_tell_crystals_apart(model):
    assert scores(model, KNOWN).std() > 1e-3


def test_rotation(model):
    turned = [rotated(structure, seed) for seed, structure in enumerate(KNOWN)]
    assert torch.allclose(scores(model, turned), scores(model, KNOWN), atol=1e-9)


def test_origin_shift(model):
    shifts = np.random.default_rng(1).uniform(-2, 2, (len(KNOWN), 3))
    shifted = [Structure(s.lattice, s.species, s.frac_coords + t) for s, t in zip(KNOWN, shifts, strict=True)]
    assert torch.allclose(scores(model, shifted), scores(model, KNOWN), atol=1e-9)


def test_order_of_atoms(model):
    rng = np.random.default_rng(2)
    shuffled = [Structure.from_sites([s[k] for k in rng.permutation(len(s))]) for s in KNOWN]
    assert torch.allclose(scores(model, shuffled), scores(model, KNOWN), atol=1e-9)


@pytest.mark.parametrize("cell", [[2, 1, 1], [[2, 1, 0], [0, 2, 0], [0, 0, 1]], [[1, 0, 3], [0, 1, 0], [0, 0, 1]]])
def test_supercell(model, cell):
    larger = [structure.make_supercell(cell, in_place=False) for structure in KNOWN]
    assert torch.allclose(scores(model, larger), scores(model, KNOWN), atol=1e-9)


def test_primitive_cell(model):
    assert torch.allclose(
        scores(model, [ROCK_SALT.get_primitive_structure()], GROUPS[:1]),
        scores(model, [ROCK_SALT], GROUPS[:1]),
        atol=1e-9,
    )


def test_other_crystals_in_the_batch_change_nothing(model):
    alone = torch.cat([scores(model, [s], g[None]) for s, g in zip(KNOWN, GROUPS, strict=True)])
    assert torch.allclose(alone, scores(model, KNOWN), atol=1e-9)


def test_more_edges_than_needed_change_nothing(model):
    crystals = from_structures(KNOWN)
    with torch.no_grad():
        full = model(PeriodicGraph.build(crystals, 6.5), GROUPS)
    assert torch.allclose(full, scores(model, KNOWN), atol=1e-9)


def test_space_group_and_composition_are_heard(model):
    assert not torch.allclose(scores(model, KNOWN, torch.full((5,), 12)), scores(model, KNOWN))
    assert not torch.allclose(scores(model, KNOWN, None), scores(model, KNOWN))
    assert torch.equal(scores(model, KNOWN, None), scores(model, KNOWN, torch.zeros(5, dtype=torch.long)))
    swapped = RUTILE.copy()
    swapped.replace_species({"Nb": "Ti"})
    assert not torch.allclose(scores(model, [swapped], GROUPS[1:2]), scores(model, [RUTILE], GROUPS[1:2]))


@pytest.mark.slow
def test_score_is_continuous_where_neighbours_change_places(model):
    # One atom walks through the cell of diamond, past many changes of who is among the nearest.
    path = np.linspace(0, 0.22, 1201)
    walk = [DIAMOND.copy() for _ in path]
    for structure, step in zip(walk, path, strict=True):
        structure.translate_sites([0], [step, 0.4 * step, 0.1 * step])
    crystals = from_structures(walk)
    neighbours = model.graph(crystals).num_neighbors.view(len(path), -1)
    assert (neighbours[1:] != neighbours[:-1]).any(1).sum() > 5
    jumps = scores(model, walk, torch.full((len(path),), 227)).diff().abs()
    # A smooth curve of 1,200 steps: no step is far larger than its neighbours.
    nearby = torch.stack([jumps[:-2], jumps[2:]]).amax(0)
    assert (jumps[1:-1] < 3 * nearby + 1e-4).all()
    assert jumps.max() < 0.01


@pytest.mark.parametrize(("max_neighbors", "cutoff"), [(6, 5.0), (None, 3.5)])
def test_gradcheck_with_respect_to_lattice_and_coordinates(max_neighbors, cutoff):
    torch.manual_seed(1)
    model = Discriminator(width=8, n_basis=4, max_neighbors=max_neighbors, cutoff=cutoff).double()
    crystals = from_structures([TRICLINIC])
    graph = model.graph(crystals)

    def score(lattice, frac_coords):
        moved = PeriodicGraph(
            crystals=crystals.replace(lattice=lattice, frac_coords=frac_coords),
            edge_index=graph.edge_index,
            edge_shift=graph.edge_shift,
        )
        return model(moved, torch.tensor([2]))

    inputs = crystals.lattice.clone().requires_grad_(), crystals.frac_coords.clone().requires_grad_()
    assert torch.autograd.gradcheck(score, inputs)
    assert torch.autograd.gradgradcheck(score, inputs)


def test_gradient_penalty_on_distances_trains_every_weight_it_should(model):
    graph = model.graph(from_structures(KNOWN))
    distances = graph.edge_distances().requires_grad_()
    out = model(graph, GROUPS, distances=distances)
    assert torch.allclose(out, scores(model, KNOWN))
    (slope,) = torch.autograd.grad(out.sum(), distances, create_graph=True)
    penalty = slope.square().sum()
    grads = torch.autograd.grad(out.mean() + penalty, list(model.parameters()))
    assert penalty > 0
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in grads)


def test_gradients_are_finite_for_real_crystals():
    torch.manual_seed(2)
    model = Discriminator()
    dataset = load_dataset("corpus")
    chosen = torch.arange(0, len(dataset), 400)
    crystals = dataset.crystals[chosen].to(dtype=torch.float32)
    crystals = crystals.replace(
        lattice=crystals.lattice.requires_grad_(), frac_coords=crystals.frac_coords.requires_grad_()
    )
    group = torch.as_tensor(dataset.columns["space_group_number"][chosen.numpy()].astype(np.int64))
    out = model(model.graph(crystals), group)
    slopes = torch.autograd.grad(out.sum(), [crystals.lattice, crystals.frac_coords], create_graph=True)
    grads = torch.autograd.grad(sum(s.square().mean() for s in slopes), list(model.parameters()), allow_unused=True)
    assert out.shape == (len(chosen),)
    assert out.isfinite().all()
    assert all(s.isfinite().all() for s in slopes)
    assert all(g.isfinite().all() for g in grads if g is not None)


def test_isolated_and_coinciding_atoms_have_a_finite_score_and_gradient(model):
    lonely = Structure(Lattice.cubic(20), ["Nb"], [[0, 0, 0]])
    doubled = Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [0, 0, 0]])
    crystals = from_structures([lonely, doubled])
    crystals = crystals.replace(frac_coords=crystals.frac_coords.requires_grad_())
    out = model(model.graph(crystals))
    out.sum().backward()
    assert out.isfinite().all()
    assert crystals.frac_coords.grad.isfinite().all()


def test_size_and_seed():
    n_weights = []
    outputs = []
    for _ in range(2):
        torch.manual_seed(4)
        model = Discriminator()
        n_weights.append(sum(p.numel() for p in model.parameters()))
        outputs.append(scores(model.double(), KNOWN))
    assert 40_000 <= n_weights[0] <= 100_000
    assert torch.equal(*outputs)


def test_weights_survive_a_state_dict(model):
    copy = Discriminator(**model.arguments).double()
    copy.load_state_dict(model.state_dict())
    assert torch.equal(scores(copy, KNOWN), scores(model, KNOWN))


def test_arguments_make_the_same_network_again():
    other_than_usual = {"width": 8, "n_layers": 1, "cutoff": 4.0, "max_neighbors": None, "n_basis": 5}
    model = Discriminator(**other_than_usual)
    assert model.arguments == other_than_usual
    Discriminator(**model.arguments).load_state_dict(model.state_dict())


def test_envelope_fades_smoothly():
    x = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    y = envelope(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert torch.allclose(y, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assert torch.allclose(slope, torch.zeros(3, dtype=torch.float64), atol=1e-12)
    inner = envelope(torch.linspace(0, 1, 50))
    assert (inner.diff() <= 0).all()
