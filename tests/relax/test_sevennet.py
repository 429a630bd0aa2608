"""SevenNet for many threads at once, as on a GPU, is SevenNet crystal by crystal; "cpu:0" is a device to share."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("sevenn")

from crystalgraph.engine.workers import Workers
from crystalgraph.relax.atoms import to_atoms
from crystalgraph.relax.many import many_derivatives, relax_many, single_points
from crystalgraph.relax.potentials import DIEP, SEVENNET_0, SEVENNET_L3I5, make_calculator
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.relax.relaxer import relax
from crystalgraph.relax.single_point import single_point

pytestmark = pytest.mark.slow

PLACE = "cpu:0"


def crystals():
    """Of one, two and six atoms, distorted, all different."""
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
    found = [Structure(Lattice.cubic(3.3), ["Nb"], [[0, 0, 0]])]
    for k in range(4):
        salt = Structure.from_spacegroup(225, Lattice.cubic(4.1 + 0.1 * k), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        found += [salt.get_primitive_structure(), rutile.copy().perturb(0.1)]
    return found


@pytest.mark.parametrize("name", [SEVENNET_0, SEVENNET_L3I5])
def test_many_threads_get_what_one_calculator_gives(name):
    alone = make_calculator(name)

    def shared(structure):
        calculator = make_calculator(name, PLACE)
        calculator.calculate(to_atoms(structure), ["energy", "forces", "stress"])
        derivatives = dict(calculator.results)
        calculator.reset()
        calculator.calculate(to_atoms(structure), ["energy"])
        return derivatives, calculator.results["energy"]

    structures = crystals()
    with ThreadPoolExecutor(len(structures)) as pool:
        found = list(pool.map(shared, structures))
    for structure, (derivatives, energy) in zip(structures, found, strict=True):
        alone.reset()
        alone.calculate(to_atoms(structure), ["energy", "forces", "stress"])
        assert derivatives["energy"] == pytest.approx(alone.results["energy"], abs=2e-5 * len(structure))
        assert energy == pytest.approx(alone.results["energy"], abs=2e-5 * len(structure))
        assert derivatives["forces"] == pytest.approx(alone.results["forces"], abs=1e-4)
        assert derivatives["stress"] == pytest.approx(alone.results["stress"], abs=1e-5)


def test_an_element_that_was_not_learned_costs_only_its_crystal():
    heavy = Structure(Lattice.cubic(4.0), ["Og"], [[0, 0, 0]])
    with Workers(device=PLACE) as workers:
        energies = single_points([heavy, *crystals()[:2]], SEVENNET_0, workers=workers)
    assert np.isnan(energies[0])
    assert np.isfinite(energies[1:]).all()


def test_crystals_relax_together_as_they_do_alone(tmp_path):
    structures, settings = crystals()[:5], RelaxSettings(potential=SEVENNET_0, max_steps=15)
    alone, of_others = make_calculator(SEVENNET_0), make_calculator(DIEP)
    one_by_one = [relax(structure, settings, calculator=alone) for structure in structures]
    with Workers(device=PLACE) as workers:
        together = relax_many(structures, settings, workers=workers, folder=tmp_path)
        points = many_derivatives(structures, SEVENNET_0, workers=workers)
        found = single_points(structures[:2], DIEP, workers=workers)
    for ours, theirs, point in zip(together, one_by_one, points, strict=True):
        assert ours.status == theirs.status
        assert ours.initial_energy == pytest.approx(theirs.initial_energy, abs=2e-5)
        assert point.energy == pytest.approx(theirs.initial_energy, abs=2e-5)
        assert ours.energy == pytest.approx(theirs.energy, abs=2e-3)
    expected = [single_point(structure, of_others) for structure in structures[:2]]
    assert found == expected, "which are no business of the device"
    assert relax_many(structures, settings, folder=tmp_path) == together, "and are kept"
