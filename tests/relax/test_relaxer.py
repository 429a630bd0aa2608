import json
import re
from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from ase.units import GPa
from pymatgen.analysis.eos import EOS
from pymatgen.core import Lattice, Structure
from scipy.optimize import minimize_scalar

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.relax import relaxer
from crystalgraph.relax.atoms import to_atoms
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.relaxation import RelaxSettings, structure_key
from crystalgraph.relax.relaxer import SADDLE_CHECK_BELOW, relax
from crystalgraph.relax.single_point import single_point

EMT_NAME = "ase.calculators.emt:EMT"
SETTINGS = RelaxSettings(potential=EMT_NAME, fmax=0.005)


def copper_hull(energy):
    return Hull(ChemicalSystem.parse("Cu"), [Phase(name="Cu", formula="Cu", energy=energy)])


def test_copper_ends_at_the_minimum_of_its_energy_curve(fcc):
    lengths = np.linspace(3.55, 3.65, 21)
    energies = []
    for a in lengths:
        atoms = bulk("Cu", a=a)
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
    curve = np.polynomial.Polynomial.fit(lengths, energies, 4)
    best = min(curve.deriv().roots().real, key=lambda a: abs(a - 3.6))
    start = fcc(a=3.8)
    start.apply_strain([0.03, -0.02, 0.0])
    found = relax(start, SETTINGS)
    assert found.status == "converged"
    assert found.usable
    assert found.reason == ""
    assert found.energy == pytest.approx(curve(best), abs=1e-4)
    assert (4 * found.structure.volume) ** (1 / 3) == pytest.approx(best, abs=5e-3)
    assert found.initial_energy == pytest.approx(single_point(start, EMT()))
    assert found.energy < found.initial_energy
    assert 0 < found.n_steps < 50
    assert found.seconds > 0
    assert isnan(found.saddle_drop)


@pytest.mark.slow
def test_the_same_energy_for_supercell_rotation_and_order_of_sites(fcc):
    start = Structure(fcc(a=3.9).lattice, ["Au"], [[0, 0, 0]]) * (2, 1, 1)
    start.replace(0, "Cu")
    start.perturb(0.1)
    base = relax(start, SETTINGS)
    rotated = Structure(Lattice.from_parameters(*start.lattice.parameters), start.species, start.frac_coords)
    swapped = Structure(start.lattice, start.species[::-1], start.frac_coords[::-1] + 0.3)
    for other in (start * (1, 2, 1), rotated, swapped):
        assert relax(other, SETTINGS).energy == pytest.approx(base.energy, abs=1e-3)


def test_species_keep_their_order_and_the_input_is_not_touched(fcc):
    start = fcc("Cu", 3.9) * (2, 1, 1)
    start.replace(1, "Au")
    before = structure_key(start)
    found = relax(start, SETTINGS)
    assert structure_key(start) == before
    assert [site.species_string for site in found.structure] == ["Cu", "Au"]


@pytest.mark.slow
def test_twice_the_same(fcc):
    start = fcc(a=3.8) * (2, 1, 1)
    start.perturb(0.2)
    assert relax(start, SETTINGS).to_dict() | {"seconds": 0} == relax(start, SETTINGS).to_dict() | {"seconds": 0}


def test_limits(fcc):
    start = fcc(a=4.0)
    start.apply_strain([0.05, -0.05, 0])
    found = relax(start, replace(SETTINGS, max_steps=2))
    assert (found.status, found.n_steps, found.usable) == ("step limit", 2, True)
    assert "largest force" in found.reason
    assert found.energy == pytest.approx(single_point(found.structure, EMT()), abs=1e-9)
    found = relax(start, replace(SETTINGS, max_seconds=0.0))
    assert (found.status, found.usable) == ("time limit", False)
    assert "0 s of CPU time" in found.reason
    assert found.structure is not None


@pytest.mark.slow
def test_fire_while_forces_are_large_then_lbfgs(fcc):
    only_fire, only_lbfgs = replace(SETTINGS, fire_above=0.0), replace(SETTINGS, fire_above=1e9)
    rough = fcc(a=2.9) * (2, 1, 1)
    rough.perturb(0.1)
    first = [relax(rough, replace(settings, max_steps=3)).energy for settings in (SETTINGS, only_fire, only_lbfgs)]
    assert first[0] == first[1] != first[2]
    gentle = fcc(a=3.62)
    gentle.apply_strain([0.01, 0, 0])
    ends = [relax(gentle, settings).to_dict() | {"seconds": 0} for settings in (SETTINGS, only_fire, only_lbfgs)]
    assert ends[0] == ends[2] != ends[1]
    whole = relax(rough, SETTINGS)
    assert whole.status == "converged"
    assert whole.energy == pytest.approx(relax(rough, only_fire).energy, abs=1e-3)
    assert whole.initial_energy == pytest.approx(single_point(rough, EMT()))


@pytest.mark.parametrize("pressure", [0.0, 5.0])
@pytest.mark.parametrize("held", [False, True])
def test_positions_and_forces_are_those_of_the_filter(fcc, held, pressure):
    start = fcc(a=3.7) * (2, 1, 1)
    if not held:
        start.perturb(0.05)
    ours, plain = (to_atoms(start) for _ in range(2))
    for atoms in (ours, plain):
        atoms.calc = EMT()
        if held:
            atoms.set_constraint(FixSymmetry(atoms))
    watched = relaxer._WatchedFilter(ours, pressure)
    usual = FrechetCellFilter(plain, scalar_pressure=pressure * GPa)
    origin = usual.get_positions() - watched.get_positions()  # a constant of ASE's in the logarithm
    rng = np.random.default_rng(0)
    for _ in range(4):
        assert watched.get_potential_energy() == pytest.approx(usual.get_potential_energy())
        assert watched.get_positions() + origin == pytest.approx(usual.get_positions(), abs=1e-10)
        assert watched.get_forces() == pytest.approx(usual.get_forces(), abs=1e-10)
        assert watched.get_forces() is watched.get_forces()
        assert ours.positions == pytest.approx(plain.positions, abs=1e-10)
        assert np.array(ours.cell) == pytest.approx(np.array(plain.cell), abs=1e-10)
        moves = rng.normal(scale=0.03, size=origin.shape)
        watched.set_positions(watched.get_positions() + moves)
        usual.set_positions(usual.get_positions() + moves)


@pytest.mark.slow
def test_fire_goes_on_where_lbfgs_climbs():
    rough = Structure(Lattice.cubic(4.2), ["Cu"] * 4, np.random.default_rng(4).random((4, 3)))
    atoms = rough.to_ase_atoms()
    atoms.calc = EMT()
    steps = LBFGS(FrechetCellFilter(atoms), logfile=None).irun(fmax=0.01, steps=150)
    alone = [atoms.get_potential_energy() / len(atoms) for _ in steps]
    assert len(alone) == 151  # never converged
    assert alone[-1] > min(alone) + 0.02

    settings = RelaxSettings(potential=EMT_NAME, fmax=0.01, fire_above=1e9)
    ours = relax(rough, settings)
    assert ours.status == "converged"
    assert ours.energy < min(alone) + 1e-3
    ended = relax(rough, replace(settings, max_steps=ours.n_steps - 1))
    assert (ended.status, ended.n_steps) == ("step limit", ours.n_steps - 1)


def test_abort_above_the_hull(fcc):
    start = fcc(a=4.2)
    deep = copper_hull(relax(fcc(), SETTINGS).energy)
    found = relax(start, replace(SETTINGS, abort=((0, 10.0), (2, 0.05))), hull=deep)
    assert (found.status, found.n_steps, found.usable) == ("aborted", 2, False)
    assert "above the hull after 2 steps" in found.reason
    assert relax(start, replace(SETTINGS, abort=((2, 5.0),)), hull=deep).status == "converged"


@pytest.mark.parametrize(
    ("lattice", "sites", "reason"),
    [
        (Lattice.cubic(4), [[0, 0, 0], [0.05, 0, 0]], r"atoms closer than 0.5 Å"),
        (Lattice.cubic(1.2), [[0, 0, 0]], r"volume of 1.73 Å³ per atom"),
        (Lattice.cubic(10), [[0, 0, 0]], r"volume of 1e\+03 Å³ per atom"),
        (Lattice.orthorhombic(0.01, 40, 40), [[0, 0, 0]], r"too flat|closer"),
    ],
)
def test_what_no_crystal_looks_like(lattice, sites, reason):
    found = relax(Structure(lattice, ["Cu"] * len(sites), sites), SETTINGS)
    assert found.status == "unbelievable"
    assert not found.usable
    assert found.structure is None
    assert re.match(f"before the first step: .*({reason})", found.reason)
    assert isnan(single_point(Structure(lattice, ["Cu"] * len(sites), sites), EMT()))


@pytest.mark.parametrize(
    ("calculator", "status", "reason"),
    [
        ("stand_ins:bursting", "unbelievable", "times that of the start"),
        ("stand_ins:not_a_number", "unbelievable", "the energy is nan"),
        ("stand_ins:bottomless", "unbelievable", "below the hull of the known phases"),
    ],
)
def test_what_leaves_the_believable_range(fcc, calculator, status, reason):
    found = relax(fcc(), RelaxSettings(potential=calculator), hull=copper_hull(-40.0))
    assert found.status == status
    assert reason in found.reason
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_the_calculator_cannot_do_is_a_failure(fcc):
    found = relax(fcc("Nb"), SETTINGS)
    assert found.status == "failed"
    assert "NotImplementedError after step 0" in found.reason
    assert isnan(found.energy)
    assert isnan(single_point(fcc("Nb"), EMT()))


def test_no_crystal_of_whole_atoms():
    disordered = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    assert "disordered" in relax(disordered, SETTINGS).reason
    broken = Structure(Lattice.cubic(3), ["Cu"], [[np.nan, 0, 0]])
    assert relax(broken, SETTINGS).status == "failed"
    assert isnan(single_point(disordered, EMT()))


def test_outside_the_system_of_the_hull(fcc):
    found = relax(fcc("Au"), SETTINGS, hull=copper_hull(0.0))
    assert (found.status, found.reason) == ("failed", "Au1 is outside the chemical system Cu")


def test_a_bug_is_not_hidden(fcc):
    with pytest.raises(TypeError, match="a bug of the calculator"):
        relax(fcc(), RelaxSettings(potential="stand_ins:Wrong"))


@pytest.mark.slow
def test_saddle_check_leaves_the_saddle():
    """Simple cubic copper is held by symmetry; pushed, it falls to the close packing, 0.4 eV/atom lower."""
    simple = Structure(Lattice.cubic(2.4), ["Cu"], [[0, 0, 0]])
    without = relax(simple, replace(SETTINGS, fmax=0.05))
    assert without.status == "converged"
    assert without.structure.lattice.angles == pytest.approx((90, 90, 90), abs=1e-6)
    settings = replace(SETTINGS, fmax=0.05, saddle_check=True)
    checked = relax(simple, settings, hull=copper_hull(without.energy))
    assert checked.status == "converged"
    assert checked.saddle_drop > 0.1
    assert checked.energy == pytest.approx(without.energy - checked.saddle_drop)
    assert checked.initial_energy == without.initial_energy
    assert checked.n_steps > without.n_steps
    again = relax(simple, settings, hull=copper_hull(without.energy))
    assert again.to_dict() | {"seconds": 0} == checked.to_dict() | {"seconds": 0}


def test_saddle_check_keeps_a_minimum_and_skips_what_lies_high(fcc):
    without = relax(fcc(), SETTINGS)
    checked = relax(fcc(), replace(SETTINGS, saddle_check=True), hull=copper_hull(without.energy))
    assert abs(checked.saddle_drop) < 0.005
    assert checked.structure == without.structure
    assert checked.energy == without.energy
    deep = copper_hull(without.energy - 1.01 * SADDLE_CHECK_BELOW)
    high = relax(fcc(), replace(SETTINGS, saddle_check=True), hull=deep)
    assert isnan(high.saddle_drop)
    assert high.n_steps == without.n_steps


def test_abort_and_saddle_check_need_a_hull(fcc):
    for settings in (replace(SETTINGS, saddle_check=True), replace(SETTINGS, abort=((10, 0.5),))):
        with pytest.raises(ValueError, match="need a hull"):
            relax(fcc(), settings)


@pytest.mark.slow
def test_chgnet_says_why_it_cannot(chgnet, fcc):
    lonely = Structure(Lattice.cubic(7.5), ["Nb"], [[0, 0, 0]])
    found = relax(lonely, RelaxSettings(potential="chgnet"), calculator=chgnet)
    assert (found.status, "isolated atom" in found.reason) == ("failed", True)
    heavy = relax(fcc("Lr", 5.0), RelaxSettings(potential="chgnet"), calculator=chgnet)
    assert heavy.status == "failed"
    assert heavy.reason
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = relax(rock_salt.get_primitive_structure(), RelaxSettings(potential="chgnet"), calculator=chgnet)
    assert found.status == "converged"
    assert found.energy == pytest.approx(-9.2, abs=0.2)
    assert relax(rock_salt, RelaxSettings(potential="chgnet"), calculator=chgnet).energy == pytest.approx(
        found.energy, abs=2e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("pressure", [-5.0, 10.0, 60.0])
def test_the_enthalpy_is_the_lowest_point_of_energy_and_work(pressure):
    """As an equation of state fitted to energies of cells that nothing relaxed has it."""
    per_gpa = 1 / 160.21766208  # eV/Å³, as pymatgen has it
    enthalpies = {}
    for kind in ("fcc", "bcc"):
        around = float(bulk("Cu", kind, a=3.6 if kind == "fcc" else 2.86).get_volume())
        volumes, energies = around * np.linspace(0.7, 1.15, 46), []
        for volume in volumes:
            atoms = bulk("Cu", kind, a=((4 if kind == "fcc" else 2) * volume) ** (1 / 3))
            atoms.calc = EMT()
            energies.append(atoms.get_potential_energy())
        curve = EOS("birch_murnaghan").fit(volumes, energies)
        best = minimize_scalar(lambda v, fit=curve: fit(v) + pressure * per_gpa * v, bounds=(volumes[0], volumes[-1]))
        start = Structure(Lattice(bulk("Cu", kind, a=3.0 if kind == "bcc" else 3.7).cell.array), ["Cu"], [[0, 0, 0]])
        found = relax(start, replace(SETTINGS, pressure=pressure, hold_symmetry=True))
        assert found.status == "converged"
        assert found.enthalpy == pytest.approx(best.fun, abs=3e-3)
        assert found.structure.volume == pytest.approx(best.x, rel=0.01)
        assert found.enthalpy == pytest.approx(found.energy + pressure * per_gpa * found.structure.volume, abs=1e-6)
        assert found.pressure == pressure
        enthalpies[kind] = found.enthalpy, best.fun
    ours, theirs = zip(enthalpies["fcc"], enthalpies["bcc"], strict=True)
    assert (ours[0] < ours[1]) == (theirs[0] < theirs[1])


def test_a_crystal_is_held_against_the_hull_by_its_enthalpy(fcc):
    settings = replace(SETTINGS, pressure=20.0, fmax=0.05)
    free = relax(fcc(a=3.6), settings)
    hull = copper_hull(free.enthalpy - 0.05)
    found = relax(fcc(a=3.6), replace(settings, abort=((0, 10.0),)), hull=hull)
    assert hull.e_above_hull("Cu", found.enthalpy) == pytest.approx(0.05, abs=1e-3)
    assert relax(fcc(a=3.6), settings, hull=copper_hull(free.energy + 1.5)).status == "converged"
    assert relax(fcc(a=3.6), settings, hull=copper_hull(free.enthalpy + 1.5)).status == "unbelievable"
