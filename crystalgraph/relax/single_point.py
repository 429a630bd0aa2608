"""What a calculator says of one crystal as it is: its energy, or the energy and how it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isfinite, nan
from typing import TYPE_CHECKING

import numpy as np

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.relax.atoms import EXPECTED_ERRORS, quiet, to_atoms
from crystalgraph.relax.belief import cell_doubt
from crystalgraph.relax.relaxation import Derivatives

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure


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
        energy = float(atoms.get_potential_energy()) / len(atoms)
        finite = isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()
        return Derivatives(energy=energy, forces=forces, stress=stress) if finite else None
    return None


@contextmanager
def _atoms_as_they_are(structure: Structure, calculator: Calculator) -> Iterator[Atoms | None]:
    """Atoms with the calculator, or None if the cell is not believable; ends the block where there is no answer."""
    if structure_fault(structure) is not None:
        yield None
        return
    atoms = to_atoms(structure)
    if cell_doubt(atoms, None) is not None:
        yield None
        return
    calculator.reset()  # ASE takes atoms that agree to 1e-15 for the last ones, whoever these were
    atoms.calc = calculator
    with suppress(*EXPECTED_ERRORS), quiet():
        yield atoms
