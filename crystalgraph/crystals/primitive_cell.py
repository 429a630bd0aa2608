"""Primitive cells by pymatgen, which is not asked where no translation can make the cell smaller.

Its search looks for translations among the atoms of the rarest species that put every atom near one of its own; most
crystals have none, which a comparison of all differences at once tells in a tenth of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCE = 0.25
"""Å, along each axis: pymatgen's own."""

_MARGIN = 1e-6
"""Relative: rounding never decides that there is no translation."""


def primitive_cell(structure: Structure) -> Structure:
    """What ``structure.get_primitive_structure()`` gives; the structure itself where it is primitive."""
    numbers = np.array(structure.atomic_numbers)
    if may_have_translation(structure.frac_coords, numbers, np.array(structure.lattice.abc)):
        return structure.get_primitive_structure(TOLERANCE)
    return structure


def may_have_translation(
    frac_coords: NDArray[np.float64], atomic_numbers: NDArray[np.int64], lengths: NDArray[np.float64]
) -> bool:
    """Whether pymatgen may find a translation within a cell; never False where it does.

    Args:
        frac_coords: (n, 3).
        atomic_numbers: (n,).
        lengths: of the cell's vectors, (3,), Å.
    """
    groups = [frac_coords[atomic_numbers == number] for number in np.unique(atomic_numbers)]
    rarest = min(groups, key=len)
    tolerance = (1 + _MARGIN) * TOLERANCE / lengths
    if len(rarest) > 1 and len(rarest) * tolerance.max() >= 1:  # an axis in so many parts is within the tolerance
        return True
    translations = rarest[1:] - rarest[0]
    for group in groups:
        differences = group[None, None] - group[None, :, None] - translations[:, None, None]
        differences -= differences.round()
        meets = (np.abs(differences) <= 2 * tolerance).all(-1).any(-1).all(-1)
        translations = translations[meets]
    return len(translations) > 0
