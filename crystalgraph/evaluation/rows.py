"""One row for every input: the verdicts that need no comparison, and which inputs may be relaxed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.filter import charge_neutral
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.validity import strict_validity

if TYPE_CHECKING:
    from pymatgen.core import Structure

Inputs = Mapping[str, "Structure | str"]
"""Name -> crystal, or the reason why there is none, in input order."""

MAX_RELAXED_ATOMS = 200
"""Larger crystals are not relaxed: one of 400 atoms takes longer than a hundred of the usual size."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """All verdicts on one input; the columns of ``structures.csv``. None stands for "not judged".

    The words are defined in `crystalgraph.evaluation.judge`.

    Attributes:
        name: of the input.
        formula: reduced.
        num_atoms: as given.
        in_system: whether all its elements belong to the system.
        valid_cdvae: as defined there.
        valid_strict: as defined there.
        charge_neutral: as defined there.
        min_reduced_distance: shortest distance over the sum of covalent radii.
        density: g/cm³.
        volume_per_atom: Å³.
        space_group: number found with 0.1 Å; None where none is found.
        unique: whether it is the first of its equals.
        copy_of: name of the input it is equal to.
        novel: whether it equals no known phase.
        known_phase: the one it equals.
        new: whether it is novel and equals no crystal learned from.
        training_crystal: the one it equals.
        relaxation: how its relaxation ended; empty where it was not relaxed.
        n_steps: of the relaxation.
        initial_energy: eV/atom.
        energy: eV/atom after relaxation.
        e_above_hull: eV/atom.
        stable: e_above_hull <= 0.
        metastable: e_above_hull <= 0.1 eV/atom.
        rmsd: Å from given to relaxed; None where the two do not match.
        relaxed_volume_per_atom: Å³.
        relaxed_space_group: as ``space_group``.
        relaxed_unique: whether it is the lowest in energy of its equals.
        relaxed_copy_of: name of the lowest.
        relaxed_novel: as ``novel``.
        relaxed_known_phase: as ``known_phase``.
        relaxed_new: as ``new``.
        relaxed_training_crystal: as ``training_crystal``.
        sun: stable, unique and novel, all after relaxation.
        msun: metastable, unique and novel, all after relaxation.
        reason: why it is not judged further; empty where nothing is wrong.
        relaxed_file: name of its files after relaxation, without ending.
    """

    name: str
    formula: str = ""
    num_atoms: int | None = None
    in_system: bool | None = None
    valid_cdvae: bool = False
    valid_strict: bool = False
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
    relaxation: str = ""
    n_steps: int | None = None
    initial_energy: float = nan
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
    relaxed_file: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


def first_verdicts(inputs: Inputs, system: ChemicalSystem) -> tuple[list[dict[str, Any]], dict[str, Formula]]:
    """Rows, as dictionaries, filled as far as no comparison is needed; and the formula of each crystal."""
    empty = {field.name: field.default for field in fields(Row) if field.name != "name"}
    rows = {name: {"name": name, **empty} for name in inputs}
    structures = {name: value for name, value in inputs.items() if not isinstance(value, str)}
    for name, value in inputs.items():
        if isinstance(value, str):
            rows[name]["reason"] = value
    if not structures:
        return list(rows.values()), {}
    crystals = from_structures(list(structures.values()))
    validity = strict_validity(crystals)
    in_system = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system)
    formulas = {name: Formula.from_atomic_numbers(s.atomic_numbers) for name, s in structures.items()}
    for k, (name, structure) in enumerate(structures.items()):
        formula, reason = formulas[name], validity.reasons[k]
        if not in_system[k]:
            foreign = [symbol for symbol, _ in formula.counts if symbol not in system.elements]
            outside = f"outside the system {system}: {', '.join(foreign)} has no reference"
            reason = f"{outside}; {reason}" if reason else outside
        elif not reason and len(structure) > MAX_RELAXED_ATOMS:
            reason = f"not relaxed: {len(structure)} atoms, at most {MAX_RELAXED_ATOMS} are"
        rows[name].update(
            formula=str(formula),
            num_atoms=len(structure),
            in_system=bool(in_system[k]),
            valid_cdvae=bool(validity.cdvae_valid[k]),
            valid_strict=bool(validity.valid[k]),
            charge_neutral=charge_neutral(formula),
            min_reduced_distance=float(validity.min_reduced_distance[k]),
            density=float(validity.density[k]),
            volume_per_atom=float(validity.volume_per_atom[k]),
            reason=reason,
        )
    return list(rows.values()), formulas


def not_relaxable(inputs: Inputs, system: ChemicalSystem) -> dict[str, str]:
    """Why each input is not eligible for relaxation; empty for those that are.

    Eligible is what could be read, is made of elements of the system, is strictly valid, and has at most 200 atoms.
    Copies and known phases are eligible: nothing but validity may decide, so that rates can be carried over to all.
    """
    return {row["name"]: row["reason"] for row in first_verdicts(inputs, system)[0]}


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
