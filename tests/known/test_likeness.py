"""Which known phase a crystal is: distances against displacements that were made."""

from math import isnan

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.io.load import load
from crystalgraph.known.likeness import nearest_phases

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def moved(structure, distance, seed):
    """Every atom moved by so many Å in a random direction."""
    directions = np.random.default_rng(seed).normal(size=(len(structure), 3))
    steps = distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    steps -= steps.mean(axis=0)
    return Structure(structure.lattice, structure.species, structure.cart_coords + steps, coords_are_cartesian=True)


KNOWN = load({"far": moved(RUTILE, 0.25, 1), "rutile": RUTILE, "rock salt": ROCK_SALT})


def test_the_nearest_of_several_is_named_with_its_distance():
    asked = moved(RUTILE, 0.05, 2)
    steps = asked.cart_coords - RUTILE.cart_coords
    ((name, distance),) = nearest_phases([asked], KNOWN)
    assert name == "rutile"
    assert distance == pytest.approx(np.sqrt((steps**2).sum(1).mean()), abs=0.01)


def test_another_volume_and_another_cell_are_no_distance():
    larger = RUTILE.copy().scale_lattice(RUTILE.volume * 1.2) * (1, 1, 2)
    ((name, distance),) = nearest_phases([larger], KNOWN)
    assert (name, distance) == ("rutile", pytest.approx(0, abs=1e-3))


def test_what_equals_none_has_no_name():
    other = Structure.from_spacegroup(221, Lattice.cubic(2.6), ["Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    metal = Structure(Lattice.cubic(3.0), ["Nb"], [[0, 0, 0]])
    found = nearest_phases([other, metal, ROCK_SALT], KNOWN)
    assert [name for name, _ in found] == ["", "", "rock salt"]
    assert isnan(found[0][1])
    assert isnan(found[1][1])
    assert nearest_phases([], KNOWN) == []
