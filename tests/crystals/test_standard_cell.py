"""Standard cells against spglib and pymatgen: the same crystal, its symmetry exact, its labels those of the tables."""

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystalgraph.crystals.space_groups import SYMPREC, space_groups
from crystalgraph.crystals.standard_cell import primitive_cell, right_handed, standard_cell

RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0, 0, 0], [5 / 8] * 3, [0.3875] * 3]
)
QUARTZ = Structure.from_spacegroup(
    152, Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.2858]]
)


@pytest.mark.parametrize(
    ("crystal", "group", "letters"), [(RUTILE, 136, "af"), (SPINEL, 227, "ade"), (QUARTZ, 152, "ac")]
)
def test_labels_are_those_of_the_tables(crystal, group, letters):
    for given in (crystal, crystal.get_primitive_structure(), crystal * (1, 2, 1)):
        cell = standard_cell(given)
        assert cell.space_group == group
        assert "".join(sorted(set(cell.wyckoff_letters))) in (letters, {"ade": "bce"}.get(letters, letters))
        theirs = SpacegroupAnalyzer(given, symprec=SYMPREC)
        assert len(cell.conventional) == len(theirs.get_conventional_standard_structure())
        assert len(cell.primitive) == len(theirs.find_primitive())
        assert len(set(cell.orbits)) == len(letters)
        assert all(cell.orbits[first] == first for first in cell.orbits)


def test_what_is_nearly_symmetric_becomes_exact_and_stays():
    moved = RUTILE.copy()
    moved.translate_sites([0], [0.004, 0.003, 0.002], frac_coords=False)
    assert space_groups([moved], symprec=1e-4) != [136]
    cell = standard_cell(moved)
    for exact in (cell.conventional, cell.primitive, primitive_cell(cell.primitive)):
        for tolerance in (1e-5, 1e-3, SYMPREC):
            assert space_groups([exact], symprec=tolerance) == [136]
    np.testing.assert_allclose(cell.conventional.lattice.abc, RUTILE.lattice.abc, atol=SYMPREC)


def test_a_crystal_keeps_its_hand():
    mirrored = Structure(QUARTZ.lattice, QUARTZ.species, QUARTZ.frac_coords * np.array([1, 1, -1]))
    left_handed = Structure(QUARTZ.lattice.matrix[[1, 0, 2]], QUARTZ.species, QUARTZ.frac_coords[:, [1, 0, 2]])
    for crystal, group in ((QUARTZ, 152), (left_handed, 152), (mirrored, 154)):
        cell = standard_cell(crystal)
        assert cell.space_group == group
        for structure in (cell.conventional, cell.primitive):
            assert np.linalg.det(structure.lattice.matrix) > 0
            assert space_groups([structure]) == [group]


def test_a_turned_over_cell_is_the_same_crystal_atom_by_atom():
    left_handed = Structure(QUARTZ.lattice.matrix[[1, 0, 2]], QUARTZ.species, QUARTZ.frac_coords[:, [1, 0, 2]])
    turned = right_handed(left_handed)
    assert np.linalg.det(turned.lattice.matrix) > 0
    np.testing.assert_allclose(turned.cart_coords, left_handed.cart_coords, atol=1e-12)
    assert right_handed(RUTILE) is RUTILE


def test_without_a_group_a_crystal_stays_as_it_is():
    overlapping = Structure(Lattice.cubic(3), ["Nb", "Nb"], [[0, 0, 0], [0, 0, 0]])
    assert standard_cell(overlapping) is None
    assert primitive_cell(overlapping) is overlapping


def test_sites_that_spglib_calls_equivalent_share_an_orbit_and_a_letter():
    cell = standard_cell(SPINEL * (1, 1, 2))
    structure = cell.conventional
    found = spglib.get_symmetry_dataset(
        (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers), symprec=1e-4
    )
    partition = {
        tuple(np.flatnonzero(found.crystallographic_orbits == orbit)) for orbit in found.crystallographic_orbits
    }
    ours = {tuple(np.flatnonzero(np.array(cell.orbits) == orbit)) for orbit in cell.orbits}
    assert partition == ours
    assert all(len({cell.wyckoff_letters[site] for site in orbit}) == 1 for orbit in ours)
