from math import inf

import pytest

from crystalgraph.relax.atoms import to_atoms
from crystalgraph.relax.belief import MAX_BELOW_HULL, MAX_VOLUME_CHANGE, cell_doubt, depth_doubt, energy_doubt
from crystalgraph.relax.potentials import CHGNET


def test_a_cell_may_change_its_volume_by_the_factor_only(fcc):
    atoms = to_atoms(fcc())
    volume = atoms.get_volume()
    for start in (volume, 0.99 * MAX_VOLUME_CHANGE * volume, 1.01 / MAX_VOLUME_CHANGE * volume):
        assert cell_doubt(atoms, start) is None
    for start in (1.01 * MAX_VOLUME_CHANGE * volume, 0.99 / MAX_VOLUME_CHANGE * volume):
        assert "times that of the start" in cell_doubt(atoms, start)
    assert cell_doubt(atoms, 10 * volume, may_shrink=True) is None
    assert "times that of the start" in cell_doubt(atoms, volume / 10, may_shrink=True)


@pytest.mark.parametrize(
    ("energy", "potential", "floor", "doubt"),
    [
        (-9.0, CHGNET, None, None),
        (-9.0, CHGNET, -9.0 + 0.99 * MAX_BELOW_HULL, None),
        (-9.0, CHGNET, -9.0 + 1.01 * MAX_BELOW_HULL, "1.01 eV/atom below the hull"),
        (-16.5, CHGNET, None, "outside -16 to 10"),
        (-16.5, "another:one", None, None),
        (inf, CHGNET, None, "energy of inf"),
    ],
)
def test_an_energy_has_a_range_and_a_floor(energy, potential, floor, doubt):
    answer = energy_doubt(energy, potential) or depth_doubt(energy, floor)
    assert answer is None if doubt is None else doubt in answer
