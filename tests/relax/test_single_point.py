from math import isnan

import numpy as np
import pytest
from ase.calculators.emt import EMT

from crystalgraph.relax.single_point import derivatives, single_point


def test_derivatives_are_those_that_ase_gives(fcc):
    cell = fcc("Cu", 3.7) * (2, 1, 1)
    cell.translate_sites([0], [0.03, 0.01, 0])
    atoms = cell.to_ase_atoms()
    atoms.calc = EMT()
    result = derivatives(cell, EMT())
    assert result.energy == pytest.approx(atoms.get_potential_energy() / 2, abs=1e-12)
    assert result.energy == single_point(cell, EMT())
    assert np.allclose(result.forces, atoms.get_forces(), atol=1e-12)
    assert np.allclose(result.stress, atoms.get_stress(voigt=False), atol=1e-12)
    assert derivatives(fcc("Nb"), EMT()) is None
    assert derivatives(fcc("Cu", 1.0), EMT()) is None


def test_what_has_no_answer_has_no_energy(fcc):
    assert single_point(fcc("Cu", 3.6), EMT()) < 0.1
    assert isnan(single_point(fcc("Nb"), EMT()))
    assert isnan(single_point(fcc("Cu", 1.0), EMT()))
