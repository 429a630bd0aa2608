"""Crystals with names: the one collection that datasets, files, runs and known phases come in.

A table holds crystals with an id each, what is known about them in columns, and the reason for everything that gave no
crystal. `crystalgraph.io.load.load` makes one of any source.

Columns have one value a crystal. Numbers that are missing are NaN, texts empty, anything else None. Energies by density
functional theory have names of their own, so that no other energy is taken for them:

* ``dft_formation_energy``, ``dft_e_above_hull``: eV/atom, on the scale of the Materials Project (MP2020), NaN where the
  source is on another scale or gives none;
* ``experimental``: 1 where the crystal has been made, 0 where it was computed only, -1 where the source does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystalgraph.chemistry.composition import element_counts, reduced
from crystalgraph.chemistry.membership import is_within
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import crystals_of, elements, to_structures

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from crystalgraph.chemistry.system import ChemicalSystem

NOT_STATED = "not stated"

EXPERIMENTAL, COMPUTED = "experimental", "computed"

ORIGINS = {1: EXPERIMENTAL, 0: COMPUTED, -1: NOT_STATED}
"""Whether a crystal has been made, as its source says: values of the column ``experimental`` and what they mean."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the crystals of a table come from.

    Attributes:
        name: the dataset, the path as it was given, or what a server calls itself.
        sha256: of the dataset's file, or of the files read; empty where there are none.
        files: that were read, in order.
        card: of a dataset: sources, licences, counts, columns, checksums.
        taken_from: where the entries come from, in words.
        licence: of entries that do not say their own.
        attribution: whom to name.
        gaps: what a reader must know.
        record: the same for programs.
    """

    name: str
    sha256: str = ""
    files: tuple[Path, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    taken_from: str = ""
    licence: str = NOT_STATED
    attribution: str = NOT_STATED
    gaps: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CrystalTable:
    """Crystals with ids, columns, and what could not be read.

    Attributes:
        crystals: n crystals, float64.
        ids: what the source calls them, all different, length n.
        columns: name -> one value a crystal, (n,); see the module for their names and units.
        failures: id -> reason, one line, for everything that gave no crystal.
        order: every id, of a crystal or of a failure, in the order of the source.
        source: where they come from.
    """

    crystals: Crystals
    ids: list[str]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    source: Source

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.crystals):
            raise ValueError(f"{len(self.ids)} ids for {len(self.crystals)} crystals")
        for name, values in self.columns.items():
            if len(values) != len(self.ids):
                raise ValueError(f"column {name} has {len(values)} values for {len(self.ids)} crystals")
        if not self.order:
            object.__setattr__(self, "order", [*self.ids, *self.failures])

    @classmethod
    def of_structures(
        cls,
        structures: Mapping[str, Structure],
        *,
        source: Source,
        properties: Sequence[Mapping[str, Any]] = (),
        failures: Mapping[str, str] | None = None,
        order: Sequence[str] = (),
    ) -> CrystalTable:
        """A table of pymatgen structures that were found sound; they are kept and need not be made anew.

        Args:
            structures: ordered structures by id.
            source: where they come from.
            properties: what else is known about each, in their order; none at all, or one mapping each.
            failures: see the class.
            order: see the class.
        """
        sound = [without_charges(structure) for structure in structures.values()]
        table = cls(
            crystals=crystals_of(sound) if sound else Crystals.empty(),
            ids=list(structures),
            columns=columns_of(properties),
            failures=dict(failures or {}),
            order=list(order),
            source=source,
        )
        table.__dict__["structures"] = sound
        return table

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        lost = f", {len(self.failures)} failures" if self.failures else ""
        return f"CrystalTable({self.source.name!r}, {len(self)} crystals{lost})"

    def __getitem__(self, chosen: int | slice | Sequence[int] | NDArray[Any] | torch.Tensor) -> CrystalTable:
        """Select crystals by position, slice, positions, or boolean mask; always a table, without the failures."""
        everything = np.arange(len(self))
        if isinstance(chosen, int | slice):
            rows = np.atleast_1d(everything[chosen])
        else:
            key = np.asarray(chosen)
            rows = everything[key] if key.size else everything[:0]
        table = replace(
            self,
            crystals=self.crystals[rows.tolist()],
            ids=[self.ids[k] for k in rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            failures={},
            order=[],
        )
        if "structures" in self.__dict__:
            table.__dict__["structures"] = [self.structures[k] for k in rows]
        return table

    def revised(
        self,
        *,
        ids: list[str] | None = None,
        failures: Mapping[str, str] | None = None,
        source: Source | None = None,
    ) -> CrystalTable:
        """The same crystals and columns, with other ids, failures or source; failures come last in the order."""
        table = replace(
            self,
            ids=self.ids if ids is None else ids,
            failures=dict(self.failures if failures is None else failures),
            source=source or self.source,
            order=[],
        )
        if "structures" in self.__dict__:
            table.__dict__["structures"] = self.structures
        return table

    @cached_property
    def structures(self) -> list[Structure]:
        """The crystals as pymatgen structures, in order."""
        return to_structures(self.crystals)

    @cached_property
    def compositions(self) -> NDArray[np.int64]:
        """Atoms of each element in the formula unit of each crystal, (n, 119); column Z is element Z."""
        return reduced_compositions(self.crystals)

    @property
    def origin(self) -> list[str]:
        """Whether each has been made, one of ``ORIGINS`` in words, length n."""
        flags = self.columns.get("experimental")
        return [NOT_STATED] * len(self) if flags is None else [ORIGINS[int(flag)] for flag in flags]

    def within(self, system: ChemicalSystem | str) -> CrystalTable:
        """Those made of elements of the system only.

        Args:
            system: such as "Nb-O".

        Raises:
            InputError: if the text is no chemical system.
        """
        return self[self._is_within(system)]

    def outside(self, systems: Sequence[ChemicalSystem | str]) -> CrystalTable:
        """Those that have an element beside each of some systems; what could not be read stays said.

        Args:
            systems: such as "Nb-O".

        Raises:
            InputError: if a text is no chemical system.
        """
        inside = [self._is_within(system) for system in systems]
        return self[~np.any(inside, axis=0)].revised(failures=self.failures) if inside else self

    def _is_within(self, system: ChemicalSystem | str) -> NDArray[np.bool_]:
        from crystalgraph.chemistry.system import ChemicalSystem

        wanted = ChemicalSystem.parse(system) if isinstance(system, str) else system
        crystals = self.crystals
        inside: NDArray[np.bool_] = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), wanted).numpy()
        return inside

    def of_whole_system(self, system: ChemicalSystem) -> CrystalTable:
        """Those that have every element of the system and no other."""
        present = self.compositions > 0
        return self[present[:, list(system.atomic_numbers)].all(1) & (present.sum(1) == len(system))]

    def of_compositions(self, compositions: NDArray[np.int64]) -> CrystalTable:
        """Those whose reduced composition is among the given ones, (m, 119)."""
        wanted = {row.tobytes() for row in compositions}
        return self[np.array([row.tobytes() in wanted for row in self.compositions], dtype=bool)]

    def number(self, column: str, position: int) -> float | None:
        """A number of a crystal, None where there is no such column or it is missing."""
        value = float(self.columns[column][position]) if column in self.columns else float("nan")
        return value if np.isfinite(value) else None

    def rows(self) -> list[dict[str, Any]]:
        """The columns crystal by crystal, as plain Python values, None where one is missing."""
        names, values = list(self.columns), list(self.columns.values())
        return [{name: plain(column[k]) for name, column in zip(names, values, strict=True)} for k in range(len(self))]

    def to_dataframe(self) -> pd.DataFrame:
        """Ids (the index), formulas, sizes and columns."""
        import pandas as pd

        from crystalgraph.chemistry.system import Formula

        atoms = self.crystals.atomic_numbers.split(self.crystals.num_atoms.tolist())
        formulas = [str(Formula.from_atomic_numbers(numbers.tolist())) for numbers in atoms]
        own = {"formula": formulas, "num_atoms": self.crystals.num_atoms.numpy()}
        return pd.DataFrame(own | {k: list(v) for k, v in self.columns.items()}, index=pd.Index(self.ids, name="id"))

    def _repr_html_(self) -> str:
        """The first rows, for notebooks."""
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.to_dataframe().head(10).to_html(max_cols=8)}"

    def record(self) -> dict[str, Any]:
        """For JSON: name, size, checksum, what could not be read."""
        return {
            "name": self.source.name,
            "crystals": len(self),
            "sha256": self.source.sha256,
            "unreadable": self.failures,
        }

    @staticmethod
    def concatenate(tables: Sequence[CrystalTable]) -> CrystalTable:
        """Join tables in order, with the columns that all of them have.

        Args:
            tables: at least one; no id in two of them.
        """
        first, *others = tables
        shared = [name for name in first.columns if all(name in table.columns for table in others)]
        return CrystalTable(
            crystals=Crystals.concatenate([table.crystals for table in tables]),
            ids=[name for table in tables for name in table.ids],
            columns={name: np.concatenate([table.columns[name] for table in tables]) for name in shared},
            failures={name: reason for table in tables for name, reason in table.failures.items()},
            source=Source(
                name=" + ".join(table.source.name for table in tables),
                sha256=" + ".join(table.source.sha256 for table in tables),
            ),
        )


def reduced_compositions(crystals: Crystals) -> NDArray[np.int64]:
    """Atoms of each element in the formula unit of each crystal, (n_crystals, 119); column Z is element Z."""
    return reduced(element_counts(crystals.atomic_numbers, crystals.batch, len(crystals))).numpy()


def without_charges(structure: Structure) -> Structure:
    """The same crystal of plain elements: no oxidation states, isotopes or properties; itself if it is so already."""
    from pymatgen.core import Structure

    species = [elements()[number] for number in structure.atomic_numbers]
    is_plain = all(own is element for own, element in zip(structure.species, species, strict=True))
    if is_plain and not structure.properties and not structure.site_properties:
        return structure
    return Structure(structure.lattice, species, structure.frac_coords)


def columns_of(properties: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """One array for each key: numbers, flags and texts as such, anything else as objects; see the module."""
    names = dict.fromkeys(key for row in properties for key in row)
    return {str(name): _column([plain(row.get(name)) for row in properties]) for name in names}


def plain(value: Any) -> Any:
    """A number, flag or text as Python has it; None for what is missing; else the value."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if is_missing(value) else value


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, an empty text, or a number that is not finite."""
    return (
        value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and not np.isfinite(value))
    )


def _column(values: list[Any]) -> NDArray[Any]:
    present = [value for value in values if value is not None]
    complete = len(present) == len(values)
    if present and complete and _all_are(present, bool):
        return np.array(values)
    if present and _all_are(present, int | float) and not any(isinstance(value, bool) for value in present):
        whole = complete and all(isinstance(value, int) and abs(value) < 2**63 for value in present)
        return np.array([np.nan if v is None else v for v in values], dtype=np.int64 if whole else np.float64)
    if present and _all_are(present, str):
        return np.array(["" if value is None else value for value in values], dtype=str)
    column = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):  # at once, lists of one length would become a matrix
        column[position] = value
    return column


def _all_are(values: Iterable[Any], kind: Any) -> bool:
    return all(isinstance(value, kind) for value in values)
