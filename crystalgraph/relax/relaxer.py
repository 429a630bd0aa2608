"""Relax one crystal, cell and positions, and say honestly how it ended.

On the atoms and the logarithm of the cell's deformation (ASE's ``FrechetCellFilter``): FIRE while any force is large,
then L-BFGS, which needs fewer steps near a minimum and does not stop as easily on a symmetric saddle, but climbs and
oscillates where the energy is not yet bowl-shaped; should it climb, FIRE to the end (``tools/measure_relaxer.py``).
Nothing that can happen to one crystal raises: every end has a status and a reason.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from threadpoolctl import threadpool_limits

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.errors import InputError
from crystalgraph.geometry.neighbors import neighbor_list, searchable_cells
from crystalgraph.relax.calculator import CHGNET, ENERGY_RANGE, calculator_identity, make_calculator
from crystalgraph.relax.hull import METASTABLE

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from crystalgraph.relax.hull import Hull

Status = Literal["converged", "step limit", "time limit", "aborted", "failed", "unbelievable"]

MIN_DISTANCE = 0.5
"""Å; atoms closer than this are no crystal."""

VOLUME_PER_ATOM = (2.0, 500.0)
"""Å³; known crystals have 4 to 120."""

MAX_VOLUME_CHANGE = 3.0
"""Factor, in either direction, beyond which a relaxation has exploded or collapsed."""

MAX_BELOW_HULL = 1.0
"""eV/atom; what lies deeper below all known phases has found a hole in the potential."""

CLIMB = 0.02
"""eV/atom above the lowest energy that L-BFGS has been at; it is lost then."""

SADDLE_DROP = 0.005
"""eV/atom; a smaller drop after the perturbation is noise."""

_PERTURBATION, _STRAIN = 0.05, 0.01  # Å for each atom; standard deviation of each component of the strain
_SEARCH_RADIUS = 6.0  # Å; CHGNet's longest edge
_METHOD = 2  # raised when the same settings would give another result, so that caches forget
_EXPECTED = (
    ValueError,
    ArithmeticError,
    IndexError,
    RuntimeError,
    MemoryError,
)  # NotImplementedError is a RuntimeError


@dataclass(frozen=True, kw_only=True)
class RelaxSettings:
    """How crystals are relaxed.

    Attributes:
        calculator: name, see `crystalgraph.relax.calculator.make_calculator`.
        fmax: converged when no force, the cell's included, is larger, eV/Å.
        fire_above: eV/Å; FIRE descends while the largest force is above this, then L-BFGS; if 0, FIRE alone.
        max_steps: optimiser steps.
        max_seconds: CPU seconds of the relaxing process. A guard against the rare crystal that takes forever: unlike
            the number of steps it depends on the machine, so it should not be what ends ordinary relaxations.
        abort: (step, eV/atom above the hull): give up when the crystal is still higher after that step.
        saddle_check: perturb what ends metastable or better, relax again, and keep the result if it is lower.

    Raises:
        InputError: if ``fmax`` is not positive, a limit is negative, or ``fire_above`` is negative or not finite.
    """

    calculator: str = CHGNET
    fmax: float = 0.1
    fire_above: float = 1.0
    max_steps: int = 150
    max_seconds: float = 60.0
    abort: tuple[tuple[int, float], ...] = ()
    saddle_check: bool = False

    def __post_init__(self) -> None:
        if not self.fmax > 0:
            raise InputError(f"largest force {self.fmax} eV/Å cannot be reached; give a positive one, such as 0.1")
        if not 0 <= self.fire_above < inf:
            raise InputError(f"FIRE cannot descend above {self.fire_above} eV/Å; give a finite force, 0 or more")
        if self.max_steps < 0 or not self.max_seconds >= 0:
            raise InputError(f"limits of {self.max_steps} steps and {self.max_seconds} s: give none below zero")


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """How a relaxation ended.

    Attributes:
        status: "converged"; "step limit" or "time limit" (not converged by then); "aborted" (too high above the hull
            for too long); "failed" (the calculator gave no answer); "unbelievable" (exploded, collapsed, or an energy
            that no crystal has).
        reason: one line; empty when converged.
        structure: the last structure whose energy is known; None if there is none.
        initial_energy: eV/atom before the first step; NaN if there is none.
        energy: eV/atom of ``structure``; NaN if there is none.
        n_steps: optimiser steps taken, those of the saddle check included.
        seconds: CPU seconds; not part of a comparison of two relaxations.
        saddle_drop: eV/atom by which the energy fell in the saddle check, negative if it rose; NaN if there was none.
    """

    status: Status
    reason: str = ""
    structure: Structure | None = None
    initial_energy: float = nan
    energy: float = nan
    n_steps: int = 0
    seconds: float = field(default=0.0, compare=False)
    saddle_drop: float = nan

    @property
    def usable(self) -> bool:
        """Whether the energy can be placed on a hull: the relaxation converged or ran out of steps."""
        return self.status in {"converged", "step limit"}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None, floats keep all their digits."""
        record = {key: value for key, value in vars(self).items() if key != "structure"}
        record = {
            key: None if isinstance(value, float) and not isfinite(value) else value for key, value in record.items()
        }
        return record | {"structure": None if self.structure is None else structure_record(self.structure)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Relaxation:
        """Read what `to_dict` gave."""
        values: dict[str, Any] = {key: nan if value is None else value for key, value in record.items()}
        content = record["structure"]
        return cls(**values | {"structure": None if content is None else structure_from_record(content)})


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """An energy and how it changes.

    Attributes:
        energy: eV/atom.
        forces: on the atoms, (n_atoms, 3), eV/Å.
        stress: of the cell, (3, 3), eV/Å³, positive where it is stretched.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


def relax(
    structure: Structure, settings: RelaxSettings, *, hull: Hull | None = None, calculator: Calculator | None = None
) -> Relaxation:
    """Relax the cell and the positions of a crystal, in this process.

    Args:
        structure: ordered structure; it is not changed.
        settings: how.
        hull: needed to abort early and for the saddle check. With a hull, what lies more than 1 eV/atom below it is
            unbelievable, and a crystal outside its system is a failure.
        calculator: the one that ``settings`` name, if it is already there; making CHGNet takes seconds.

    Returns:
        The end, whatever it was.

    Raises:
        ValueError: if the settings need a hull and there is none.
        InputError: if the calculator cannot be made.
    """
    if hull is None and (settings.abort or settings.saddle_check):
        raise ValueError("abort thresholds and the saddle check need a hull")
    started = time.process_time()
    calculator = make_calculator(settings.calculator) if calculator is None else calculator
    with threadpool_limits(1):  # for small systems, more threads are many times slower
        found = _descend(structure, settings, hull, calculator, started)
        if settings.saddle_check and hull is not None and _worth_a_check(found, hull):
            found = _check_saddle(found, structure, settings, hull, calculator, started)
    return replace(found, seconds=time.process_time() - started)


def single_point(structure: Structure, calculator: Calculator) -> float:
    """Energy of a crystal as it is.

    Args:
        structure: ordered structure.
        calculator: from `make_calculator`.

    Returns:
        eV/atom; NaN if the calculator has no answer or the cell is not believable.
    """
    with _atoms_as_they_are(structure, calculator) as atoms:
        energy = nan if atoms is None else float(atoms.get_potential_energy()) / len(atoms)
        return energy if isfinite(energy) else nan
    return nan


def derivatives(structure: Structure, calculator: Calculator) -> Derivatives | None:
    """Energy, forces and stress of a crystal as it is.

    Args:
        structure: ordered structure.
        calculator: from `make_calculator`.

    Returns:
        None if the calculator has no answer or the cell is not believable.
    """
    with _atoms_as_they_are(structure, calculator) as atoms:
        if atoms is None:
            return None
        forces = np.asarray(atoms.get_forces(), float)  # first: with energies first, CHGNet would be called twice
        stress = np.asarray(atoms.get_stress(voigt=False), float)
        found = Derivatives(energy=float(atoms.get_potential_energy()) / len(atoms), forces=forces, stress=stress)
        finite = isfinite(found.energy) and np.isfinite(found.forces).all() and np.isfinite(found.stress).all()
        return found if finite else None
    return None


@contextmanager
def _atoms_as_they_are(structure: Structure, calculator: Calculator) -> Iterator[Atoms | None]:
    """Atoms with the calculator, or None if the cell is not believable; ends the block where there is no answer."""
    if structure_fault(structure) is not None:
        yield None
        return
    atoms = _to_atoms(structure)
    if _cell_doubt(atoms, None) is not None:
        yield None
        return
    calculator.reset()  # ASE takes atoms that agree to 1e-15 for the last ones, whoever these were
    atoms.calc = calculator
    with suppress(*_EXPECTED), _quiet():
        yield atoms


def relaxation_key(structure: Structure, settings: RelaxSettings, hull: Hull | None = None) -> str:
    """SHA-256 over all that a relaxation depends on: structure, settings, calculator identity, hull."""
    content = {
        "method": _METHOD,
        "structure": structure_key(structure),
        "settings": asdict(settings),
        "calculator": calculator_identity(settings.calculator),
        "hull": None if hull is None else hull.identity(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def structure_key(structure: Structure) -> str:
    """SHA-256 over cell, species and coordinates, to the last bit."""
    return hashlib.sha256(json.dumps(structure_record(structure)).encode()).hexdigest()


def structure_record(structure: Structure) -> dict[str, Any]:
    """Lattice rows (Å), species and fractional coordinates as plain lists."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.species_string for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }


def structure_from_record(record: dict[str, Any]) -> Structure:
    """Read what `structure_record` gave."""
    return Structure(Lattice(record["lattice"]), record["species"], record["frac_coords"])


def _worth_a_check(found: Relaxation, hull: Hull) -> bool:
    if not found.usable or found.structure is None:
        return False
    return hull.e_above_hull(found.structure.composition, found.energy) <= METASTABLE


def _check_saddle(
    found: Relaxation,
    structure: Structure,
    settings: RelaxSettings,
    hull: Hull,
    calculator: Calculator,
    started: float,
) -> Relaxation:
    """Push the crystal off a symmetric saddle, should it sit on one; the push depends on the first structure alone."""
    start = _perturb(found.structure or structure, np.random.default_rng(int(structure_key(structure)[:16], 16)))
    second = _descend(start, replace(settings, abort=()), hull, calculator, started)
    drop = found.energy - second.energy if second.usable else nan
    return replace(
        second if drop > SADDLE_DROP else found,
        initial_energy=found.initial_energy,
        n_steps=found.n_steps + second.n_steps,
        saddle_drop=drop,
    )


class _Unbelievable(Exception):
    """The geometry left what a crystal can be; the message says how."""


class _WatchedFilter(FrechetCellFilter):
    """Looks at every new geometry before the calculator does: a search for neighbours in a collapsed cell can hang."""

    def __init__(self, atoms: Atoms) -> None:
        super().__init__(atoms)
        self._start_volume = atoms.get_volume()

    def set_positions(self, new: Any, **kwargs: Any) -> None:  # type: ignore[override]  # ASE's own two names differ
        super().set_positions(new, **kwargs)
        if doubt := _cell_doubt(self.atoms, self._start_volume):
            raise _Unbelievable(doubt)


def _descend(
    structure: Structure, settings: RelaxSettings, hull: Hull | None, calculator: Calculator, started: float
) -> Relaxation:
    """One run of the optimiser."""
    if fault := structure_fault(structure):
        return Relaxation(status="failed", reason=fault)
    atoms = _to_atoms(structure)
    if doubt := _cell_doubt(atoms, None):
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
            status=status, reason=reason, structure=last, initial_energy=initial, energy=energy, n_steps=n_steps
        )

    try:
        with _quiet():
            watched = _WatchedFilter(atoms)
            first = max(settings.fire_above, settings.fmax)
            for method, fmax in ((FIRE, first), (LBFGS, settings.fmax), (FIRE, settings.fmax)):
                optimizer, before = method(watched, logfile=None), n_steps  # type: ignore[arg-type]  # takes filters
                lowest = inf
                for converged in optimizer.irun(fmax=fmax, steps=settings.max_steps - before):
                    now = float(atoms.get_potential_energy()) / len(atoms)
                    n_steps = before + optimizer.nsteps
                    if not isfinite(now):
                        return end("unbelievable", f"the energy is {now} after {n_steps} steps")
                    energy, last = now, _to_structure(atoms)
                    initial = energy if n_steps == 0 else initial
                    if doubt := _energy_doubt(energy, settings.calculator, floor):
                        return end("unbelievable", doubt)
                    if converged and fmax == settings.fmax:
                        return end("converged")
                    if floor is not None and energy - floor > thresholds.get(n_steps, np.inf):
                        return end("aborted", f"{energy - floor:.3f} eV/atom above the hull after {n_steps} steps")
                    if time.process_time() - started > settings.max_seconds:
                        return end("time limit", f"not converged within {settings.max_seconds:g} s of CPU time")
                    lowest = min(lowest, energy)
                    if method is LBFGS and energy > lowest + CLIMB:
                        break
            force = float(np.linalg.norm(watched.get_forces(), axis=1).max())
            return end("step limit", f"largest force {force:.2g} eV/Å after {n_steps} steps")
    except _Unbelievable as doubtful:
        return end("unbelievable", f"after step {n_steps}: {doubtful}")
    except _EXPECTED as error:
        return end("failed", f"{type(error).__name__} after step {n_steps}: {_first_line(error)}")


def _cell_doubt(atoms: Atoms, start_volume: float | None) -> str | None:
    """Why no crystal looks like this, or None."""
    lattice, frac_coords = np.array(atoms.cell), atoms.get_scaled_positions(wrap=False)
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all()):
        return "cell or coordinates are not finite"
    volume = abs(float(np.linalg.det(lattice)))
    low, high = VOLUME_PER_ATOM
    if not low <= volume / len(atoms) <= high:
        return f"volume of {volume / len(atoms):.3g} Å³ per atom, outside {low:g} to {high:g}"
    if start_volume is not None and not 1 / MAX_VOLUME_CHANGE <= volume / start_volume <= MAX_VOLUME_CHANGE:
        return f"volume {volume / start_volume:.2f} times that of the start"
    tensors = torch.tensor(lattice)[None], torch.tensor(frac_coords), torch.tensor([len(atoms)])
    if not bool(searchable_cells(*tensors, _SEARCH_RADIUS).all()):
        return "the cell is too flat to search for neighbours"
    if len(neighbor_list(*tensors, MIN_DISTANCE)[0]):
        return f"atoms closer than {MIN_DISTANCE} Å"
    return None


def _energy_doubt(energy: float, calculator: str, floor: float | None) -> str | None:
    """Why no crystal has this energy, or None."""
    low, high = ENERGY_RANGE.get(calculator, (-np.inf, np.inf))
    if not low <= energy <= high:
        return f"energy of {energy:.2f} eV/atom, outside {low:g} to {high:g}"
    if floor is not None and energy < floor - MAX_BELOW_HULL:
        return f"{floor - energy:.2f} eV/atom below the hull of the known phases"
    return None


def _perturb(structure: Structure, rng: np.random.Generator) -> Structure:
    """Every atom moved by the same distance in a random direction, the cell strained a little."""
    moves = rng.normal(size=(len(structure), 3))
    moves *= _PERTURBATION / np.linalg.norm(moves, axis=1, keepdims=True)
    strain = rng.normal(scale=_STRAIN, size=(3, 3))
    matrix = (structure.lattice.matrix) @ (np.eye(3) + (strain + strain.T) / 2)
    frac_coords = structure.frac_coords + moves @ np.linalg.inv(structure.lattice.matrix)
    return Structure(Lattice(matrix), structure.species, frac_coords)


def _to_atoms(structure: Structure) -> Atoms:
    return Atoms(
        numbers=[site.specie.Z for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def _to_structure(atoms: Atoms) -> Structure:
    return Structure(
        Lattice(np.array(atoms.cell)), atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0][:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Other packages' warnings about odd cells; the outcome is judged anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
