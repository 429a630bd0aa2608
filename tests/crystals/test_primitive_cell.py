"""What is called primitive without pymatgen's search is what the search calls primitive."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals import primitive_cell as module
from crystalgraph.crystals.primitive_cell import primitive_cell

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
ANTIFLUORITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.4), ["O", "Nb"], [[0, 0, 0], [0.25, 0.25, 0.25]])


def may_have_translation(structure):
    numbers, lengths = np.array(structure.atomic_numbers), np.array(structure.lattice.abc)
    return module.may_have_translation(structure.frac_coords, numbers, lengths)


@pytest.mark.parametrize("structure", [ROCK_SALT, RUTILE, ANTIFLUORITE, RUTILE * (2, 1, 1), RUTILE * (1, 2, 3)])
@pytest.mark.parametrize("rattle", [0, 0.02, 0.1, 0.3])
def test_cells_are_those_that_pymatgen_finds(structure, rattle):
    rng = np.random.default_rng(len(structure))
    moved = Structure(
        structure.lattice,
        structure.species,
        structure.frac_coords + rattle * rng.uniform(-1, 1, (len(structure), 3)) / structure.lattice.abc,
    )
    expected = moved.get_primitive_structure()
    found = primitive_cell(moved)
    assert np.array_equal(found.lattice.matrix, expected.lattice.matrix)
    assert np.array_equal(found.frac_coords, expected.frac_coords)
    assert found.species == expected.species


@pytest.mark.parametrize(
    ("structure", "expected"), [(ROCK_SALT, True), (RUTILE, False), (RUTILE * (1, 1, 2), True), (ANTIFLUORITE, True)]
)
def test_a_translation_is_seen(structure, expected):
    assert may_have_translation(structure) is expected


def test_one_formula_unit_is_primitive():
    assert not may_have_translation(ROCK_SALT.get_primitive_structure())


def test_an_axis_shorter_than_the_tolerance_is_left_to_pymatgen():
    cell = Structure(Lattice.tetragonal(4, 0.4), ["Nb"] * 2, [[0, 0, 0], [0.4, 0.1, 0.3]])
    assert may_have_translation(cell)
