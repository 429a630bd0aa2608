"""Held-out systems give compounds that no training crystal is, and relatives are the same arrangement."""

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.training.config import DataConfig
from tools.bench.templates import has_relatives, of_held_out_systems


@pytest.mark.slow
def test_compounds_of_held_out_systems() -> None:
    cases = of_held_out_systems(DataConfig(system="Nb-O", holdout_systems=("Ti-O",)))
    truth = to_structures(cases.truth)
    systems = {structure.composition.chemical_system for structure in truth}
    assert systems == {"Nb-O", "O-Ti"}
    assert len(truth) == len(cases.templates) > 20
    assert (cases.templates.num_free > 0).all()
    assert 20 < max(map(len, truth)) <= 24
    groups = [structure.get_space_group_info(symprec=0.05)[1] for structure in truth]
    same = [own == asked for own, asked in zip(groups, cases.templates.space_group_number.tolist(), strict=True)]
    assert sum(same) >= 0.9 * len(same)


def test_relatives_are_distortions_with_any_elements(as_parametrised) -> None:
    perovskite = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    sheared = Structure(  # tetragonal, with other elements whose electronegativities come in another order
        Lattice.tetragonal(4.0, 4.2),
        ["Br", "Na", "Ca", "Ca", "Ca"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.02], [0.5, 0, 0.52], [0, 0.5, 0.52]],
    )
    far = Structure(
        Lattice.cubic(3.9), perovskite.species, [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0], [0, 0, 0.5]]
    )
    training = as_parametrised(perovskite)
    cases = as_parametrised(sheared, far)
    assert set(cases.prototypes).isdisjoint(training.prototypes)
    assert has_relatives(cases, training).tolist() == [True, False]
