"""Where the crystals of a graph dataset come from: tensors, structures, files, or a dataset that came with the package.

What cannot become a graph is left out with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.errors import InputError
from crystalgraph.geometry.neighbors import searchable_cells

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

Source: TypeAlias = "Crystals | str | os.PathLike[str] | Sequence[Structure] | Sequence[Atoms]"
"""Whatever holds crystals: tensors, a shipped dataset's name, a file or folder, pymatgen structures, ASE atoms."""

Targets: TypeAlias = "Sequence[str] | Mapping[str, Sequence[float] | Mapping[str, float]]"
"""Columns of a shipped dataset, or column → one value per crystal, or column → crystal's name → value."""


@dataclass(frozen=True, kw_only=True)
class CrystalSource:
    """Crystals with names and target values, and the reasons why others are missing.

    Attributes:
        crystals: what can be used, float64.
        names: a name for each.
        targets: (n_crystals, n_targets), float64, all finite.
        target_names: what the columns of ``targets`` are.
        failures: name → reason, for each crystal that was left out.
    """

    crystals: Crystals
    names: list[str]
    targets: Tensor
    target_names: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def read_source(source: Source, *, cutoff: float, targets: Targets = ()) -> CrystalSource:
    """Collect crystals and their target values; leave out, with a reason, what cannot become a graph.

    Args:
        source: ``Crystals``, pymatgen structures or ASE atoms (named "0", "1", …), the name of a shipped dataset or
            the folder of one (named by its ids), or a structure file or folder of CIF, POSCAR or extxyz files. A
            ``Path`` never means a shipped dataset.
        cutoff: longest edge, Å.
        targets: names of numeric columns, for a shipped dataset; else column → values, in the order of the source
            or by name (files: by name only, since some may fail). A crystal without a finite value is left out.

    Raises:
        InputError: if the source or a column does not exist, lengths differ, or no crystal is left.
    """
    found = _open(source)
    values = _target_values(targets, found)
    table = np.stack(list(values.values()), 1) if values else np.zeros((len(found.names), 0))
    reasons = [
        "; ".join(f"no value for {column}" for column, value in zip(values, row, strict=True) if not np.isfinite(value))
        for row in table
    ]
    crystals = found.crystals
    if crystals is not None:
        searchable = searchable_cells(crystals.lattice, crystals.frac_coords, crystals.num_atoms, cutoff)
        for position in (~searchable).nonzero()[:, 0].tolist():
            reasons[position] = "its cell is flat, collapsed or not finite"
    failures = found.failures | {name: why for name, why in zip(found.names, reasons, strict=True) if why}
    kept = torch.tensor([not why for why in reasons], dtype=torch.bool)
    if crystals is None or not bool(kept.any()):
        first, why = next(iter(failures.items()), ("source", "it is empty"))
        raise InputError(f"none of {len(failures)} crystals can be used; the first, {first}: {why}")
    return CrystalSource(
        crystals=crystals[kept],
        names=[name for name, why in zip(found.names, reasons, strict=True) if not why],
        targets=torch.from_numpy(table)[kept],
        target_names=list(values),
        failures=failures,
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a source holds before targets and cells were looked at.

    ``count`` is the number of crystals before some failed, None for files; ``columns`` are a shipped dataset's.
    """

    crystals: Crystals | None
    names: list[str]
    failures: dict[str, str] = field(default_factory=dict)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    count: int | None = None


def _open(source: Source) -> _Found:
    if isinstance(source, Crystals):
        return _Found(
            crystals=source.to(device="cpu", dtype=torch.float64),
            names=[str(k) for k in range(len(source))],
            count=len(source),
        )
    return _open_path(source) if isinstance(source, str | os.PathLike) else _open_list(source)


def _open_path(source: str | os.PathLike[str]) -> _Found:
    from crystalgraph.io.datasets import CARD, dataset_names, load_dataset
    from crystalgraph.io.reading import read_structures

    if source in dataset_names() or (Path(source) / CARD).is_file():
        dataset = load_dataset(source)
        names = [str(name) for name in dataset.columns["id"]]
        return _Found(crystals=dataset.crystals, names=names, columns=dataset.columns, count=len(names))
    if not Path(source).exists():
        known = ", ".join(dataset_names()) or "none"
        raise InputError(f"{os.fspath(source)!r} is neither a shipped dataset ({known}) nor a file or folder")
    result = read_structures(source)
    return _Found(crystals=result.crystals, names=result.names, failures=result.failures)


def _open_list(source: Sequence[Structure] | Sequence[Atoms]) -> _Found:
    from crystalgraph.crystals.conversion import atoms_fault, from_atoms, from_structures, structure_fault

    ase = len(source) > 0 and hasattr(source[0], "get_scaled_positions")
    fault: Callable[[Any], str | None] = atoms_fault if ase else structure_fault
    convert: Callable[[Any], Crystals] = from_atoms if ase else from_structures
    faults = [fault(item) for item in source]
    good = [item for item, why in zip(source, faults, strict=True) if why is None]
    return _Found(
        crystals=convert(good) if good else None,
        names=[str(k) for k, why in enumerate(faults) if why is None],
        failures={str(k): why for k, why in enumerate(faults) if why is not None},
        count=len(source),
    )


def _target_values(targets: Targets, found: _Found) -> dict[str, NDArray[np.float64]]:
    """Each target as one number per crystal, in the order of ``found.names``; NaN where there is none."""
    if not isinstance(targets, Mapping):
        numeric = [key for key, column in found.columns.items() if column.dtype.kind in "biuf"]
        for target in targets:
            if target not in numeric:
                allowed = f"allowed are {', '.join(numeric)}" if numeric else "only shipped datasets have columns"
                raise InputError(f"no numeric column {target!r}; {allowed}; or give the values as a mapping")
        return {target: found.columns[target].astype(np.float64) for target in targets}
    return {target: _one_target(target, column, found) for target, column in targets.items()}


def _one_target(target: str, column: Sequence[float] | Mapping[str, float], found: _Found) -> NDArray[np.float64]:
    if isinstance(column, Mapping):
        return np.array([column.get(name, np.nan) for name in found.names], dtype=np.float64)
    if found.count is None:
        raise InputError(f"target {target!r} is a list; for files, give a mapping from name to value")
    if len(column) != found.count:
        raise InputError(f"target {target!r} has {len(column)} values for {found.count} crystals; give one each")
    values = np.asarray(column, dtype=np.float64)
    if len(found.names) == found.count:
        return values
    return values[[int(name) for name in found.names]]  # a list's crystals are named by position
