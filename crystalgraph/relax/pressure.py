"""Hydrostatic pressure: which can be asked for, and the work against it that turns an energy into an enthalpy."""

from __future__ import annotations

from ase.units import GPa

from crystalgraph.errors import InputError

PRESSURES = (-10.0, 150.0)
"""GPa. Above, no universal potential was compared with DFT (A. Loew et al., "Universal machine learning potentials
under pressure", 2025, went to 150 GPa, and found errors that grow with pressure); below, most crystals tear."""


def check_pressure(pressure: float) -> None:
    """Refuse a pressure at which no potential was ever looked at.

    Args:
        pressure: GPa.

    Raises:
        InputError: if it is outside `PRESSURES` or no number.
    """
    low, high = PRESSURES
    if not low <= pressure <= high:
        raise InputError(
            f"pressure {pressure:g} GPa is not in {low:g} to {high:g}; beyond, no potential was compared with DFT, and "
            "under more tension crystals tear"
        )


def work(pressure: float, volume: float, n_atoms: int) -> float:
    """What is added to the energy to make it the enthalpy, pV.

    Args:
        pressure: GPa.
        volume: of the cell, Å³.
        n_atoms: in the cell.

    Returns:
        eV/atom.
    """
    return pressure * GPa * volume / n_atoms
