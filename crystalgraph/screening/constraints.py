"""What else a crystal must keep to: the cell, distances, density, volume, and groups that are not wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.space_group_symbols import group_symbol, space_group_number
from crystalgraph.errors import InputError
from crystalgraph.screening.indexed_cell import IndexedCell

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMS = 52
"""Largest primitive cell that can be asked for: the corpus has none that is larger."""

LARGEST_DISTANCE = 10.0
"""Å; no bond is longer, and to look further takes long."""

_PAIR = re.compile(r"\s*([A-Z][a-z]?)\s*-\s*([A-Z][a-z]?)\s*=\s*(\d[\d.]*)\s*")


def larger_cells(num_atoms: int) -> str:
    """What to do where a cell needs so many atoms, more than are allowed, in a few words."""
    if num_atoms <= MAX_ATOMS:
        return f"set --max-atoms {num_atoms} or more"
    return f"cells of more than {MAX_ATOMS} atoms cannot be drawn: ask for fewer"


@dataclass(frozen=True, kw_only=True)
class MinDistance:
    """Atoms of two elements are at least so far apart.

    Attributes:
        elements: symbols, in alphabetical order; both may be the same.
        length: Å, above 0.
    """

    elements: tuple[str, str]
    length: float

    def __str__(self) -> str:
        return f"{'-'.join(self.elements)}={self.length:g}"


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a crystal must keep to beside system, formula and symmetry; the cell is the primitive one, as drawn.

    Attributes:
        num_atoms: atoms in the cell; None leaves that open.
        formula_units: formula units in the cell, Z; None leaves that open.
        min_distances: between atoms of two elements.
        density: least and most, g/cm³.
        volume: least and most, Å³ per atom.
        excluded_groups: numbers of space groups that no crystal may have.
        cell: primitive or conventional, within the tolerances of `crystalgraph.screening.indexed_cell`; None leaves it
            open.

    Raises:
        InputError: if a value is not allowed.
    """

    num_atoms: int | None = None
    formula_units: int | None = None
    min_distances: tuple[MinDistance, ...] = ()
    density: tuple[float, float] = (0.0, inf)
    volume: tuple[float, float] = (0.0, inf)
    excluded_groups: tuple[int, ...] = ()
    cell: IndexedCell | None = None

    def __post_init__(self) -> None:
        for what, number in (("atoms", self.num_atoms), ("formula units", self.formula_units)):
            if number is not None and number < 1:
                raise InputError(f"{number} {what} in the cell make no crystal; give 1 or more")
        for bound in self.min_distances:
            if not 0 < bound.length <= LARGEST_DISTANCE:
                raise InputError(f"distance {bound} is not above 0 and at most {LARGEST_DISTANCE:g} Å; give another")
        for what, (low, high) in (("density", self.density), ("volume", self.volume)):
            if not 0 <= low <= high:
                raise InputError(f"{what} {low:g}:{high:g} is no range; give LEAST:MOST, both 0 or more")

    @classmethod
    def parse(
        cls,
        *,
        num_atoms: int | None = None,
        formula_units: int | None = None,
        min_distances: Sequence[str] = (),
        density: str | None = None,
        volume: str | None = None,
        excluded_groups: Sequence[str | int] = (),
        cell: str | None = None,
    ) -> Constraints:
        """Read what a user writes.

        Distances are "Nb-O=1.8", ranges "4:6" or "4:", groups numbers or symbols, a cell "4.94,4.94,2.97,90,90,90".

        Raises:
            InputError: if a text cannot be read, or a value is not allowed.
        """
        return cls(
            num_atoms=num_atoms,
            formula_units=formula_units,
            min_distances=tuple(_distance(text) for text in min_distances),
            density=_range("density", density),
            volume=_range("volume", volume),
            excluded_groups=tuple(sorted({space_group_number(text) for text in excluded_groups})),
            cell=None if cell is None else IndexedCell.parse(cell),
        )

    def check(self, system: ChemicalSystem, formula: Formula | None, max_atoms: int) -> None:
        """Refuse what no crystal of a request can keep to.

        Raises:
            InputError: if the cell cannot hold the formula, or a distance is between other elements.
        """
        for bound in self.min_distances:
            if strangers := [element for element in bound.elements if element not in system.elements]:
                raise InputError(f"distance {bound} is of {strangers[0]}, and the system is {system}; leave it out")
        unit = formula.num_atoms if formula else None
        num_atoms = self.num_atoms
        if unit and self.formula_units and num_atoms and unit * self.formula_units != num_atoms:
            raise InputError(f"{self.formula_units} × {formula} are {unit * self.formula_units} atoms, not {num_atoms}")
        if unit and num_atoms and num_atoms % unit:
            raise InputError(f"a cell of {num_atoms} atoms cannot hold {formula}; give a multiple of {unit} atoms")
        smallest = num_atoms or (unit or len(system)) * (self.formula_units or 1)
        if smallest > max_atoms:
            raise InputError(f"the cell has at least {smallest} atoms, not {max_atoms}; {larger_cells(smallest)}")
        if self.cell is not None:
            self.cell.check(str(formula or system), smallest, max_atoms)

    def fault(self, structure: Structure) -> str:
        """What a crystal does not keep to, in a few words; empty if there is nothing.

        Args:
            structure: in its primitive cell.
        """
        n_atoms = len(structure)
        if self.num_atoms is not None and n_atoms != self.num_atoms:
            return f"{n_atoms} atoms in the cell"
        units = round(structure.composition.get_reduced_composition_and_factor()[1])
        if self.formula_units is not None and units != self.formula_units:
            return f"{units} formula units in the cell"
        volume, density = structure.volume / n_atoms, float(structure.density)
        if not self.density[0] <= density <= self.density[1]:
            return f"density {density:.2f} g/cm³"
        if not self.volume[0] <= volume <= self.volume[1]:
            return f"volume {volume:.2f} Å³ per atom"
        if self.cell is not None and not self.cell.is_cell_of(structure):
            return f"cell {', '.join(f'{number:.2f}' for number in structure.lattice.parameters)}"
        return self._too_close(structure)

    @property
    def as_texts(self) -> dict[str, str]:
        """Each constraint that there is, by its name, as a user writes it."""
        texts = {
            "num_atoms": "" if self.num_atoms is None else str(self.num_atoms),
            "formula_units": "" if self.formula_units is None else str(self.formula_units),
            "min_distances": ", ".join(map(str, self.min_distances)),
            "density": _text(self.density),
            "volume": _text(self.volume),
            "excluded_groups": ", ".join(group_symbol(number) for number in self.excluded_groups),
            "cell": "" if self.cell is None else str(self.cell),
        }
        return {name: text for name, text in texts.items() if text}

    def as_record(self) -> dict[str, Any]:
        """Each constraint that there is, as `parse` takes it, in JSON's types."""
        record = {
            "num_atoms": self.num_atoms,
            "formula_units": self.formula_units,
            "min_distances": [str(bound) for bound in self.min_distances],
            "density": _text(self.density),
            "volume": _text(self.volume),
            "excluded_groups": list(self.excluded_groups),
            "cell": None if self.cell is None else str(self.cell),
        }
        return {name: value for name, value in record.items() if value}

    def _too_close(self, structure: Structure) -> str:
        if not self.min_distances:
            return ""
        longest = max(bound.length for bound in self.min_distances)
        symbols = [site.specie.symbol for site in structure]
        centres, neighbours, _, lengths = structure.get_neighbor_list(longest)
        for bound in self.min_distances:
            for i, j, length in zip(centres.tolist(), neighbours.tolist(), lengths.tolist(), strict=True):
                if length < bound.length and tuple(sorted((symbols[i], symbols[j]))) == bound.elements:
                    return f"{'-'.join(bound.elements)} {length:.2f} Å apart"
        return ""


NO_CONSTRAINTS = Constraints()
"""What a request has where none are asked for."""


def _distance(text: str) -> MinDistance:
    read = _PAIR.fullmatch(text)
    if read is None or read[3].count(".") > 1:
        raise InputError(f"distance {text!r} cannot be read; write it as Nb-O=1.8, in Å")
    first, second = sorted((read[1], read[2]))
    return MinDistance(elements=(first, second), length=float(read[3]))


def _range(what: str, text: str | None) -> tuple[float, float]:
    if text is None:
        return 0.0, inf
    low, colon, high = text.partition(":")
    try:
        bounds = float(low or 0), float(high or inf)
    except ValueError:
        bounds = inf, 0.0
    if not colon or not bounds[0] <= bounds[1]:
        raise InputError(f"{what} {text!r} cannot be read; write LEAST:MOST, such as 4:6, 4: or :6")
    return bounds


def _text(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return "" if (low, high) == (0, inf) else f"{low:g}:{f'{high:g}' if isfinite(high) else ''}"
