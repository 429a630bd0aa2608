"""Crystals as ASE has them, at the hands of a calculator whose failures are answers."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from pymatgen.core import Lattice, Structure

EXPECTED_ERRORS = (ValueError, ArithmeticError, IndexError, RuntimeError, MemoryError)
"""What calculators raise where they have no answer; NotImplementedError is a RuntimeError."""


def to_atoms(structure: Structure) -> Atoms:
    """An ordered structure for ASE, periodic in all directions."""
    return Atoms(
        numbers=[site.specie.Z for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def to_structure(atoms: Atoms) -> Structure:
    """Back again; coordinates are not wrapped into the cell."""
    return Structure(
        Lattice(np.array(atoms.cell)), atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)
    )


def check_elements(atoms: Atoms, learned: Collection[int], label: str) -> None:
    """See that a potential knows all elements of a crystal.

    Args:
        atoms: the crystal.
        learned: atomic numbers that the potential knows.
        label: name of the potential.

    Raises:
        ValueError: naming the elements that it does not know.
    """
    if unknown := sorted(set(atoms.get_atomic_numbers().tolist()) - set(learned)):
        raise ValueError(f"{label} has not learned {', '.join(chemical_symbols[z] for z in unknown)}")


@contextmanager
def quiet() -> Iterator[None]:
    """Other packages' warnings about odd cells; the outcome is judged anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
