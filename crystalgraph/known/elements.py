"""Crystals of the elements that no dataset has a crystal of, for potentials on a scale of their own.

Lattice parameters of technetium, promethium and dysprosium are experimental ones at room temperature (hcp and double
hcp, `CRC Handbook of Chemistry and Physics`). Fluorine is given chlorine's molecular crystal, shrunk, to be relaxed:
what holds the molecules together there is a few hundredths of an eV/atom.
"""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases

_HCP = {"Tc": (2.735, 4.388), "Dy": (3.592, 5.650)}  # Å
_DOUBLE_HCP = {"Pm": (3.65, 11.65)}  # Å
_FLUORINE_VOLUME = 0.5  # of chlorine's

WITHOUT_CRYSTAL = ("F", *_HCP, *_DOUBLE_HCP)
"""Elements up to uranium that have no crystal in the datasets, but one that is known."""


def textbook_crystal(element: str) -> CrystalTable:
    """A crystal of one of `WITHOUT_CRYSTAL`, as a table of one.

    Args:
        element: symbol.
    """
    return load({f"{element} (textbook)": _structure(element)})


def _structure(element: str) -> Structure:
    if element in _HCP:
        return Structure.from_spacegroup(194, Lattice.hexagonal(*_HCP[element]), [element], [[1 / 3, 2 / 3, 1 / 4]])
    if element in _DOUBLE_HCP:
        lattice = Lattice.hexagonal(*_DOUBLE_HCP[element])
        return Structure.from_spacegroup(194, lattice, [element] * 2, [[0, 0, 0], [1 / 3, 2 / 3, 1 / 4]])
    chlorine = known_phases("Cl")
    lowest = chlorine.columns["dft_e_above_hull"].astype(float).argmin()
    crystal = chlorine.structures[int(lowest)].copy()
    crystal.replace_species({"Cl": element})
    return crystal.scale_lattice(crystal.volume * _FLUORINE_VOLUME)
