import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystalgraph.report.drawing import BOND_STRETCH, conventional, powder_pattern, scene

CU_KA = 1.54184
"""Å; the average of Kα1 and Kα2."""


def atoms_of(drawn):
    """Symbols and positions."""
    rows = np.array(drawn["atoms"]).reshape(-1, 4)
    return [drawn["elements"][int(k)][0] for k in rows[:, 0]], rows[:, 1:]


@pytest.mark.parametrize(("name", "n_atoms"), [("rock salt", 8), ("sphalerite", 8), ("rutile", 6), ("wurtzite", 4)])
def test_conventional_cells_have_their_textbook_size_and_every_atom_where_it_was(crystals, name, n_atoms):
    structure = crystals[name]
    cell, matrix = conventional(structure)
    assert len(cell) == n_atoms
    assert cell.lattice.matrix == pytest.approx(matrix @ structure.lattice.matrix)
    for site in cell:
        moved = structure.lattice.get_fractional_coords(site.coords)
        there = [s for s in structure if s.specie == site.specie]
        assert min(np.abs((d := moved - s.frac_coords) - np.rint(d)).max() for s in there) < 1e-6


def test_a_supercell_is_drawn_as_given(crystals):
    large = crystals["CsCl"] * (2, 1, 1)
    cell, matrix = conventional(large)
    assert cell == large
    assert (matrix == np.eye(3)).all()


@pytest.mark.parametrize(
    ("name", "neighbors", "corners"),
    [("rock salt", 6, [3] * 8), ("CsCl", 8, [4] * 6), ("sphalerite", 4, [3] * 4), ("ReO3", 6, [3] * 8)],
)
def test_polyhedra_are_those_of_the_textbook(crystals, name, neighbors, corners):
    drawn = scene(conventional(crystals[name])[0])
    symbols, positions = atoms_of(drawn)
    niobium = {k for k, symbol in enumerate(symbols) if symbol == "Nb"}
    inside = [k for k, _ in drawn["polyhedra"]]
    assert inside
    assert set(inside) <= niobium
    for centre, faces in drawn["polyhedra"]:
        assert [len(face) for face in faces] == corners
        around = {k for face in faces for k in face}
        assert len(around) == neighbors
        assert {symbols[k] for k in around} == {"O"}
        for face in faces:  # in order around it: the sum of the angles at the corners is that of a convex polygon
            arms = positions[face] - np.roll(positions[face], 1, axis=0)
            turns = [
                np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
                for a, b in zip(arms, np.roll(arms, -1, 0), strict=True)
            ]
            assert np.arccos(turns).sum() == pytest.approx(2 * np.pi, abs=0.01)
        assert positions[sorted(around)].mean(0) == pytest.approx(positions[centre], abs=1e-3)


def test_rock_salt_shows_all_corners_and_faces(crystals):
    symbols, positions = atoms_of(scene(conventional(crystals["rock salt"])[0]))
    inside = ((positions > -0.01) & (positions < 4.41)).all(1)
    assert sorted((symbols.count("Nb"), int(inside.sum()))) == [14, 27]


@pytest.mark.parametrize("name", ["rock salt", "rutile", "wurtzite"])
def test_bonds_are_the_pairs_that_ase_finds(crystals, name):
    from ase.data import covalent_radii

    cell = conventional(crystals[name])[0]
    drawn = scene(cell)
    _, positions = atoms_of(drawn)
    longest = BOND_STRETCH * (covalent_radii[41] + covalent_radii[8])
    expected = neighbor_list("d", AseAtomsAdaptor.get_atoms(cell), {("Nb", "O"): longest})
    pairs = np.array(drawn["bonds"]).reshape(-1, 2)
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    assert sorted(set(lengths.round(2))) == sorted(set(expected.round(2)))
    per_niobium = len(expected) / 2 / sum(site.specie.symbol == "Nb" for site in cell)
    centre, _ = drawn["polyhedra"][0]
    assert (pairs == centre).sum() == per_niobium


def test_a_metal_has_bonds_but_no_polyhedra():
    drawn = scene(Structure.from_spacegroup(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]))
    assert drawn["bonds"]
    assert not drawn["polyhedra"]


@pytest.mark.parametrize("name", ["rock salt", "rutile", "wurtzite"])
def test_powder_lines_lie_where_bragg_puts_them(crystals, name):
    structure = crystals[name]
    cell, matrix = conventional(structure)
    lines = powder_pattern(structure, matrix)
    assert max(intensity for _, intensity, _ in lines) == 100
    for angle, _, miller in lines:
        spacing = cell.lattice.d_hkl([int(index) for index in miller.split()])
        assert angle == pytest.approx(2 * np.degrees(np.arcsin(CU_KA / 2 / spacing)), abs=0.02)


def test_rock_salt_has_no_lines_of_mixed_indices(crystals):
    structure = crystals["rock salt"]
    lines = powder_pattern(structure, conventional(structure)[1])
    for _, _, miller in lines:
        assert len({int(index) % 2 for index in miller.split()}) == 1
    assert {tuple(sorted(abs(int(i)) for i in miller.split())) for *_, miller in lines[:3]} == {
        (1, 1, 1),
        (0, 0, 2),
        (0, 2, 2),
    }


def test_the_heaviest_elements_are_drawn_without_a_powder_pattern():
    heavy = Structure.from_spacegroup(225, Lattice.cubic(5), ["Og", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cell, matrix = conventional(heavy)
    drawn = scene(cell)
    assert [element[0] for element in drawn["elements"]] == ["Og", "Cu"]
    assert drawn["elements"][0][1] == "#eb0026", "Jmol's colour of meitnerium, the last that it has one for"
    assert powder_pattern(heavy, matrix) is None
    californium = heavy.copy().replace_species({"Og": "Cf"})
    assert powder_pattern(californium, matrix)
