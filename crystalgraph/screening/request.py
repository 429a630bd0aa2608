"""What a user asks for, checked before any work is done."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crystalgraph.chemistry.filter import CompositionFilter, StoichiometricRange
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.space_group_symbols import group_symbol
from crystalgraph.crystals.space_group_symbols import space_group_number as space_group_number_of
from crystalgraph.errors import InputError
from crystalgraph.screening.constraints import MAX_ATOMS, NO_CONSTRAINTS, Constraints, larger_cells

DEFAULT_SYSTEM = "Nb-O"

USUAL_MAX_ATOMS = 20
"""Largest primitive cell where nobody says how large; a formula that names a larger cell gets that."""

USUAL_NUM, SELECTED_PER_RELAXATION = 100, 3
"""Crystals to select where nobody says how many: in all, and for each relaxation; a good third of them is relaxed."""

MAX_NUM = 1_000_000
TEMPERATURES = 0.1, 10.0
MAX_REFINE = 1000
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What crystals are wanted.

    Attributes:
        system: every crystal has exactly these elements.
        formula: every crystal has this formula.
        ranges: bounds on ratios and fractions of elements that every crystal keeps.
        space_group_number: every crystal has this group, 1 to 230.
        supergroups: whether it may have a supergroup of it instead.
        max_atoms: most atoms in the primitive cell.
        num: distinct crystals to select; samples to draw if ``raw``.
        raw: select every sample as the generator makes it, in draw order, whatever its verdicts.
        seed: of all random numbers, 0 to 2⁶³ − 1.
        temperature: of the choice of templates, 0.1 to 10: below 1 likely ones come even earlier, above 1 later.
        explore: share of the draws that go to templates which no crystal learned from has, 0 to 1.
        fast: draw each crystal in one go instead of in several passes and choosing the best of several.
        refine: steps of surrogate relaxation that each crystal takes in the energy that the model has learned; None: as
            many as usual, none if ``fast``, or if the model has learned no energies.
        constraints: what else each crystal must keep to; not for ``raw``.

    Raises:
        InputError: if a value is not allowed, or values contradict each other.
    """

    system: ChemicalSystem
    formula: Formula | None = None
    ranges: tuple[StoichiometricRange, ...] = ()
    space_group_number: int | None = None
    supergroups: bool = False
    max_atoms: int = USUAL_MAX_ATOMS
    num: int = USUAL_NUM
    raw: bool = False
    seed: int = 0
    temperature: float = 1.0
    explore: float = 0.0
    fast: bool = False
    refine: int | None = None
    constraints: Constraints = NO_CONSTRAINTS

    def __post_init__(self) -> None:
        CompositionFilter(system=self.system, formula=self.formula, ranges=self.ranges)  # refuses contradictions
        if self.space_group_number is not None:
            _check("space group", self.space_group_number, 1, 230, "choose one of the 230 groups")
        elif self.supergroups:
            raise InputError("supergroups of what? name a space group, or leave supergroups out")
        _check("number of crystals", self.num, 1, MAX_NUM, "ask for at least one")
        _check("seed", self.seed, 0, MAX_SEED, "choose another")
        _check("temperature", self.temperature, *TEMPERATURES, "1 draws templates as often as they are likely")
        _check("explore", self.explore, 0, 1, "it is a share: 0.5 gives half of the draws to templates never seen")
        if self.refine is not None:
            _check("surrogate relaxation steps", self.refine, 0, MAX_REFINE, "0 leaves crystals as drawn, 20 are usual")
        _check("largest cell", self.max_atoms, 1, MAX_ATOMS, "set --max-atoms inside this range")
        self.constraints.check(self.system, self.formula, self.max_atoms)
        if self.raw and self.constraints != NO_CONSTRAINTS:
            raise InputError(f"a raw run drops nothing; leave out {', '.join(self.constraints.as_texts)}")
        if self.space_group_number in self.constraints.excluded_groups:
            raise InputError(f"space group {self.space_group_number} is requested and excluded; leave one of both out")
        smallest = self.formula.num_atoms if self.formula else len(self.system)
        if smallest > self.max_atoms:
            raise InputError(
                f"{self.formula or self.system} needs at least {smallest} atoms in a cell, but at most "
                f"{self.max_atoms} are allowed; {larger_cells(smallest)}"
            )

    @classmethod
    def parse(
        cls,
        *,
        system: str | None = None,
        formula: str | None = None,
        ranges: Sequence[str] = (),
        space_group_number: int | str | None = None,
        constraints: Constraints | Mapping[str, Any] | None = None,
        **others: Any,
    ) -> GenerationRequest:
        """Read system, formula, ranges, space group and constraints as a user writes them.

        Args:
            system: such as "Nb-O"; None stands for the elements of the formula, and for Nb-O where there is none.
            formula: such as "Nb2O5"; a multiple, such as "Li4Nb4O12", asks for a primitive cell with these atoms.
            ranges: such as "O/Nb=1.5:2.5" or "O=0.6:0.75".
            space_group_number: a number, or a Hermann-Mauguin symbol such as "R-3c".
            constraints: what `Constraints.parse` takes, by name.
            **others: the other attributes.

        Raises:
            InputError: if a text cannot be read, the formula is not one of the system, or a value is not allowed.
        """
        if system is None and formula is not None:
            read = Formula.parse(formula).system
        else:
            read = ChemicalSystem.parse(DEFAULT_SYSTEM if system is None else system)
        bounds = constraints if isinstance(constraints, Constraints) else Constraints.parse(**constraints or {})
        asked = None if formula is None else read.formula(formula)
        if formula is not None and asked is not None and (units := Formula.units(formula)) > 1:
            if bounds.formula_units not in (None, units):
                raise InputError(f"{formula} has {units} formula units, not {bounds.formula_units}; leave one out")
            bounds = replace(bounds, formula_units=units)
            others.setdefault("max_atoms", min(max(USUAL_MAX_ATOMS, units * asked.num_atoms), MAX_ATOMS))
        return cls(
            system=read,
            formula=asked,
            ranges=tuple(StoichiometricRange.parse(text) for text in ranges),
            space_group_number=None if space_group_number is None else space_group_number_of(space_group_number),
            constraints=bounds,
            **others,
        )

    @property
    def formula_counts(self) -> dict[int, int] | None:
        """Atomic number -> atoms per formula unit, where a formula is asked for."""
        if self.formula is None:
            return None
        return dict(zip(self.formula.atomic_numbers, (count for _, count in self.formula.counts), strict=True))

    @property
    def num_atoms(self) -> int | None:
        """Atoms in the primitive cell where the request says how many, else None."""
        if self.constraints.num_atoms is not None or self.formula is None or self.constraints.formula_units is None:
            return self.constraints.num_atoms
        return self.constraints.formula_units * self.formula.num_atoms

    @property
    def slug(self) -> str:
        """What is asked for as a folder name: ``Nb2O5-sg15-n20-seed0``."""
        parts = [
            str(self.formula or self.system),
            "" if self.space_group_number is None else f"sg{self.space_group_number}{'+' * self.supergroups}",
            f"{'raw' if self.raw else 'n'}{self.num}",
            f"seed{self.seed}",
            "" if self.temperature == 1 else f"T{self.temperature:g}",
            "" if self.explore == 0 else f"explore{self.explore:g}",
            "fast" if self.fast else "",
            "" if self.refine is None else f"refine{self.refine}",
            *(re.sub(r"[^\w.-]+", "_", f"{name}_{text}") for name, text in self.constraints.as_texts.items()),
        ]
        return "-".join(part for part in parts if part)

    def __str__(self) -> str:
        number = self.space_group_number
        group = "" if number is None else f" in space group {group_symbol(number)} ({number})"
        group += " or a supergroup" if self.supergroups else ""
        ranges = "".join(f", {_text(bounds)}" for bounds in self.ranges)
        kind = "raw samples" if self.raw else "crystals"
        atoms = f"up to {self.max_atoms} atoms in the primitive cell"
        atoms += "".join(f", {name.replace('_', ' ')} {text}" for name, text in self.constraints.as_texts.items())
        temperature = "" if self.temperature == 1 else f", temperature {self.temperature:g}"
        explore = "" if self.explore == 0 else f", explore {self.explore:g}"
        fast = ", fast" if self.fast else ""
        refine = "" if self.refine is None else f", {self.refine} surrogate relaxation steps"
        asked = f"{self.num} {kind} of {self.formula or self.system}{ranges}{group}"
        return f"{asked}, {atoms}, seed {self.seed}{temperature}{explore}{fast}{refine}"

    def as_record(self) -> dict[str, Any]:
        """The request in JSON's types."""
        return {
            "system": str(self.system),
            "formula": None if self.formula is None else str(self.formula),
            "ranges": [_text(bounds) for bounds in self.ranges],
            "space_group_number": self.space_group_number,
            "supergroups": self.supergroups,
            "max_atoms": self.max_atoms,
            "num": self.num,
            "raw": self.raw,
            "seed": self.seed,
            "temperature": self.temperature,
            "explore": self.explore,
            "fast": self.fast,
            "refine": self.refine,
            "constraints": self.constraints.as_record(),
        }


def usual_num(relax: int | None) -> int:
    """Crystals to select where nobody says how many.

    Args:
        relax: most that are to be relaxed; None for none.

    Raises:
        InputError: if nothing would be relaxed.
    """
    if relax is None:
        return USUAL_NUM
    check_relax(relax)
    return SELECTED_PER_RELAXATION * relax


def check_relax(relax: int) -> None:
    """Refuse to relax nothing.

    Raises:
        InputError: if the number of crystals to relax is below 1.
    """
    if relax < 1:
        raise InputError(f"relax {relax} relaxes nothing; give the most crystals to relax, 1 or more")


def _check(what: str, value: float, lowest: float, highest: float, advice: str) -> None:
    if not lowest <= value <= highest:
        raise InputError(f"{what} {value} is not in {lowest} to {highest}; {advice}")


def _text(bounds: StoichiometricRange) -> str:
    """A range as `StoichiometricRange.parse` reads it."""
    return f"{bounds.element}{f'/{bounds.per}' if bounds.per else ''}={bounds.low:g}:{bounds.high:g}"
