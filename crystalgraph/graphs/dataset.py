"""Crystals as PyTorch Geometric datasets of periodic graphs, in memory or on disk.

Every item is a PyG ``Data`` with the usual names:

- ``z``: atomic numbers, (n_atoms,), int64
- ``pos``: Cartesian coordinates, (n_atoms, 3), Å
- ``cell``: lattice vectors as rows, (1, 3, 3), Å
- ``edge_index``: neighbour j (row 0) and centre i (row 1), (2, n_edges), int64, sorted by centre
- ``edge_shift``: integer shift S of each edge, (n_edges, 3), int64; its vector is pos[j] − pos[i] + S · cell
- ``num_atoms``: (1,), int64
- ``y``: target values, (1, n_targets), NaN never; only if targets were asked for
- ``name``: where the crystal comes from, text

PyG's ``DataLoader`` batches them; ``to_periodic_graph`` turns a batch into a ``PeriodicGraph``.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, Database, InMemoryDataset, OnDiskDataset, SQLiteDatabase

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.periodic_graph import PeriodicGraph
from crystalgraph.errors import InputError
from crystalgraph.graphs.targets import Targets, TargetTable, with_targets
from crystalgraph.io.atomic import new_folder
from crystalgraph.io.load import CrystalSource

_CHUNK = 256
"""Crystals turned into graphs at a time."""

_MAKE_AGAIN = "make it again with OnDiskCrystalGraphDataset.create"

_META, _DATABASE = "dataset.json", "processed/sqlite.db"  # the second is PyG's choice


class CrystalGraphDataset(InMemoryDataset):
    """Periodic graphs of crystals, in memory.

    Building takes about 0.1 ms a crystal, so nothing is cached on disk.

    Args:
        source: where the crystals are; see `crystalgraph.io.load.load`.
        cutoff: longest edge, Å.
        max_neighbors: cap on the neighbours of an atom, in whole distance shells, or None; see
            ``PeriodicGraph.build``. Give the cutoff and cap of the model that is to read the graphs.
        targets: what becomes ``y``; see `crystalgraph.graphs.targets.with_targets`. A crystal without a value is left
            out and counted.
        dtype: floating-point type of ``pos``, ``cell`` and ``y``.
        transform: applied to each item when it is asked for.

    Attributes:
        failures: name → reason, for each crystal that was left out.
        target_names: what the columns of ``y`` are.

    Raises:
        InputError: if the source or a column does not exist, or no crystal is left.
    """

    def __init__(
        self,
        source: CrystalSource,
        *,
        cutoff: float = 5.0,
        max_neighbors: int | None = None,
        targets: Targets = (),
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Data], Any] | None = None,
    ) -> None:
        super().__init__(None, transform)
        labelled = with_targets(source, cutoff=cutoff, targets=targets)
        self.cutoff, self.max_neighbors = cutoff, max_neighbors
        self.failures, self.target_names = labelled.table.failures, labelled.names
        parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        counts: defaultdict[str, list[Tensor]] = defaultdict(list)
        for table in _graph_tables(labelled, cutoff, max_neighbors, dtype):
            for key, value in table.values.items():
                parts[key].append(_narrowed(value))
                counts[key].append(table.counts[key])
        ids = labelled.table.ids
        name = ids if len(ids) > 1 else ids[0]
        self._data = Data(**{key: _joined(parts.pop(key), _stacking_axis(key)) for key in list(parts)}, name=name)
        self.slices = {key: torch.nn.functional.pad(torch.cumsum(torch.cat(n), 0), (1, 0)) for key, n in counts.items()}
        self.slices["name"] = torch.arange(len(ids) + 1)


class OnDiskCrystalGraphDataset(OnDiskDataset):
    """Periodic graphs of crystals in an SQLite file, for sets too large for memory.

    Make one with ``create``; open it with its folder. Tensors are stored as raw bytes and described by a JSON file:
    opening a stranger's dataset runs no code of theirs. Parts of it (slices, masks, lists, shuffles) are the same
    items as those of a ``CrystalGraphDataset``, item by item and in a ``DataLoader`` with workers of any start method.

    Args:
        root: the folder.
        transform: applied to each item when it is asked for.

    Attributes:
        failures: name → reason, for each crystal that was left out.
        target_names: what the columns of ``y`` are.

    Raises:
        InputError: if the folder holds no such dataset.
    """

    def __init__(self, root: str | os.PathLike[str], transform: Callable[[Data], Any] | None = None) -> None:
        meta = _read_meta(Path(root))
        self.cutoff, self.max_neighbors = meta["cutoff"], meta["max_neighbors"]
        self.failures, self.target_names = meta["failures"], meta["target_names"]
        self._dtype = getattr(torch, meta["dtype"])
        self._opened_by = os.getpid()
        folder = Path(root).resolve()  # a worker may have another working directory
        super().__init__(str(folder), transform, schema=_schema(self._dtype, len(self.target_names)), log=False)
        self._numel = meta["n_crystals"]

    @classmethod
    def create(
        cls,
        root: str | os.PathLike[str],
        source: CrystalSource,
        *,
        cutoff: float = 5.0,
        max_neighbors: int | None = None,
        targets: Targets = (),
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Data], Any] | None = None,
    ) -> OnDiskCrystalGraphDataset:
        """Build the dataset in a new folder and open it; other arguments as for ``CrystalGraphDataset``.

        The folder appears when it is complete.

        Raises:
            InputError: if the folder exists, the source or a column does not, or no crystal is left.
        """
        folder = Path(root)
        if folder.exists():
            raise InputError(f"{str(folder)!r} exists and is not overwritten; remove it or name another folder")
        labelled = with_targets(source, cutoff=cutoff, targets=targets)
        meta = {
            "n_crystals": len(labelled.table),
            "cutoff": cutoff,
            "max_neighbors": max_neighbors,
            "dtype": str(dtype).removeprefix("torch."),
            "target_names": labelled.names,
            "failures": labelled.table.failures,
        }
        with new_folder(folder) as partial:
            (partial / _META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            (partial / _DATABASE).parent.mkdir()
            schema = _schema(dtype, len(labelled.names))
            database, start = SQLiteDatabase(os.fspath(partial / _DATABASE), cls.__name__, schema), 0
            for part in _graph_tables(labelled, cutoff, max_neighbors, dtype):
                rows = [row | {"name": labelled.table.ids[start + k]} for k, row in enumerate(part.rows())]
                database.multi_insert(range(start, start + len(rows)), rows)
                start += len(rows)
            database.close()
        return cls(folder, transform)

    @property
    def db(self) -> Database:
        """The database, opened by each process itself: SQLite's connections must not be carried through a fork."""
        if self._opened_by != os.getpid():
            self._db, self._opened_by = None, os.getpid()
        return super().db

    def __getstate__(self) -> dict[str, Any]:
        """All but the open database, so that copies and spawned workers open it themselves."""
        return self.__dict__ | {"_db": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """What a ``DataLoader`` asks for: places in this part of the dataset, not rows of the database."""
        rows = self.indices()
        return self.multi_get([int(rows[place]) for place in indices])

    def get(self, idx: int) -> Data:
        """One item by its row in the database, without the transform."""
        return self._read([int(idx)])[0]

    def multi_get(self, indices: Iterable[int] | Tensor | slice | range, batch_size: int | None = None) -> list[Any]:
        """Items by their rows in the database, in the order given."""
        rows = range(self.len())[indices] if isinstance(indices, slice) else indices
        items = self._read([int(row) for row in rows], batch_size)
        return items if self.transform is None else [self.transform(item) for item in items]

    def _read(self, rows: list[int], batch_size: int | None = None) -> list[Data]:
        try:
            found = [self.db.get(rows[0])] if len(rows) == 1 else self.db.multi_get(rows, batch_size)
            items = [self.deserialize(row) for row in found]
        except (sqlite3.DatabaseError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{self.processed_paths[0]} is damaged ({error}); {_MAKE_AGAIN}") from error
        if len(items) != len(rows):
            raise InputError(f"{self.processed_paths[0]} lacks {len(rows) - len(items)} crystals; {_MAKE_AGAIN}")
        return items

    def serialize(self, data: Data) -> dict[str, Any]:
        """One row of the database."""
        return {key: data[key] for key in self.schema}

    def deserialize(self, data: dict[str, Any]) -> Data:
        """An item from a row of the database; its tensors own their memory."""
        return Data(**{key: value.clone() if isinstance(value, Tensor) else value for key, value in data.items()})


def to_periodic_graph(data: Data) -> PeriodicGraph:
    """Turn a PyG ``Data`` or ``Batch`` into a ``PeriodicGraph``.

    Args:
        data: one item of a dataset, or a batch from a ``DataLoader``; see the module for its fields.

    Returns:
        The graph; fractional coordinates carry the gradients of ``pos`` and ``cell``.
    """
    lattice, num_atoms = data.cell.view(-1, 3, 3), data.num_atoms.view(-1)
    to_frac = torch.linalg.inv(lattice)[torch.repeat_interleave(num_atoms)]
    crystals = Crystals(
        lattice=lattice,
        frac_coords=torch.einsum("ni,nij->nj", data.pos, to_frac),
        atomic_numbers=data.z,
        num_atoms=num_atoms,
    )
    return PeriodicGraph(crystals=crystals, edge_index=data.edge_index, edge_shift=data.edge_shift)


@dataclass(frozen=True, kw_only=True)
class _GraphTable:
    """Some crystals' graphs, each field in one tensor, with the share of each crystal."""

    values: dict[str, Tensor]
    counts: dict[str, Tensor]

    def rows(self) -> Iterator[dict[str, Tensor]]:
        """The graphs one by one."""
        split = [v.split(self.counts[key].tolist(), _stacking_axis(key)) for key, v in self.values.items()]
        for row in zip(*split, strict=True):
            yield {key: value.contiguous() for key, value in zip(self.values, row, strict=True)}


def _narrowed(values: Tensor) -> Tensor:
    """Integers in the narrowest type that holds them, so that what waits to be joined takes little memory."""
    if values.is_floating_point() or not values.numel():
        return values
    lowest, highest = (int(bound) for bound in values.aminmax())
    types = (torch.int8, torch.int16, torch.int32, torch.int64)
    return values.to(next(t for t in types if torch.iinfo(t).min <= lowest and highest <= torch.iinfo(t).max))


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    """Parts in order, integers as int64 again."""
    whole = torch.cat(parts, axis)
    return whole if whole.is_floating_point() else whole.long()


def _stacking_axis(key: str) -> int:
    return 1 if key == "edge_index" else 0


def _graph_tables(
    labelled: TargetTable, cutoff: float, max_neighbors: int | None, dtype: torch.dtype
) -> Iterator[_GraphTable]:
    for start in range(0, len(labelled.table), _CHUNK):
        crystals = labelled.table.crystals[start : start + _CHUNK]
        graph = PeriodicGraph.build(crystals, cutoff, max_neighbors)
        order = torch.argsort(graph.edge_index[1], stable=True)
        first_atom = crystals.ptr[graph.edge_batch[order]]
        values = {
            "z": crystals.atomic_numbers,
            "pos": crystals.cart_coords.to(dtype),
            "cell": crystals.lattice.to(dtype),
            "edge_index": graph.edge_index[:, order] - first_atom,
            "edge_shift": graph.edge_shift[order],
            "num_atoms": crystals.num_atoms,
        }
        one = torch.ones_like(crystals.num_atoms)
        atoms, edges = crystals.num_atoms, torch.bincount(graph.edge_batch, minlength=len(crystals))
        counts = dict(zip(values, (atoms, atoms, one, edges, edges, one), strict=True))
        if labelled.names:
            values["y"], counts["y"] = labelled.values[start : start + _CHUNK].to(dtype), one
        yield _GraphTable(values=values, counts=counts)


def _schema(dtype: torch.dtype, n_targets: int) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "z": {"dtype": torch.int64, "size": (-1,)},
        "pos": {"dtype": dtype, "size": (-1, 3)},
        "cell": {"dtype": dtype, "size": (-1, 3, 3)},
        "edge_index": {"dtype": torch.int64, "size": (2, -1)},
        "edge_shift": {"dtype": torch.int64, "size": (-1, 3)},
        "num_atoms": {"dtype": torch.int64, "size": (-1,)},
    }
    if n_targets:
        schema["y"] = {"dtype": dtype, "size": (-1, n_targets)}
    return schema | {"name": str}


def _read_meta(folder: Path) -> dict[str, Any]:
    keys = {"n_crystals", "cutoff", "max_neighbors", "dtype", "target_names", "failures"}
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        if missing := keys - set(meta):
            raise ValueError(f"{_META} lacks {', '.join(sorted(missing))}")
        if not (folder / _DATABASE).is_file():
            raise ValueError(f"{_DATABASE} is missing")
        if meta["dtype"] not in ("float32", "float64"):
            raise ValueError(f"{_META} names the type {meta['dtype']!r}")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{str(folder)!r} holds no crystal graphs ({error}); make them with OnDiskCrystalGraphDataset.create"
        ) from error
    return meta
