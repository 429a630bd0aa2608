"""One row for every input: the verdicts that need no comparison, and which inputs may be relaxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.filter import charge_neutral
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.crystals.validity import strict_validity

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_RELAXED_ATOMS = 200
"""Larger crystals are not relaxed: one of 400 atoms takes longer than a hundred of the usual size."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """All verdicts on one input: a row of ``structures.csv``, whose columns are in `crystalgraph.io.columns`.

    None stands for "not judged". The words are defined in `crystalgraph.evaluation.metrics`.
    """

    name: str
    formula: str = ""
    num_atoms: int | None = None
    in_system: bool | None = None
    cdvae_valid: bool = False
    strictly_valid: bool = False
    charge_neutral: bool | None = None
    min_reduced_distance: float = nan
    density: float = nan
    volume_per_atom: float = nan
    space_group: int | None = None
    unique: bool | None = None
    copy_of: str = ""
    novel: bool | None = None
    known_phase: str = ""
    new: bool | None = None
    training_crystal: str = ""
    relax_status: str = ""
    n_steps: int | None = None
    energy_unrelaxed: float = nan
    energy: float = nan
    e_above_hull: float = nan
    stable: bool | None = None
    metastable: bool | None = None
    rmsd: float | None = None
    relaxed_volume_per_atom: float = nan
    relaxed_space_group: int | None = None
    relaxed_unique: bool | None = None
    relaxed_copy_of: str = ""
    relaxed_novel: bool | None = None
    relaxed_known_phase: str = ""
    relaxed_new: bool | None = None
    relaxed_training_crystal: str = ""
    sun: bool | None = None
    msun: bool | None = None
    reason: str = ""
    file: str = ""


COLUMNS = tuple(field.name for field in fields(Row))
"""Header of ``structures.csv``."""


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What can be said of each input without comparing it with another.

    Attributes:
        table: the inputs.
        system: what they should consist of.
        rows: one for each input, in the order of the table, filled as far as no comparison is needed; the judge fills
            in the rest of a copy.
        formulas: of each crystal, by id.
    """

    table: CrystalTable
    system: ChemicalSystem
    rows: dict[str, dict[str, Any]]
    formulas: dict[str, Formula]

    @property
    def eligible(self) -> list[str]:
        """Inputs that may be relaxed.

        Read, made of elements of the system, strictly valid, and of at most 200 atoms. Copies and known phases are
        eligible: nothing but validity may decide, so that rates can be carried over to all.
        """
        return [name for name, row in self.rows.items() if not row["reason"]]

    @property
    def comparable(self) -> list[str]:
        """Inputs that are compared with others: strictly valid and made of elements of the system."""
        return [name for name, row in self.rows.items() if row["strictly_valid"] and row["in_system"]]

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The crystals by id."""
        return dict(zip(self.table.ids, self.table.structures, strict=True))


def first_verdicts(table: CrystalTable, system: ChemicalSystem) -> Verdicts:
    """Judge each input by itself.

    Args:
        table: crystals, and the reason for each that could not be read.
        system: what they should consist of.
    """
    empty = {field.name: field.default for field in fields(Row) if field.name != "name"}
    rows = {name: {"name": name, **empty, "reason": table.failures.get(name, "")} for name in table.order}
    crystals = table.crystals
    validity = strict_validity(crystals)
    in_system = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    atoms = crystals.atomic_numbers.split(crystals.num_atoms.tolist())
    formulas = {
        name: Formula.from_atomic_numbers(numbers.tolist()) for name, numbers in zip(table.ids, atoms, strict=True)
    }
    for k, (name, formula) in enumerate(formulas.items()):
        num_atoms, reason = int(crystals.num_atoms[k]), validity.reasons[k]
        if not in_system[k]:
            foreign = [symbol for symbol, _ in formula.counts if symbol not in system.elements]
            outside = f"outside the system {system}: {', '.join(foreign)} has no reference"
            reason = f"{outside}; {reason}" if reason else outside
        elif not reason and num_atoms > MAX_RELAXED_ATOMS:
            reason = f"not relaxed: {num_atoms} atoms, at most {MAX_RELAXED_ATOMS} are"
        rows[name].update(
            formula=str(formula),
            num_atoms=num_atoms,
            in_system=bool(in_system[k]),
            cdvae_valid=bool(validity.cdvae_valid[k]),
            strictly_valid=bool(validity.valid[k]),
            charge_neutral=charge_neutral(formula),
            min_reduced_distance=float(validity.min_reduced_distance[k]),
            density=float(validity.density[k]),
            volume_per_atom=float(validity.volume_per_atom[k]),
            reason=reason,
        )
    return Verdicts(table=table, system=system, rows=rows, formulas=formulas)


def pick(names: Sequence[str], k: int, how: str, seed: int) -> list[str]:
    """Choose what is relaxed, in input order.

    Args:
        names: the eligible inputs.
        k: how many; all of them if there are fewer.
        how: "random", so that rates hold for all, or "first", as for a ranked list.
        seed: of the random choice.
    """
    if how == "first":
        return list(names[:k])
    chosen = np.random.default_rng(seed).permutation(len(names))[:k]
    return [names[position] for position in sorted(chosen.tolist())]
