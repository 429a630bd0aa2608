"""What is not asked of pymatgen's matcher is what it would refuse; what it accepts may lie over the other."""

import itertools
import warnings

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from crystalgraph.crystals.lattice_mapping import LatticeVectors
from crystalgraph.crystals.overlay import Cell, may_lie_over

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE = 0.2, 0.3, 5.0

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
PEROVSKITE = Structure(
    Lattice.cubic(4), ["Ba", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
)
LAYERS = Structure(Lattice.tetragonal(2.6, 9), ["Nb", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.1], [0, 0, 0.4]])


def cell_of(structure: Structure) -> Cell:
    vectors = LatticeVectors(structure.lattice.matrix, len(structure))
    return Cell(vectors, structure.frac_coords, np.array(structure.atomic_numbers))


def may(a: Structure, b: Structure) -> bool:
    one, another = cell_of(a), cell_of(b)
    bases = one.vectors.bases_like(another.vectors, LENGTH_TOLERANCE, ANGLE_TOLERANCE)
    return bases is None or may_lie_over(one, another, bases, SITE_TOLERANCE)


def moved(structure: Structure, rng: np.random.Generator, size: float, strain: float) -> Structure:
    """A copy whose atoms and cell were moved, shifted as a whole, in another order and another basis."""
    length = (structure.volume / len(structure)) ** (1 / 3)
    deformed = structure.lattice.matrix @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3)))
    steps = rng.normal(size=(len(structure), 3))
    steps *= size * length * rng.random((len(structure), 1)) / np.linalg.norm(steps, axis=1, keepdims=True)
    frac_coords = structure.frac_coords + steps @ np.linalg.inv(deformed) + rng.random(3)
    order = rng.permutation(len(structure))
    copy = Structure(Lattice(deformed), [structure.species[k] for k in order], frac_coords[order])
    return copy.get_reduced_structure("niggli")


@pytest.mark.parametrize("structure", [RUTILE, PEROVSKITE, LAYERS])
def test_what_the_matcher_accepts_may_lie_over_the_other(structure):
    """Near its tolerance, where it accepts half of the copies; seed 5."""
    plain, rng = StructureMatcher(), np.random.default_rng(5)
    accepted = 0
    for size, strain in itertools.product((0.1, 0.3, 0.4, 0.5), (0.02, 0.06)):
        for _ in range(8):
            copy = moved(structure, rng, size, strain)
            for a, b in ((structure, copy), (copy, structure)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fits = plain.fit(a, b, skip_structure_reduction=True)
                accepted += fits
                assert may(a, b) or not fits
    assert 20 < accepted < 120


def test_other_crystals_in_the_same_lattice_are_refused_without_the_matcher():
    rng = np.random.default_rng(6)
    others = [Structure(RUTILE.lattice, RUTILE.species, rng.random((6, 3))) for _ in range(40)]
    assert sum(may(RUTILE, other) for other in others) < 10


def test_thousands_of_ways_are_left_to_the_matcher():
    many = Structure(Lattice.cubic(20), ["Nb"] * 200, np.random.default_rng(7).random((200, 3)))
    assert may(many, Structure(many.lattice, many.species, many.frac_coords[:, ::-1] * 0.1))
