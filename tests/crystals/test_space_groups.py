import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystalgraph.crystals.space_groups import SYMPREC, is_supergroup, space_groups, subgroups, symmetry_dataset
from crystalgraph.report.drawing import conventional

RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]
)


def test_groups_agree_with_the_construction_and_with_pymatgen():
    built = []
    for symbol, lattice in [
        ("Fm-3m", Lattice.cubic(4.2)),
        ("P-1", Lattice.from_parameters(4, 5, 6, 80, 95, 103)),
        ("C2/c", Lattice.monoclinic(12, 4.9, 5.5, 105)),
        ("P6_3/mmc", Lattice.hexagonal(3.2, 7.1)),
    ]:
        built.append(Structure.from_spacegroup(symbol, lattice, ["Nb", "O"], [[0, 0, 0], [0.21, 0.37, 0.11]]))
    structures = [RUTILE, *built, RUTILE * (2, 1, 1)]
    assert space_groups(structures) == [SpacegroupAnalyzer(s, symprec=0.1).get_space_group_number() for s in structures]
    assert space_groups(structures) == [136, 225, 2, 15, 194, 136]


def test_tolerance_is_a_distance():
    moved = RUTILE.copy()
    moved.translate_sites([0], [0.03, 0.02, 0.01], frac_coords=False)
    assert space_groups([moved], symprec=0.1) == [136]
    assert space_groups([moved], symprec=0.001) != [136]


def test_the_tolerance_of_angles_is_that_of_pymatgen():
    sheared = Structure(
        Lattice.from_parameters(4.0, 4.6, 7.0, 90, 90.9, 90), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    (by_distance,), (within_5_degrees,) = space_groups([sheared], 0.1), space_groups([sheared], 0.1, 5.0)
    assert by_distance != within_5_degrees == sheared.get_space_group_info(0.1)[1]


def test_crystals_without_a_group_give_zero():
    overlapping = Structure(Lattice.cubic(3), ["Nb", "Nb"], [[0, 0, 0], [0, 0, 0]])
    flat = Structure(Lattice(np.zeros((3, 3))), ["Nb"], [[0, 0, 0]])
    broken = Structure(Lattice(np.full((3, 3), np.nan)), ["Nb"], [[0, 0, 0]])
    assert space_groups([overlapping, flat, broken]) == [0, 0, 0]


def test_a_crystal_is_searched_once_whatever_is_asked(monkeypatch):
    searches = []
    search = spglib.get_symmetry_dataset
    monkeypatch.setattr(spglib, "get_symmetry_dataset", lambda *a, **k: searches.append(k) or search(*a, **k))
    crystal = Structure(Lattice.tetragonal(4.61, 2.97), RUTILE.species, RUTILE.frac_coords)
    assert space_groups([crystal, crystal.copy()]) == [136, 136]
    assert len(conventional(crystal)[0]) == 6
    assert searches == [{"symprec": SYMPREC, "angle_tolerance": -1.0}]
    assert symmetry_dataset(crystal, 0.001).number == 136
    nudged = crystal.copy()
    nudged.translate_sites([0], [1e-15, 0, 0], to_unit_cell=False)
    assert space_groups([nudged, Structure(crystal.lattice, ["Sn"] * 6, crystal.frac_coords)])[0] == 136
    assert len(searches) == 4, "another tolerance, another coordinate, other elements"


def test_textbook_chains():
    assert is_supergroup(221, 123)
    assert is_supergroup(221, 99)
    assert is_supergroup(123, 69)  # Fmmm in the doubled cell of P4/mmm, which pymatgen misses
    assert is_supergroup(227, 216)
    assert is_supergroup(15, 15)
    assert is_supergroup(62, 1)
    assert not is_supergroup(99, 221)
    assert not is_supergroup(15, 62)
    assert not is_supergroup(194, 225)
    assert not is_supergroup(0, 1)


def test_the_order_of_groups_is_a_partial_order():
    # Enantiomorphic or isomorphic pairs aside, two types cannot contain each other unless their point groups agree.
    rng = np.random.default_rng(0)
    for a, b, c in rng.integers(1, 231, (400, 3)).tolist():
        if is_supergroup(a, b) and is_supergroup(b, c):
            assert is_supergroup(a, c), (a, b, c)
    assert all(number in subgroups(number) and 1 in subgroups(number) for number in range(1, 231))


@pytest.mark.slow
def test_an_independent_table_gives_the_same_subgroups():
    group = pytest.importorskip("pyxtal.symmetry").Group
    step = {}
    for number in range(1, 231):
        tables = [group(number, quick=True).get_max_t_subgroup(), group(number, quick=True).get_max_k_subgroup()]
        step[number] = {subgroup for table in tables for subgroup in table["subgroup"]}
    for number in range(1, 231):
        reached, waiting = {number}, [number]
        while waiting:
            fresh = step[waiting.pop()] - reached
            reached |= fresh
            waiting += fresh
        assert subgroups(number) == reached


@pytest.mark.parametrize(("found", "asked"), [(231, 1), (-1, 1), (1, 0), (1, 231)])
def test_numbers_out_of_range_are_refused(found, asked):
    with pytest.raises(ValueError, match="1 to 230"):
        is_supergroup(found, asked)
