import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from crystalgraph.crystals.reflections import WAVELENGTH, radiations, reflections
from crystalgraph.report.drawing import BOND_STRETCH, conventional, scene

CU_KA = 1.54184
"""Å; the average of Kα1 and Kα2."""


def sites_of(drawn):
    """Symbols and fractional coordinates."""
    rows = np.array(drawn["sites"]).reshape(-1, 4)
    return [drawn["elements"][int(k)][0] for k in rows[:, 0]], rows[:, 1:]


def around(drawn, site):
    """Positions of the neighbours of a site, (n, 3), Å, and which sites they are."""
    _, frac = sites_of(drawn)
    bonded = np.array(drawn["neighbors"][site]).reshape(-1, 4)
    return (frac[bonded[:, 0]] + bonded[:, 1:]) @ np.array(drawn["lattice"]), bonded[:, 0]


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
    symbols, frac = sites_of(drawn)
    assert {k for k, _ in drawn["polyhedra"]} == {k for k, symbol in enumerate(symbols) if symbol == "Nb"}
    for centre, faces in drawn["polyhedra"]:
        assert [len(face) for face in faces] == corners
        positions, bonded = around(drawn, centre)
        assert {k for face in faces for k in face} == set(range(neighbors))
        assert {symbols[k] for k in bonded} == {"O"}
        for face in faces:  # in order around it: the sum of the angles at the corners is that of a convex polygon
            arms = positions[face] - np.roll(positions[face], 1, axis=0)
            turns = [
                np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
                for a, b in zip(arms, np.roll(arms, -1, 0), strict=True)
            ]
            assert np.arccos(turns).sum() == pytest.approx(2 * np.pi, abs=0.01)
        assert positions.mean(0) == pytest.approx(frac[centre] @ np.array(drawn["lattice"]), abs=1e-3)


@pytest.mark.parametrize("name", ["rock salt", "rutile", "wurtzite"])
def test_bonds_are_the_pairs_that_ase_finds(crystals, name):
    from ase.data import covalent_radii

    cell = conventional(crystals[name])[0]
    drawn = scene(cell)
    _, frac = sites_of(drawn)
    longest = BOND_STRETCH * (covalent_radii[41] + covalent_radii[8])
    centre, expected = neighbor_list("id", AseAtomsAdaptor.get_atoms(cell), {("Nb", "O"): longest})
    for site in range(len(cell)):
        positions, _ = around(drawn, site)
        lengths = np.linalg.norm(positions - frac[site] @ np.array(drawn["lattice"]), axis=1)
        assert sorted(lengths) == pytest.approx(sorted(expected[centre == site]), abs=1e-4)


def test_a_metal_has_bonds_but_no_polyhedra():
    drawn = scene(Structure.from_spacegroup(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]))
    assert len(drawn["neighbors"][0]) // 4 == 12
    assert not drawn["polyhedra"]


@pytest.mark.parametrize("name", ["rock salt", "rutile", "wurtzite"])
def test_reflections_are_those_of_their_planes(crystals, name):
    structure = crystals[name]
    cell, matrix = conventional(structure)
    lines = reflections(structure, matrix)
    assert max(strength for _, strength, _ in lines) == 1000
    for inverse, _, miller in lines:
        assert 1 / inverse == pytest.approx(cell.lattice.d_hkl([int(index) for index in miller.split()]), rel=1e-3)


@pytest.mark.parametrize("radiation", ["CuKa", "MoKa", "CrKa"])
def test_with_any_radiation_they_are_as_strong_as_pymatgen_says(crystals, radiation):
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS, XRDCalculator

    structure = crystals["rutile"]
    pattern = XRDCalculator(radiation).get_pattern(structure, two_theta_range=(0, 60))
    inverse, strength = np.array([line[:2] for line in reflections(structure, conventional(structure)[1])]).T
    sine = inverse * WAVELENGTHS[radiation] / 2
    theta = np.arcsin(sine[sine < np.sin(np.radians(30))])
    intensity = strength[: len(theta)] * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    angles = np.degrees(2 * theta)
    for angle, part in zip(angles, 100 * intensity / intensity.max(), strict=True):
        nearest = np.abs(pattern.x - angle).argmin()
        assert pattern.x[nearest] == pytest.approx(angle, abs=0.01)
        assert pattern.y[nearest] == pytest.approx(part, rel=2e-3, abs=0.01)
    strong = pattern.x[(pattern.y >= 1) & (pattern.x <= angles.max() + 0.01)]
    assert all(np.abs(angles - angle).min() < 0.01 for angle in strong)


def test_radiations_are_named_with_their_wavelengths():
    assert radiations()[0] == ("Cu Kα", CU_KA)
    assert WAVELENGTH == "CuKa"


def test_rock_salt_has_no_reflections_of_mixed_indices(crystals):
    structure = crystals["rock salt"]
    lines = reflections(structure, conventional(structure)[1])
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
    assert reflections(heavy, matrix) is None
    californium = heavy.copy().replace_species({"Og": "Cf"})
    assert reflections(californium, matrix)
