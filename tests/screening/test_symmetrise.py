"""A crystal is given the symmetry that costs it nothing, and none that does."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.standard_cell import standard_cell
from crystalgraph.engine.workers import Workers
from crystalgraph.relax.many import relax_many, single_points
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.screening.symmetrise import COST, TOLERANCES, symmetrised

EMT = "ase.calculators.emt:EMT"
pytestmark = pytest.mark.slow

HELD = RelaxSettings(potential=EMT, fmax=0.01, hold_symmetry=True)


@pytest.fixture(scope="module")
def workers():
    with Workers(1) as running:
        yield running


@pytest.fixture(scope="module")
def relax(workers):
    return partial(relax_many, settings=HELD, workers=workers)


@pytest.fixture(scope="module")
def minimum(relax):
    """Cu3Au in its minimum."""
    start = Structure.from_spacegroup(221, Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]])
    (relaxed,) = relax([start])
    return relaxed


def group(structure, symprec=0.01):
    cell = structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number


def moved(structure, amount):
    """The crystal with its first atom moved along z, Å."""
    structure = structure.copy()
    structure.translate_sites([0], [0, 0, amount / structure.lattice.c])
    return structure


def test_noise_is_undone(workers, relax, minimum):
    noisy = moved(minimum.structure, 0.02)
    assert (group(noisy), group(noisy, TOLERANCES[0])) == (99, 221)
    (energy,) = single_points([noisy], EMT, workers=workers)
    (found,) = symmetrised([noisy], [energy], relax)
    assert group(found.structure, 1e-5) == 221
    assert found.structure.composition == minimum.structure.composition
    assert found.energy == found.enthalpy <= energy + COST
    (again,) = single_points([found.structure], EMT, workers=workers)
    assert found.energy == pytest.approx(again, abs=1e-6)


def test_a_strained_cell_is_symmetric_once_it_is_relaxed(workers, relax, minimum):
    """Moved onto the symmetry of its mean, such a cell lies higher than it does in its own minimum."""
    strained = minimum.structure.copy()
    strained.apply_strain([0.012, 0.012, 0.0])
    assert group(strained, TOLERANCES[0]) == 221 != group(strained)
    cell = standard_cell(strained, TOLERANCES[0]).primitive
    before, mean = single_points([strained, cell], EMT, workers=workers)
    wanted = minimum.energy + COST / 2
    assert mean > wanted + COST, "the mean alone would not do"
    assert before > wanted
    (found,) = symmetrised([strained], [wanted], relax)
    assert group(found.structure, 1e-5) == 221
    assert found.energy == pytest.approx(minimum.energy, abs=1e-4)


def test_what_would_cost_energy_stays(relax, minimum):
    """As if the distorted crystal were the minimum, well below the symmetric one."""
    noisy = moved(minimum.structure, 0.05)
    assert symmetrised([noisy], [minimum.energy - 2 * COST], relax) == [None]


def test_what_is_symmetric_already_and_what_has_no_energy_stay(relax, minimum):
    unknown = Structure(Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.505]])  # EMT does not know niobium
    assert symmetrised([minimum.structure, unknown], [-1.0, -1.0], relax) == [None, None]


def test_pressure_counts(workers, minimum):
    pressed = partial(relax_many, settings=replace(HELD, pressure=10.0), workers=workers)
    (dense,) = pressed([minimum.structure])
    (found,) = symmetrised([moved(dense.structure, 0.02)], [dense.enthalpy], pressed)
    assert found.enthalpy == pytest.approx(found.energy + 10 / 160.21766 * found.structure.volume / 4, rel=1e-6)
    assert np.isfinite(found.enthalpy)
