"""Crystals that are given: as they are, and after some steps on the learned energy."""

import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.matching import matches
from crystalgraph.models.bundle import load_model
from crystalgraph.sampling.draws import CHILD
from crystalgraph.sampling.filling import given
from crystalgraph.symmetry.extract import extract


@pytest.fixture(scope="module")
def crystals() -> list[Structure]:
    """Rutile, and rock salt blown up."""
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
    salt = Structure.from_spacegroup(225, Lattice.cubic(5.5), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [rutile, salt.get_primitive_structure()]


@pytest.mark.slow
def test_they_come_as_they_are_and_after_some_steps(crystals: list[Structure]) -> None:
    model, parametrised = load_model("nbo"), extract(from_structures(crystals)).parametrised
    drawn = given(model, parametrised, CHILD, 10)
    assert list(drawn.sources) == [CHILD] * 4
    assert drawn.template_names == 2 * parametrised.templates.names()
    before, after = to_structures(drawn.crystals[:2]), to_structures(drawn.crystals[2:])
    for own, same in zip(crystals, before, strict=True):
        assert matches(own, same)
        assert same.volume / len(same) == pytest.approx(own.volume / len(own), rel=1e-4)
    assert after[1].volume < 0.9 * before[1].volume
    assert (drawn.score[2:] >= drawn.score[:2] - 1e-4).all()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "steps"), [(2, 0), (0, 10), (0, 0)])
def test_without_steps_they_come_once(crystals: list[Structure], n: int, steps: int) -> None:
    parametrised = extract(from_structures(crystals)).parametrised[torch.arange(n)]
    drawn = given(load_model("nbo"), parametrised, CHILD, steps)
    assert len(drawn) == len(drawn.templates) == len(drawn.sources) == n
