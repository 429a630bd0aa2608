"""A cell that is known beforehand, as from the indexing of a powder pattern, and which crystals have it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Lattice

from crystalgraph.crystals.standard_cell import standard_cell
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

LENGTH_TOLERANCE, ANGLE_TOLERANCE = 0.05, 3.0
"""Share of a length, and degrees, that a crystal's cell may be off: as far as drawn cells are from relaxed ones."""

VOLUME_PER_ATOM = (4.0, 120.0)
"""Å³; known crystals lie between."""

LARGEST_CENTRING = 4
"""Primitive cells in a conventional one, at most."""


@dataclass(frozen=True, kw_only=True)
class IndexedCell:
    """A primitive or conventional cell.

    Attributes:
        lengths: a, b, c, Å.
        angles: α, β, γ, degrees.

    Raises:
        InputError: if there is no such cell.
    """

    lengths: tuple[float, float, float]
    angles: tuple[float, float, float]

    def __post_init__(self) -> None:
        with np.errstate(invalid="ignore"):
            cosines = np.cos(np.radians(self.angles))
            squared = 1 - (cosines**2).sum() + 2 * cosines.prod()  # of the volume, over that of a box
        if not (
            all(0.5 <= a <= 200 for a in self.lengths) and all(10 < a < 170 for a in self.angles) and squared > 1e-4
        ):
            raise InputError(
                f"cell {self} is none; give lengths of 0.5 to 200 Å, and angles of 10 to 170° that close a cell"
            )

    @classmethod
    def parse(cls, text: str) -> IndexedCell:
        """Read "4.94,4.94,2.97,90,90,90": a, b, c, α, β, γ, separated by commas or blanks.

        Raises:
            InputError: if the text cannot be read, or there is no such cell.
        """
        try:
            a, b, c, alpha, beta, gamma = map(float, re.split(r"[\s,;]+", text.strip()))
        except ValueError:
            raise InputError(
                f"cell {text!r} cannot be read; write a,b,c,alpha,beta,gamma in Å and degrees: 4.94,4.94,2.97,90,90,90"
            ) from None
        return cls(lengths=(a, b, c), angles=(alpha, beta, gamma))

    def __str__(self) -> str:
        return ",".join(f"{number:g}" for number in (*self.lengths, *self.angles))

    def check(self, what: str, n_unit: int, max_atoms: int) -> None:
        """Refuse a cell that no crystal of a request can have.

        Args:
            what: formula or system, as a user is to read it.
            n_unit: atoms of which the cell holds a multiple.
            max_atoms: in the primitive cell.

        Raises:
            InputError: if it is too small or too large.
        """
        volume, (low, high) = self._lattice.volume, VOLUME_PER_ATOM
        if volume < low * n_unit:
            raise InputError(
                f"cell {self} of {volume:.1f} Å³ cannot hold {what}: {n_unit} atoms need {low * n_unit:g} Å³"
            )
        if volume > high * max_atoms * LARGEST_CENTRING:
            raise InputError(
                f"cell {self} of {volume:.0f} Å³ is too large for {max_atoms} atoms in the primitive cell; raise "
                "--max-atoms"
            )

    def is_cell_of(self, structure: Structure) -> bool:
        """Whether a crystal's primitive or conventional cell is this one within the tolerances, in any setting.

        Args:
            structure: in a primitive cell.
        """
        standard = standard_cell(structure)
        cells = [structure.lattice, *([] if standard is None else [standard.conventional.lattice])]
        return any(self._is_like(lattice) for lattice in cells)

    def _is_like(self, lattice: Lattice) -> bool:
        wanted, low = self._lattice, 1 - LENGTH_TOLERANCE
        if not low**3 <= lattice.volume / wanted.volume <= low**-3:
            return False
        mappings = lattice.find_all_mappings(wanted, LENGTH_TOLERANCE, ANGLE_TOLERANCE, skip_rotation_matrix=True)
        return any(round(abs(float(np.linalg.det(supercell)))) == 1 for *_, supercell in mappings)

    @property
    def _lattice(self) -> Lattice:
        return Lattice.from_parameters(*self.lengths, *self.angles)
