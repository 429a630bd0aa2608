import json
from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.errors import InputError
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, relaxation_key, structure_key
from crystalgraph.relax.relaxer import relax

SETTINGS = RelaxSettings(potential="ase.calculators.emt:EMT", fmax=0.005)


def copper_hull(energy):
    return Hull(ChemicalSystem.parse("Cu"), [Phase(name="Cu", formula="Cu", energy=energy)])


@pytest.mark.parametrize(
    "wrong", [{"fmax": 0.0}, {"fmax": np.nan}, {"curvature": 0.0}, {"max_steps": -1}, {"max_seconds": -1.0}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(InputError, match="give"):
        RelaxSettings(**wrong)


def test_a_record_survives_json_to_the_last_bit(fcc):
    start = fcc(a=3.8) * (2, 1, 1)
    start.perturb(0.1)
    for relaxation in (relax(start, SETTINGS), Relaxation(status="failed", reason="why")):
        again = Relaxation.from_dict(json.loads(json.dumps(relaxation.to_dict(), allow_nan=False)))
        assert again.to_dict() == relaxation.to_dict()
        assert isnan(again.saddle_drop)
        if relaxation.structure is not None:
            assert structure_key(again.structure) == structure_key(relaxation.structure)


def test_the_key_changes_with_everything_that_matters(fcc):
    moved = fcc()
    moved.translate_sites([0], [1e-14, 0, 0])
    stretched = Structure(Lattice(fcc().lattice.matrix * (1 + 1e-15)), ["Cu"], [[0, 0, 0]])
    settings = [
        SETTINGS,
        replace(SETTINGS, fmax=0.1),
        replace(SETTINGS, curvature=30.0),
        replace(SETTINGS, max_steps=3),
        replace(SETTINGS, abort=((10, 0.5),)),
        replace(SETTINGS, saddle_check=True),
        replace(SETTINGS, pressure=10.0),
        replace(SETTINGS, potential="stand_ins:Counting"),
    ]
    keys = {relaxation_key(structure, SETTINGS) for structure in (moved, stretched, fcc("Au"))}
    keys |= {relaxation_key(fcc(), one) for one in settings}
    keys |= {relaxation_key(fcc(), SETTINGS, copper_hull(energy)) for energy in (-1.0, -2.0)}
    assert len(keys) == 3 + len(settings) + 2
    assert relaxation_key(fcc(), SETTINGS) == relaxation_key(fcc().copy(), SETTINGS)
