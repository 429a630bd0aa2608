"""A crystal is given the symmetry that costs it nothing, and none that does."""

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from crystalgraph.engine.workers import Workers
from crystalgraph.relax.many import single_points
from crystalgraph.screening.symmetrise import COST, TOLERANCES, symmetrised

EMT = "ase.calculators.emt:EMT"
pytestmark = pytest.mark.slow

L12 = Structure.from_spacegroup(221, Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]])


@pytest.fixture(scope="module", autouse=True)
def workers():
    with Workers(1) as running:
        yield running


def group(structure, symprec=0.01):
    cell = structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number


def moved(amount):
    """The crystal with its first atom moved along z, Å."""
    structure = L12.copy()
    structure.translate_sites([0], [0, 0, amount / 3.75])
    return structure


def test_noise_is_undone(workers):
    noisy = moved(0.02)
    assert (group(noisy), group(noisy, TOLERANCES[0])) == (99, 221)
    (energy,) = single_points([noisy], EMT, workers=workers)
    (found,) = symmetrised([noisy], [energy], EMT, workers=workers)
    assert group(found.structure, 1e-5) == 221
    assert found.structure.composition == L12.composition
    assert found.energy == found.enthalpy <= energy + COST
    (again,) = single_points([found.structure], EMT, workers=workers)
    assert found.energy == pytest.approx(again, abs=1e-8)


def test_what_would_cost_energy_stays(workers):
    """As if the distorted crystal were the minimum, well below the symmetric one."""
    (energy,) = single_points([L12], EMT, workers=workers)
    assert symmetrised([moved(0.05)], [energy - 2 * COST], EMT, workers=workers) == [None]


def test_what_is_symmetric_already_and_what_has_no_energy_stay(workers):
    unknown = Structure(Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.505]])  # EMT does not know niobium
    assert symmetrised([L12, unknown], [-1.0, -1.0], EMT, workers=workers) == [None, None]


def test_pressure_counts(workers):
    noisy = moved(0.02)
    (energy,) = single_points([noisy], EMT, workers=workers)
    enthalpy = energy + 10 / 160.21766 * noisy.volume / len(noisy)
    (found,) = symmetrised([noisy], [enthalpy], EMT, pressure=10.0, workers=workers)
    assert found.enthalpy == pytest.approx(found.energy + 10 / 160.21766 * L12.volume / 4, rel=1e-3)
    assert np.isfinite(found.enthalpy)
