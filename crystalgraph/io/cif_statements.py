"""What a CIF states about its crystal besides cell, operations and sites: formula, Z, multiplicities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pymatgen.core import Composition

from crystalgraph.chemistry.system import Formula

Tags: TypeAlias = "dict[str, list[str]]"
"""The values of a block by lower-case tag, with underscores for dots; what is ``?`` or ``.`` is empty."""

#: Most that the part of an element may differ from the stated formula's.
_TOLERANCE = 0.005


@dataclass(frozen=True, kw_only=True)
class Statements:
    """Statements that a reading must agree with.

    Attributes:
        formula: as it is written, empty where it is not.
        composition: atoms of the formula, None where it is not stated or cannot be understood.
        structural: atoms of the formula that Z counts where it is not the former's.
        units: Z, formula units in the cell.
        multiplicities: of the sites, in order; empty where they are not stated.
    """

    formula: str
    composition: Composition | None
    structural: Composition | None
    units: int | None
    multiplicities: tuple[str, ...]

    @classmethod
    def of(cls, tags: Tags) -> Statements:
        """The statements of a block."""
        units = _first(tags, "_cell_formula_units_z")
        formula = _first(tags, "_chemical_formula_sum")
        return cls(
            formula=formula,
            composition=_composition(formula),
            structural=_composition(_first(tags, "_chemical_formula_structural")),
            units=int(units) if re.fullmatch(r"[1-9]\d{0,5}", units) else None,
            multiplicities=tuple(tags.get("_atom_site_symmetry_multiplicity", ())),
        )

    @property
    def is_complete(self) -> bool:
        """Whether they fix the number of atoms."""
        return self.composition is not None and self.units is not None

    def fault(self, counts: Mapping[str, float]) -> str | None:
        """How a reading with these atoms in the cell contradicts them, or None."""
        found = Composition(dict(counts))
        if self.composition is None:
            if self.units is None or _largest_units(counts) % self.units == 0:
                return None
            return f"the atoms are {found.formula} but Z is {self.units}"
        parts = self.composition.fractional_composition
        if not parts.almost_equals(found.fractional_composition, rtol=0, atol=_TOLERANCE):
            return f"the atoms are {found.formula} but the formula is {self.formula}"
        if self.units is None or any(abs(found.num_atoms - n) <= _TOLERANCE * n for n in self._sizes(self.units)):
            return None
        return f"the atoms are {found.formula} but the formula is {self.formula} and Z is {self.units}"

    def _sizes(self, units: int) -> list[float]:
        """Atoms in the cell that formula and Z may mean; some programs write the formula of the whole cell."""
        formula = self.composition or Composition()
        sizes = [units * formula.num_atoms]
        if all(count % units == 0 for count in formula.values()):
            sizes.append(formula.num_atoms)
        if self.structural is not None:
            sizes.append(units * self.structural.num_atoms)
        return sizes

    def has_exact_units(self, counts: Mapping[str, float], _: Sequence[int]) -> bool:
        """Whether Z alone, without a formula, is the number of units of the smallest formula."""
        return self.composition is None and self.units == _largest_units(counts)

    def has_multiplicities(self, _: Mapping[str, float], multiplicities: Sequence[int]) -> bool:
        """Whether the sites have the stated multiplicities; programs disagree on what they mean, so none must."""
        return self.multiplicities == tuple(str(number) for number in multiplicities)


def _largest_units(counts: Mapping[str, float]) -> int:
    """How many units of the reduced formula these atoms are."""
    atoms = {symbol: round(count) for symbol, count in counts.items()}
    return sum(atoms.values()) // Formula.from_counts(atoms).num_atoms


def _first(tags: Tags, tag: str) -> str:
    return tags.get(tag, [""])[0]


def _composition(formula: str) -> Composition | None:
    """The formula; deuterium and tritium count as hydrogen."""
    try:
        composition = Composition(re.sub(r"\b[DT](?=[\d\s]|$)", "H", formula.strip()))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return composition if composition.num_atoms > 0 else None
