import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from pymatgen.symmetry.groups import SpaceGroup

from crystalgraph.symmetry.distort import DISPLACEMENT, SMALLEST_SHARE, distorted

PEROVSKITE = Structure.from_spacegroup(221, Lattice.cubic(4), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])


def group(structure):
    return SpacegroupAnalyzer(structure, symprec=0.01, angle_tolerance=-1).get_space_group_number()


def operations(structure):
    return SpacegroupAnalyzer(structure, symprec=0.01, angle_tolerance=-1).get_space_group_operations()


@pytest.mark.parametrize("structure", [PEROVSKITE, RUTILE], ids=["perovskite", "rutile"])
def test_groups_are_subgroups(structure):
    """By the tables of pymatgen, and by the number of operations."""
    found = distorted(structure, np.random.default_rng(0), len(structure))
    whole, order = SpaceGroup.from_int_number(group(structure)), len(operations(structure))
    assert len({group(one) for one in found}) >= 5
    for one in found:
        assert one.composition == structure.composition
        assert SMALLEST_SHARE * order <= len(operations(one)) <= order
        assert group(one) == group(structure) or SpaceGroup.from_int_number(group(one)).is_subgroup(whole)


def test_known_distortions_of_a_perovskite_are_among_them():
    """Tetragonal, rhombohedral, and the polar ones of both, in which barium titanate is ferroelectric."""
    groups = {group(one) for one in distorted(PEROVSKITE, np.random.default_rng(0), 5)}
    assert {99, 123, 160, 166} <= groups


@pytest.mark.slow
def test_cells_are_doubled_where_there_is_room():
    found = distorted(PEROVSKITE, np.random.default_rng(0), 10)
    primitive = [len(one.get_primitive_structure(tolerance=0.01)) for one in found]
    assert set(primitive) == {5, 10}
    assert len({group(one) for one, n in zip(found, primitive, strict=True) if n == 10}) >= 4


def test_same_seed_same_crystals_and_small_distortions():
    one, two = (distorted(RUTILE, np.random.default_rng(3), 6) for _ in range(2))
    assert one == two
    cell = RUTILE.get_primitive_structure()
    for structure in one:
        apart = structure.frac_coords - cell.frac_coords
        assert np.linalg.norm(apart @ cell.lattice.matrix, axis=1).max() <= DISPLACEMENT * (1 + 1e-9)
        assert structure.volume == pytest.approx(cell.volume, rel=0.15)


def test_what_has_no_symmetry_has_no_subgroups():
    rng = np.random.default_rng(0)
    lattice = Lattice.from_parameters(3, 4, 5, 80, 95, 104)
    triclinic = Structure(lattice, ["Nb", "O", "O"], rng.random((3, 3)))
    assert group(triclinic) == 1
    assert distorted(triclinic, rng, 3) == []
