"""Relax one crystal, cell and positions, and say honestly how it ended.

On the atoms and the logarithm of the cell's deformation (ASE's ``FrechetCellFilter``): FIRE while any force is large,
then L-BFGS, which needs fewer steps near a minimum and does not stop as easily on a symmetric saddle, but climbs and
oscillates where the energy is not yet bowl-shaped; should it climb, FIRE to the end. ``python -m tools.bench relaxer``
compares them. Nothing that can happen to one crystal raises: every end has a status and a reason.
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS
from ase.units import GPa
from pymatgen.core import Lattice, Structure
from scipy.linalg import expm, expm_frechet, logm
from threadpoolctl import threadpool_limits

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.errors import InputError
from crystalgraph.relax.atoms import EXPECTED_ERRORS, quiet, to_atoms, to_structure
from crystalgraph.relax.belief import cell_doubt, depth_doubt, energy_doubt
from crystalgraph.relax.potentials import make_calculator
from crystalgraph.relax.pressure import work
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, Status, structure_key

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

    from crystalgraph.relax.hull import Hull

CLIMB = 0.02
"""eV/atom above the lowest enthalpy that L-BFGS has been at; it is lost then."""

SADDLE_DROP = 0.005
"""eV/atom; a smaller drop after the rattling is noise."""

SADDLE_CHECK_BELOW = 0.2
"""eV/atom above the hull; what ends higher is not rattled. Real crystals were seen to fall by more than METASTABLE."""

_SYMPREC = 0.01  # Å, of the symmetry that is held

_RATTLE, _STRAIN = 0.05, 0.01  # Å for each atom; standard deviation of each component of the strain


def relax(
    structure: Structure, settings: RelaxSettings, *, hull: Hull | None = None, calculator: Calculator | None = None
) -> Relaxation:
    """Relax the cell and the positions of a crystal, in this process.

    Args:
        structure: ordered structure; it is not changed.
        settings: how.
        hull: under the pressure of the settings; needed to abort early and for the saddle check. With a hull, what
            lies more than 1 eV/atom below it is unbelievable, and a crystal outside its system is a failure.
        calculator: the one that ``settings`` name, if it is already there; making CHGNet takes seconds.

    Returns:
        The end, whatever it was.

    Raises:
        ValueError: if the settings need a hull and there is none.
        InputError: if the calculator cannot be made.
    """
    if hull is None and (settings.abort or settings.saddle_check):
        raise ValueError("abort thresholds and the saddle check need a hull")
    started = time.thread_time()
    calculator = make_calculator(settings.potential) if calculator is None else calculator
    with threadpool_limits(1):  # for small systems, more threads are many times slower
        relaxation = _descend(structure, settings, hull, calculator, started)
        if settings.hold_symmetry and relaxation.status == "failed":
            relaxation = _descend(structure, replace(settings, hold_symmetry=False), hull, calculator, started)
        if settings.saddle_check and hull is not None and _worth_a_check(relaxation, hull):
            relaxation = _check_saddle(relaxation, structure, settings, hull, calculator, started)
    return replace(relaxation, seconds=time.thread_time() - started)


def _worth_a_check(relaxation: Relaxation, hull: Hull) -> bool:
    if not relaxation.usable or relaxation.structure is None:
        return False
    return hull.e_above_hull(relaxation.structure.composition, relaxation.enthalpy) <= SADDLE_CHECK_BELOW


def _check_saddle(
    first: Relaxation,
    structure: Structure,
    settings: RelaxSettings,
    hull: Hull,
    calculator: Calculator,
    started: float,
) -> Relaxation:
    """Rattle the crystal off a symmetric saddle, should it sit on one; how depends on the first structure alone."""
    start = _rattle(first.structure or structure, np.random.default_rng(int(structure_key(structure)[:16], 16)))
    second = _descend(start, replace(settings, abort=(), hold_symmetry=False), hull, calculator, started)
    drop = first.enthalpy - second.enthalpy if second.usable else nan
    return replace(
        second if drop > SADDLE_DROP else first,
        initial_energy=first.initial_energy,
        n_steps=first.n_steps + second.n_steps,
        saddle_drop=drop,
    )


class _Unbelievable(Exception):
    """The geometry left what a crystal can be; the message says how."""


class _WatchedFilter(FrechetCellFilter):
    """Looks at every new geometry before the calculator does: a search for neighbours in a collapsed cell can hang.

    The same degrees of freedom and forces, in less time. The logarithm of the cell's deformation is the one that was
    set; the derivatives along its nine components are one derivative along the transpose (N. J. Higham, Functions of
    Matrices, SIAM 2008, section 3.2: the adjoint of a Fréchet derivative at L is the one at Lᵀ); and the forces of a
    geometry are worked out once, as optimisers ask three times a step.
    """

    def __init__(self, atoms: Atoms, pressure: float) -> None:
        super().__init__(atoms, scalar_pressure=pressure * GPa)
        self._start_volume = atoms.get_volume()
        self._may_shrink = pressure > 0
        self._log, self.cell_factor = np.zeros((3, 3)), 1.0  # ASE's factor would add a constant to the logarithm
        self._forces: NDArray[np.float64] | None = None

    def get_positions(self) -> NDArray[np.float64]:
        """Of the atoms in the undeformed cell, and the logarithm of its deformation, scaled."""
        undeformed = np.linalg.solve(self.deform_grad(), self.atoms.positions.T).T
        return np.concatenate([undeformed, self._log * self.exp_cell_factor])

    def set_positions(self, new: Any, **kwargs: Any) -> None:  # type: ignore[override]  # ASE's own two names differ
        super().set_positions(new, **kwargs)
        self._log, self._forces = new[-3:] / self.exp_cell_factor, None
        if not np.allclose(expm(self._log), self.deform_grad(), rtol=0, atol=1e-12):  # where symmetry is held
            self._log = logm(self.deform_grad())
        if doubt := cell_doubt(self.atoms, self._start_volume, may_shrink=self._may_shrink):
            raise _Unbelievable(doubt)

    def get_forces(self, **kwargs: Any) -> NDArray[np.float64]:
        """On the atoms in the undeformed cell, and on the logarithm of its deformation, scaled, eV/Å."""
        if kwargs or self._forces is None:  # such as without constraints
            deformation, cell = self.deform_grad(), self.atoms.cell
            stress = self.atoms.get_stress(voigt=False, **kwargs) + self.scalar_pressure * np.eye(3)
            on_cell = -cell.volume * np.linalg.solve(deformation, stress).T
            on_log = expm_frechet(self._log.T, on_cell, compute_expm=False)
            on_atoms = self.atoms.get_forces(**kwargs) @ deformation
            forces = np.concatenate([on_atoms, on_log / self.exp_cell_factor])
            if kwargs:
                return forces
            self._forces = forces
        return self._forces


def _descend(
    structure: Structure, settings: RelaxSettings, hull: Hull | None, calculator: Calculator, started: float
) -> Relaxation:
    """One run of the optimiser."""
    if fault := structure_fault(structure):
        return Relaxation(status="failed", reason=fault)
    atoms = to_atoms(structure)
    if doubt := cell_doubt(atoms, None):
        return Relaxation(status="unbelievable", reason=f"before the first step: {doubt}")
    try:
        floor = None if hull is None else hull.energy_at(structure.composition)
    except InputError as error:
        return Relaxation(status="failed", reason=str(error))
    thresholds = dict(settings.abort)
    calculator.reset()  # ASE takes atoms that agree to 1e-15 for the last ones, whoever these were
    atoms.calc = calculator
    initial = energy = nan
    n_steps, last = 0, None

    def end(status: Status, reason: str = "") -> Relaxation:
        return Relaxation(
            status=status,
            reason=reason,
            structure=last,
            initial_energy=initial,
            energy=energy,
            n_steps=n_steps,
            pressure=settings.pressure,
        )

    try:
        with quiet():
            if settings.hold_symmetry:
                atoms.set_constraint(FixSymmetry(atoms, symprec=_SYMPREC))
            watched = _WatchedFilter(atoms, settings.pressure)
            first = max(settings.fire_above, settings.fmax)
            own: dict[Any, dict[str, Any]] = {FIRE: {}, LBFGS: {"alpha": settings.curvature}}
            for method, fmax in ((FIRE, first), (LBFGS, settings.fmax), (FIRE, settings.fmax)):
                optimizer = method(watched, logfile=None, **own[method])  # type: ignore[arg-type]  # takes filters
                before = n_steps
                lowest = inf
                for converged in optimizer.irun(fmax=fmax, steps=settings.max_steps - before):
                    now = float(atoms.get_potential_energy()) / len(atoms)
                    n_steps = before + optimizer.nsteps
                    if not isfinite(now):
                        return end("unbelievable", f"the energy is {now} after {n_steps} steps")
                    energy, last = now, to_structure(atoms)
                    initial = energy if n_steps == 0 else initial
                    enthalpy = energy + work(settings.pressure, atoms.get_volume(), len(atoms))
                    if doubt := energy_doubt(energy, settings.potential) or depth_doubt(enthalpy, floor):
                        return end("unbelievable", doubt)
                    if converged and fmax == settings.fmax:
                        return end("converged")
                    if floor is not None and enthalpy - floor > thresholds.get(n_steps, np.inf):
                        return end("aborted", f"{enthalpy - floor:.3f} eV/atom above the hull after {n_steps} steps")
                    if time.thread_time() - started > settings.max_seconds:
                        return end("time limit", f"not converged within {settings.max_seconds:g} s of CPU time")
                    lowest = min(lowest, enthalpy)
                    if method is LBFGS and enthalpy > lowest + CLIMB:
                        break
            force = float(np.linalg.norm(watched.get_forces(), axis=1).max())
            return end("step limit", f"largest force {force:.2g} eV/Å after {n_steps} steps")
    except _Unbelievable as doubtful:
        return end("unbelievable", f"after step {n_steps}: {doubtful}")
    except EXPECTED_ERRORS as error:
        return end("failed", f"{type(error).__name__} after step {n_steps}: {_first_line(error)}")


def _rattle(structure: Structure, rng: np.random.Generator) -> Structure:
    """Every atom moved by the same distance in a random direction, the cell strained a little."""
    moves = rng.normal(size=(len(structure), 3))
    moves *= _RATTLE / np.linalg.norm(moves, axis=1, keepdims=True)
    strain = rng.normal(scale=_STRAIN, size=(3, 3))
    matrix = (structure.lattice.matrix) @ (np.eye(3) + (strain + strain.T) / 2)
    frac_coords = structure.frac_coords + moves @ np.linalg.inv(structure.lattice.matrix)
    return Structure(Lattice(matrix), structure.species, frac_coords)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0][:200]
