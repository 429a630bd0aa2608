"""Which crystals of a table become graphs, and what is to be learned of each; the others keep their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.io.load import CrystalSource, load

Targets: TypeAlias = "Sequence[str] | Mapping[str, Sequence[float] | Mapping[str, float]]"
"""Columns of the table, or column → one value per crystal, or column → crystal's id → value."""


@dataclass(frozen=True, kw_only=True)
class TargetTable:
    """Crystals that can become graphs, with their target values.

    Attributes:
        table: the crystals; its failures name what was left out.
        values: (n_crystals, n_targets), float64, all finite.
        names: what the columns of ``values`` are.
    """

    table: CrystalTable
    values: Tensor
    names: list[str]


def with_targets(source: CrystalSource, *, cutoff: float, targets: Targets = ()) -> TargetTable:
    """Collect crystals and their target values; leave out, with a reason, what cannot become a graph.

    Args:
        source: see `crystalgraph.io.load.load`.
        cutoff: longest edge, Å.
        targets: names of numeric columns; else column → values, in the order of the source or by id (files: by id
            only, since some may fail). A crystal without a finite value is left out.

    Raises:
        InputError: if the cutoff is no length, the source or a column does not exist, lengths differ, or no crystal is
            left.
    """
    if not 0 < cutoff < np.inf:
        raise InputError(f"cutoff {cutoff} is no length; give the longest edge in Å, such as 5.0")
    if isinstance(targets, str):
        raise InputError(f"targets is the text {targets!r}; give a list of columns, such as [{targets!r}]")
    table = load(source)
    columns = _target_values(targets, table)
    values = np.stack(list(columns.values()), 1) if columns else np.zeros((len(table), 0))
    reasons = [
        "; ".join(f"no value for {name}" for name, value in zip(columns, row, strict=True) if not np.isfinite(value))
        for row in values
    ]
    crystals = table.crystals
    searchable = searchable_cells(crystals.lattice, crystals.frac_coords, crystals.num_atoms, cutoff)
    for position in (~searchable).nonzero()[:, 0].tolist():
        reasons[position] = "its cell is flat, collapsed or not finite"
    failures = table.failures | {name: why for name, why in zip(table.ids, reasons, strict=True) if why}
    usable = np.array([not why for why in reasons], dtype=bool)
    if not usable.any():
        first, why = next(iter(failures.items()), ("source", "it is empty"))
        raise InputError(f"none of {len(failures)} crystals can be used; the first, {first}: {why}")
    return TargetTable(
        table=table[usable].revised(failures=failures),
        values=torch.from_numpy(values[usable]),
        names=list(columns),
    )


def _target_values(targets: Targets, table: CrystalTable) -> dict[str, NDArray[np.float64]]:
    """Each target as one number per crystal, in the order of the table; NaN where there is none."""
    if isinstance(targets, Mapping):
        return {name: _one_target(name, column, table) for name, column in targets.items()}
    numeric = [name for name, column in table.columns.items() if column.dtype.kind in "biuf"]
    for name in targets:
        if name not in numeric:
            allowed = f"allowed are {', '.join(numeric)}" if numeric else "the source has no columns of numbers"
            raise InputError(f"no numeric column {name!r}; {allowed}; or give the values as a mapping")
    return {name: table.columns[name].astype(np.float64) for name in targets}


def _one_target(name: str, column: Sequence[float] | Mapping[str, float], table: CrystalTable) -> NDArray[np.float64]:
    if isinstance(column, Mapping):
        return np.array([column.get(own, np.nan) for own in table.ids], dtype=np.float64)
    if table.source.files:
        raise InputError(f"target {name!r} is a list; for files, give a mapping from id to value")
    if len(column) != len(table.order):
        raise InputError(f"target {name!r} has {len(column)} values for {len(table.order)} crystals; give one each")
    place = {own: position for position, own in enumerate(table.order)}
    return np.asarray(column, dtype=np.float64)[[place[own] for own in table.ids]]
