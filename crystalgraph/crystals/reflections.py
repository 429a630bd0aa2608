"""X-ray powder reflections of a crystal, in a form that holds for any wavelength; the page gets the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

WAVELENGTH, TWO_THETA = "CuKa", (3.0, 100.0)
"""Radiation and range (degrees) that say which powder reflections are taken."""

MIN_INTENSITY = 0.3
"""Percent of the strongest with that radiation; weaker reflections are left out."""

RADIATIONS = {
    "Cu Kα": "CuKa",
    "Cu Kα1": "CuKa1",
    "Co Kα": "CoKa",
    "Cr Kα": "CrKa",
    "Fe Kα": "FeKa",
    "Mo Kα": "MoKa",
    "Ag Kα": "AgKa",
}
"""Radiations that a pattern can be shown for -> what pymatgen calls them."""

USUAL_RADIATION = "Cu Kα"
"""Where nobody says which."""

WAVELENGTHS = (0.1, 5.0)
"""Å, of any other radiation."""

HEAVIEST_SCATTERER = 98
"""Californium, the last element that pymatgen has scattering coefficients of."""


def radiations() -> list[tuple[str, float]]:
    """Name and wavelength (Å) of the radiations that a pattern can be shown for."""
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

    return [(name, float(WAVELENGTHS[key])) for name, key in RADIATIONS.items()]


def reflections(structure: Structure, matrix: NDArray[np.int64]) -> list[list[Any]] | None:
    """X-ray powder reflections, as pymatgen computes them: a perfect crystal at rest, without texture.

    Args:
        structure: ordered structure.
        matrix: that leads to the cell the indices refer to, see `crystalgraph.report.drawing.conventional`.

    Returns:
        Of each reflection that has at least ``MIN_INTENSITY`` with ``WAVELENGTH``: 1/d (1/Å), multiplicity times
        squared structure factor (the largest is 1000), and the Miller indices of one of its planes. The Lorentz and
        polarisation factor, which depends on the wavelength, is not in it. None where it is not known how an element
        scatters.
    """
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    if max(structure.atomic_numbers) > HEAVIEST_SCATTERER:
        return None
    pattern = XRDCalculator(WAVELENGTH).get_pattern(structure, scaled=False, two_theta_range=TWO_THETA)
    if not len(pattern.x):
        return []
    theta = np.radians(np.asarray(pattern.x) / 2)
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = np.asarray(pattern.y)
    strength = intensity / lorentz
    lines: list[list[Any]] = []
    for k in np.flatnonzero(intensity >= MIN_INTENSITY / 100 * intensity.max()).tolist():
        index = pattern.hkls[k][0]["hkl"]
        miller = matrix @ np.array([index[0], index[1], index[-1]])  # hexagonal ones have four
        relative = float(f"{1000 * strength[k] / strength.max():.4g}")
        lines.append([round(1 / float(pattern.d_hkls[k]), 5), relative, " ".join(map(str, miller))])
    return lines


def wavelength_of(radiation: str) -> float:
    """The wavelength of a radiation, Å.

    Args:
        radiation: one of ``RADIATIONS``, also as "CuKa" or "Cu K-alpha", or a wavelength in Å within ``WAVELENGTHS``.

    Raises:
        InputError: if it is neither.
    """
    plain = re.sub(r"[^a-z0-9.]", "", radiation.lower().replace("alpha", "a").replace("α", "a"))
    named = {re.sub(r"\s", "", name.lower().replace("α", "a")): wavelength for name, wavelength in radiations()}
    if plain in named:
        return named[plain]
    low, high = WAVELENGTHS
    try:
        wavelength = float(radiation)
    except ValueError:
        wavelength = 0.0
    if not low <= wavelength <= high:
        raise InputError(
            f"radiation {radiation!r} is none of {', '.join(RADIATIONS)}, and no wavelength from {low:g} to {high:g} Å"
        )
    return wavelength
