"""SevenNet with packed interaction layers is SevenNet."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

pytest.importorskip("sevenn")

from sevenn.calculator import SevenNetCalculator
from sevenn.nn.convolution import IrrepsConvolution

from crystalgraph.relax import loading
from crystalgraph.relax.potentials import POTENTIALS, make_calculator

pytestmark = pytest.mark.slow

NAMES = ("sevennet-0", "sevennet-l3i5")


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    """Ours without the corrections, and SevenNet's own with the same weights."""
    potential = POTENTIALS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        import sevenn.checkpoint

        read = loading.unpacked(potential.files[0].read_bytes())
        patch.setattr(sevenn.checkpoint, "torch_load", lambda *_, **__: read)
        theirs = SevenNetCalculator(model=potential.files[0], device="cpu")
    parts = vars(make_calculator(request.param)).values()
    ours = next(part for part in parts if isinstance(part, SevenNetCalculator))
    assert sum(isinstance(module, IrrepsConvolution) for module in theirs.model.modules()) == 5
    assert not any(isinstance(module, IrrepsConvolution) for module in ours.model.modules())
    return ours, theirs


def crystals():
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
    surface = AseAtomsAdaptor.get_atoms(rutile)
    surface.set_cell(surface.cell * [[1], [1], [4]])
    surface.rattle(0.1, seed=0)  # atoms with many neighbours, and with few
    dense = bulk("Fe", "bcc", 2.5)
    layered = bulk("Li2O", "fluorite", 4.6).repeat((2, 1, 1))
    layered.rattle(0.2, seed=1)
    return {
        "rutile": AseAtomsAdaptor.get_atoms(rutile),
        "surface": surface,
        "one atom": dense,
        "rattled": layered,
        "far apart": bulk("Cu", "sc", 4.9),
    }


@pytest.mark.parametrize("name", crystals())
def test_energies_forces_and_stresses_agree(pair, name):
    atoms = crystals()[name]
    found = []
    for calculator in pair:
        calculator.reset()
        calculator.calculate(atoms, ["energy", "forces", "stress"])
        found.append(dict(calculator.results))
    ours, theirs = found
    assert ours["energy"] == pytest.approx(theirs["energy"], abs=2e-5 * len(atoms))
    assert ours["energies"] == pytest.approx(theirs["energies"], abs=5e-5)
    assert ours["forces"] == pytest.approx(theirs["forces"], abs=1e-4)
    assert ours["stress"] == pytest.approx(theirs["stress"], abs=1e-5)


def test_the_energy_alone_is_that_with_forces(pair):
    calculator, atoms = pair[0], crystals()["surface"]
    calculator.reset()
    calculator.calculate(atoms, ["energy"])
    alone = calculator.results["energy"]
    calculator.calculate(atoms, ["energy", "forces", "stress"])
    assert alone == pytest.approx(calculator.results["energy"], abs=1e-5)


def test_the_order_of_atoms_and_turns_of_the_crystal_change_nothing(pair):
    calculator, atoms = pair[0], crystals()["rattled"]
    calculator.reset()
    calculator.calculate(atoms, ["forces"])
    energy, forces = calculator.results["energy"], calculator.results["forces"]
    order = np.random.default_rng(0).permutation(len(atoms))
    turned: Atoms = atoms[order]
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    calculator.reset()
    calculator.calculate(turned, ["forces"])
    assert calculator.results["energy"] == pytest.approx(energy, abs=1e-4)
    lengths = np.linalg.norm(forces, axis=1)[order]
    assert np.linalg.norm(calculator.results["forces"], axis=1) == pytest.approx(lengths, abs=1e-3)


def test_an_atom_without_neighbours_has_the_same_energy(pair):
    lonely, found = Atoms("Cu", cell=[20, 20, 20], pbc=True), []
    for calculator in pair:
        calculator.reset()
        calculator.calculate(lonely, ["energy"])
        found.append(calculator.results["energy"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
