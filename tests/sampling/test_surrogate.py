"""Surrogate relaxation lowers the learned energy, and the space group holds."""

from dataclasses import fields

import pytest
import spglib
import torch

from crystalgraph.crystals.space_groups import is_supergroup
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.geometry.lattice import project_strain
from crystalgraph.models.bundle import load_model
from crystalgraph.models.energy_model import learned_energy
from crystalgraph.models.sites import Sites, State
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.sampling.surrogate import _e_above_hull, _learned_energy, relax_on_surrogate

N = 24


@pytest.fixture(scope="module")
def model():
    return load_model("nbo")


def templates_of(model):
    """The likeliest templates of Mn-O."""
    choices = Sampler(model, [8, 25], torch.Generator(), guided=False).choices
    return choices.templates[choices.weights.topk(N).indices]


@pytest.fixture(scope="module")
def drawn(model) -> tuple[Sites, State]:
    """The templates, filled."""
    rng = torch.Generator().manual_seed(0)
    sites = Sites.of(templates_of(model), dtype=torch.float32)
    with torch.no_grad():
        return sites, model.generator.recycle(sites, model.generator.noise(sites, rng), 1)[-1]


def energy(model, sites: Sites, state: State) -> torch.Tensor:
    graph = model.discriminator.graph(state.crystals)
    return learned_energy(model.discriminator, graph, sites.space_group_number).e_above_hull


@pytest.mark.slow
def test_lower_never_higher_and_no_step_no_change(model, drawn) -> None:
    sites, state = drawn
    before = energy(model, sites, state)
    after = energy(model, sites, relax_on_surrogate(model.discriminator, sites, state, 10))
    assert (after <= before + 1e-5).all()
    assert (before - after).mean() > 0.01
    same = relax_on_surrogate(model.discriminator, sites, state, 0)
    assert all(getattr(same, field.name) is getattr(state, field.name) for field in fields(State))


@pytest.mark.slow
def test_space_group_holds(model, drawn) -> None:
    sites, state = drawn
    crystals = relax_on_surrogate(model.discriminator, sites, state, 10).crystals
    moved = (crystals.frac_coords - state.crystals.frac_coords).abs().max()
    assert moved > 1e-3
    for k, asked in enumerate(sites.space_group_number.tolist()):
        own = crystals[k]
        cell = own.lattice[0].double().numpy(), own.frac_coords.double().numpy(), own.atomic_numbers.numpy()
        assert is_supergroup(spglib.get_symmetry_dataset(cell, symprec=1e-3).number, asked)


@pytest.mark.slow
def test_other_crystals_in_the_batch_change_nothing(model, drawn) -> None:
    sites, state = drawn
    together = relax_on_surrogate(model.discriminator, sites, state, 10).crystals
    for k in (0, N // 2, N - 1):
        template = templates_of(model)[[k]]
        alone = Sites.of(template, dtype=torch.float32)
        own = State.of(alone, state.parametrised[torch.tensor([k])])
        found = relax_on_surrogate(model.discriminator, alone, own, 10).crystals
        assert torch.allclose(found.lattice[0], together[k].lattice[0], atol=1e-3)
        assert torch.allclose(found.frac_coords, together[k].frac_coords, atol=1e-3)


@pytest.mark.slow
def test_what_becomes_invalid_or_higher_is_left_as_it_was(model, drawn, monkeypatch) -> None:
    """Steps far too long lead nowhere good."""
    monkeypatch.setattr("crystalgraph.sampling.surrogate.STEP", 50.0)
    monkeypatch.setattr("crystalgraph.sampling.surrogate.MAX_MOVE", 5.0)
    sites, state = drawn
    found = relax_on_surrogate(model.discriminator, sites, state, 5)
    changed = torch.tensor([not torch.equal(found.lattice[k], state.lattice[k]) for k in range(N)])
    assert 0 < changed.sum() < N
    assert strict_validity(found.crystals[changed].to(dtype=torch.float64)).valid.all()
    before, after = energy(model, sites, state), energy(model, sites, found)
    assert (after[changed] < before[changed]).all()
    assert torch.allclose(after[~changed], before[~changed])


@pytest.mark.slow
def test_one_atom_of_each_orbit_tells_all(model, drawn) -> None:
    """Energies, forces and allowed strains are those of all atoms."""
    sites, state = drawn
    found = _learned_energy(model.discriminator, sites, state)
    graph = model.discriminator.graph(state.crystals)
    everything = learned_energy(model.discriminator, graph, sites.space_group_number)
    assert torch.allclose(found.e_above_hull, everything.e_above_hull, atol=1e-5)
    forces = everything.forces[sites.orbits.representative]
    assert (sites.orbits.num_atoms[sites.batch] > len(sites.batch) / N).any()
    assert forces.norm(dim=1).max() > 0.5
    assert torch.allclose(found.forces, forces, atol=1e-3 * float(forces.abs().max()))
    for ours, theirs in zip(
        project_strain(sites.system, found.strain_energy),
        project_strain(sites.system, everything.strain_energy),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.allclose(_e_above_hull(model.discriminator, sites, state), everything.e_above_hull, atol=1e-5)
