"""The question whether a basis exists is answered as pymatgen answers it by listing them all."""

import itertools

import numpy as np
import pytest
from pymatgen.core import Lattice

from crystalgraph.crystals.lattice_mapping import LatticeVectors

LENGTH_TOLERANCE, ANGLE_TOLERANCE = 0.2, 5.0


def answer(a: Lattice, b: Lattice) -> bool:
    vectors = [LatticeVectors(lattice.matrix, 4) for lattice in (a, b)]
    bases = vectors[0].bases_like(vectors[1], LENGTH_TOLERANCE, ANGLE_TOLERANCE)
    return bases is None or len(bases) > 0


def by_pymatgen(a: Lattice, b: Lattice) -> bool:
    found = a.scale(1.0).find_all_mappings(
        b.scale(1.0), ltol=LENGTH_TOLERANCE, atol=ANGLE_TOLERANCE, skip_rotation_matrix=True
    )
    return any(abs(abs(np.linalg.det(coefficients)) - 1) < 0.5 for _, _, coefficients in found)


def lattices(n: int, seed: int) -> list[Lattice]:
    """Reduced ones, half of them nearly cubic, so that some are alike."""
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(n) % 2, 1.0, 0.15)
    return [
        Lattice.from_parameters(
            *(4.5 + s * rng.uniform(-1.5, 1.5, 3)), *(90 + s * rng.uniform(-20, 20, 3))
        ).get_niggli_reduced_lattice()
        for s in spread
    ]


def test_random_lattices_are_answered_as_by_pymatgen():
    """Seed 3."""
    pairs = list(itertools.permutations(lattices(14, seed=3), 2))
    answers = [answer(a, b) for a, b in pairs]
    assert answers == [by_pymatgen(a, b) for a, b in pairs]
    assert 20 < sum(answers) < len(pairs) - 20


def test_another_basis_of_the_same_lattice_and_any_rotation_or_size_are_found():
    lattice = Lattice.from_parameters(4.0, 5.0, 6.5, 80, 95, 102)
    other = Lattice(2.5 * np.array([[1, 1, 0], [0, 1, 0], [1, 0, -1]]) @ lattice.matrix @ np.eye(3)[[1, 2, 0]])
    assert answer(lattice, other)
    assert answer(other, lattice)


@pytest.mark.parametrize(("strain", "fits"), [(0.18, True), (0.30, False)])
def test_a_cube_may_be_stretched_within_the_tolerance(strain, fits):
    cube, stretched = Lattice.cubic(4), Lattice.tetragonal(4, 4 * (1 + strain) ** 1.5)
    assert answer(cube, stretched) == by_pymatgen(cube, stretched) == fits


def test_a_needle_is_left_to_the_matcher():
    needle = Lattice.tetragonal(0.05, 400)
    assert answer(needle, needle)
