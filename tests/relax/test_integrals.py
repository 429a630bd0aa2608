"""DIEP with integrals worked out block by block is DIEP."""

from unittest.mock import patch

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Lattice, Structure

pytest.importorskip("diep")

from crystalgraph.relax.atoms import to_atoms
from crystalgraph.relax.potentials import make_calculator


@pytest.fixture(scope="module")
def pair():
    """Ours, and DIEP's own with the same weights."""
    ours = make_calculator("diep")
    with patch("crystalgraph.relax.integrals.pack", lambda _: None):
        theirs = make_calculator("diep")
    assert type(ours.potential.model.diep_integrator) is not type(theirs.potential.model.diep_integrator)
    return ours, theirs


def crystals():
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
    rattled = to_atoms(rutile.make_supercell([2, 1, 1], in_place=False))
    rattled.rattle(0.1, seed=0)
    return {
        "rutile": to_atoms(rutile),  # atoms on lines, and equal legs
        "rattled": rattled,
        "one atom": bulk("Fe", "bcc", 2.5),
        "fluorite": bulk("Li2O", "fluorite", 4.6),
        "bonds without pairs": Atoms("Cu", cell=[4.5, 9, 9], pbc=True),
        "no bonds": bulk("Cu", "sc", 12.0),
    }


@pytest.mark.parametrize("name", crystals())
def test_energies_forces_and_stresses_agree(pair, name):
    answers = []
    for calculator in pair:
        atoms = crystals()[name]
        atoms.calc = calculator
        answers.append((atoms.get_potential_energy() / len(atoms), atoms.get_forces(), atoms.get_stress()))
    for ours, theirs, tolerance in zip(*answers, (1e-5, 1e-4, 1e-5), strict=True):
        assert np.abs(ours - theirs).max() < tolerance
