"""The generator keeps what it promises whatever its weights: composition, space group, finite gradients."""

import pytest
import spglib
import torch

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.generator import Generator
from crystalgraph.models.sites import Sites
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.template import Templates

SEED = 11


@pytest.fixture(scope="module")
def templates() -> Templates:
    return extract(load_dataset("corpus").crystals[torch.arange(5, 37_855, 600)]).templates


def make(n_stages: int) -> Generator:
    torch.manual_seed(SEED)
    return Generator(width=32, n_stages=n_stages)


@pytest.mark.parametrize("n_stages", [0, 3])
def test_space_group_holds_with_random_weights(templates: Templates, n_stages: int) -> None:
    generator = make(n_stages)
    sites = Sites.of(templates, dtype=torch.float32)
    with torch.no_grad():
        crystals = generator(sites, generator.noise(sites, torch.Generator().manual_seed(SEED)))[-1].crystals
    found = [
        spglib.get_symmetry_dataset((s.lattice.matrix, s.frac_coords, s.atomic_numbers), symprec=1e-3)
        for s in to_structures(crystals)
    ]
    asked = templates.space_group_number.tolist()
    same = [f.number == g for f, g in zip(found, asked, strict=True) if f is not None]
    # Accidents (sites that coincide, a cell that happens to be cubic) only ever raise the symmetry.
    larger = [len(f.rotations) for f in found if f is not None]
    assert sum(same) > 0.8 * len(asked)
    assert len(larger) > 0.9 * len(asked)
    assert crystals.num_atoms.tolist() == templates.num_atoms.tolist()


def test_fixed_parameters_are_not_moved(templates: Templates) -> None:
    generator = make(2)
    sites = Sites.of(templates, dtype=torch.float32)
    noise = generator.noise(sites, torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        moved = generator(sites, noise)[-1].parametrised.u - noise.start
    assert (moved[sites.free == 0] == 0).all()
    assert (moved[sites.free == 1] != 0).float().mean() > 0.9


def test_answer_does_not_depend_on_the_rest_of_the_batch(templates: Templates) -> None:
    generator = make(2)
    small = templates[:8]
    sites = Sites.of(small, dtype=torch.float32)
    noise = generator.noise(sites, torch.Generator().manual_seed(SEED))
    alone = Sites.of(small[3], dtype=torch.float32)
    rows = torch.nonzero(sites.batch == 3).flatten()
    with torch.no_grad():
        together = generator(sites, noise)[-1]
        single = generator(alone, noise.select(torch.tensor([3]), rows))[-1]
    torch.testing.assert_close(together.parametrised.u[rows], single.parametrised.u, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.lattice[3:4], single.lattice, atol=1e-4, rtol=1e-4)


def test_a_pass_sets_out_from_the_crystal_it_is_given(templates: Templates) -> None:
    generator = make(3)
    sites = Sites.of(templates, dtype=torch.float32)
    noise = generator.noise(sites, torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        made = generator(sites, noise)[-1]
        again = generator(sites, noise, made)
    torch.testing.assert_close(again[0].lattice, made.lattice, atol=1e-3, rtol=1e-3)
    first, last = again[0].parametrised.u, again[-1].parametrised.u
    apart = first - made.parametrised.u
    assert ((apart - apart.round()).abs() * sites.free).max() < 1e-5
    assert (first[sites.free == 0] == 0).all()
    assert (last - first).abs().max() > 1e-4


def test_passes_follow_one_another_and_the_last_alone_has_gradients(templates: Templates) -> None:
    generator = make(2)
    sites = Sites.of(templates[:12], dtype=torch.float32)
    noise = generator.noise(sites, torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        first = generator(sites, noise)[-1]
    third = generator.recycle(sites, noise, 3)[-1]
    by_hand = generator(sites, noise, generator(sites, noise, first)[-1])[-1]
    torch.testing.assert_close(third.parametrised.u, by_hand.parametrised.u)
    assert torch.equal(generator.recycle(sites, noise, 1)[-1].parametrised.u, first.parametrised.u)
    third.crystals.cart_coords.sum().backward()
    assert generator.stages[0].edge[1].weight.grad.abs().sum() > 0
    assert generator.code[0].weight.grad is None  # guesses the lattice where there is none to set out from


def test_gradients_reach_every_weight_and_are_finite(templates: Templates) -> None:
    generator = make(3)
    sites = Sites.of(templates, dtype=torch.float32)
    rng = torch.Generator().manual_seed(SEED)
    states = generator(sites, generator.noise(sites, rng, hide=True))
    sum(s.crystals.cart_coords.square().mean() + s.parametrised.log_volume.sum() for s in states).backward()
    for name, weight in generator.named_parameters():
        if name == f"stages.{len(generator.stages) - 1}.update.2.weight":
            continue
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
