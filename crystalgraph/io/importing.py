"""Make a dataset of anybody's crystals: checked, without copies, each loss with its reason, and a card that says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Element, Structure

from crystalgraph.chemistry.elements import covalent_radii
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.space_groups import DATASET_SYMPREC, space_groups
from crystalgraph.crystals.table import NOT_STATED, CrystalTable, Source, plain
from crystalgraph.errors import InputError
from crystalgraph.geometry.neighbors import neighbor_list, searchable_cells
from crystalgraph.io.atomic import check_free, new_folder
from crystalgraph.io.csv_table import csv_text
from crystalgraph.io.dataset_folder import Arrays, smallest, structure_arrays, write_dataset
from crystalgraph.io.datasets import dataset_names
from crystalgraph.io.entries import plural
from crystalgraph.io.tables import ID_COLUMNS
from crystalgraph.progress import Progress, at_stage

REJECTED = "rejected.csv"
"""Where a dataset keeps what was left out of it, with the reasons."""

MAX_SITES = 10_000
"""Most sites of one cell that a dataset takes; the distances between all of them take seconds."""

MIN_REDUCED_DISTANCE = 0.6
"""Atoms closer than this part of the sum of their covalent radii overlap; the same as for the shipped datasets."""

#: Arrays that are worked out here; a source's column of that name is not taken over.
_WORKED_OUT = {
    "id": "id in the source",
    "formula": "reduced formula of the stored sites",
    "space_group_number": f"spglib, symprec {DATASET_SYMPREC:g}, on the stored cell; 1 to 230",
    "source": "database or file of the kept crystal",
    "licence": "licence of the kept crystal",
    "num_atoms": "sites in the stored cell",
    "lattice": "row vectors a, b, c, angstrom, 64 bit, (3, 3)",
    "frac_coords": "x y z per site, 64 bit, in [0, 1), (num_atoms, 3)",
    "atomic_numbers": "element per site, (num_atoms,)",
    "n_duplicates": "how many other entries were merged into this crystal",
    "duplicates": "their ids; not one a crystal, see below",
}

_STORAGE = (
    "`crystals.npz` is a deflated zip of plain NumPy arrays (no pickles): `num_atoms`, one number a crystal, says how "
    "the rows of `frac_coords` and `atomic_numbers` are shared out; every other array has one row a crystal. An empty "
    "text means that the source gives none, as NaN does for a number and -1 for a flag. `duplicates` holds the merged "
    "ids of all crystals one after the other, and `n_duplicates` how many belong to each."
)

_CHUNK = 500  # crystals whose distances are measured at a time
_LONGEST_TEXT = 500  # characters; an array of texts is as wide as its longest
_MOST_SOURCES = 50  # different ones; beyond, the column holds something else


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of the entries.

    Attributes:
        n_entries: in the source.
        n_crystals: in the dataset.
        n_copies: merged into others.
        rejected: id -> reason.
    """

    n_entries: int
    n_crystals: int
    n_copies: int
    rejected: dict[str, str]

    @property
    def reasons(self) -> dict[str, int]:
        """How often each kind of reason occurs, the most frequent first; details in brackets left off."""
        return dict(Counter(reason.partition(" (")[0] for reason in self.rejected.values()).most_common())


def write_import(
    entries: CrystalTable,
    out: Path,
    *,
    keep_copies: bool = False,
    title: str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Check the entries, merge copies, and write the dataset's folder.

    Args:
        entries: see `crystalgraph.io.entries`.
        out: the folder; it must not exist.
        keep_copies: whether crystals of equal formula and space group that StructureMatcher calls equal all stay.
        title: of the card.
        progress: called as the work goes on.

    Returns:
        What became of the entries.

    Raises:
        InputError: if the folder exists or cannot be made, or no entry is left.
    """
    check_out(out)
    faults = _faults(entries.crystals, progress)
    rejected = entries.failures | {name: why for name, why in zip(entries.ids, faults, strict=True) if why}
    kept = entries[[not why for why in faults]]
    if not len(kept):
        first, why = next(iter(rejected.items()), ("the source", "it is empty"))
        raise InputError(
            f"none of {len(rejected)} entries of {entries.source.name!r} can be used; the first, {first}: {why}"
        )
    arrays, dropped = _without_copies(kept, keep_copies, progress)
    imported = Imported(
        n_entries=len(entries.order),
        n_crystals=len(arrays["id"]),
        n_copies=len(kept) - len(arrays["id"]),
        rejected=rejected,
    )
    stated = Counter(zip(arrays["source"].tolist(), arrays["licence"].tolist(), strict=True))
    texts = _card(
        entries.source,
        imported,
        title or f"Crystals from {entries.source.name}",
        dropped,
        [pair for pair, _ in stated.most_common()],
        copies_kept=keep_copies,
    )
    record = {
        "import": {
            **entries.source.record,
            "n_entries": imported.n_entries,
            "n_copies": imported.n_copies,
            "n_rejected": len(rejected),
            "reasons": imported.reasons,
        }
    }
    meanings = dict.fromkeys(arrays, "as the source gives it") | _WORKED_OUT
    rows = [{"id": name, "reason": why} for name, why in rejected.items()]
    with new_folder(out) as folder:
        write_dataset(folder, arrays, texts=texts, meanings=meanings, record=record)
        (folder / REJECTED).write_text(csv_text(rows, ("id", "reason")), encoding="utf-8")
    return imported


def check_out(out: Path) -> None:
    """Make sure that a dataset can be written there, before any work is done.

    Raises:
        InputError: if something of that name exists, or a shipped dataset has the name.
    """
    if str(out) in dataset_names():
        raise InputError(f"--out {out} is the name of a shipped dataset, which would hide it; choose another")
    check_free(out)


def _without_copies(kept: CrystalTable, keep_copies: bool, progress: Progress | None) -> tuple[Arrays, list[str]]:
    """The arrays of the crystals without copies, and columns that make no array."""
    groups = _space_groups(kept.structures, progress)
    formulas = [structure.composition.reduced_formula for structure in kept.structures]  # as in the shipped datasets
    labels = np.arange(len(kept))
    if not keep_copies:
        labels = _merge(kept.structures, [*zip(formulas, groups, strict=True)], progress)
    is_first = labels == np.arange(len(kept))
    earlier = [_duplicates(value) for value in kept.columns.get("duplicates", [None] * len(kept))]
    merged = {k: earlier[k] for k in np.flatnonzero(is_first).tolist()}
    for position in np.flatnonzero(~is_first).tolist():
        merged[int(labels[position])] += [kept.ids[position], *earlier[position]]
    return _arrays(
        kept[is_first],
        formulas=[formulas[k] for k in merged],
        groups=[groups[k] for k in merged],
        duplicates=list(merged.values()),
    )


def _arrays(
    table: CrystalTable, *, formulas: list[str], groups: list[int], duplicates: list[list[str]]
) -> tuple[Arrays, list[str]]:
    """The arrays of the dataset, and the names of columns that make none."""
    columns, dropped = _columns(table)
    wrapped = table.crystals.frac_coords.numpy() % 1
    arrays = {
        "id": np.array(table.ids, dtype=str),
        "formula": np.array(formulas, dtype=str),
        "space_group_number": np.array(groups, dtype=np.uint8),
        "source": np.array(_stated(table, "source", table.source.name), dtype=str),
        "licence": np.array(_stated(table, "licence", table.source.licence), dtype=str),
        **columns,
        **structure_arrays(
            table.crystals.num_atoms.numpy(),
            table.crystals.lattice.numpy(),
            np.where(wrapped == 1, 0.0, wrapped),  # a coordinate just below zero is wrapped to one
            table.crystals.atomic_numbers.numpy(),
        ),
        "n_duplicates": smallest(np.array([len(names) for names in duplicates])),
        "duplicates": np.array([name for names in duplicates for name in names], dtype=str),
    }
    return arrays, dropped


def _faults(crystals: Crystals, progress: Progress | None) -> list[str]:
    """Why each crystal cannot be used; empty where it can."""
    faults: list[str] = []
    report = at_stage(progress, "check")
    for start in range(0, len(crystals), _CHUNK):
        faults += _faults_of_few(crystals[start : start + _CHUNK])
        report(len(faults), len(crystals))
    return faults


def _faults_of_few(crystals: Crystals) -> list[str]:
    faults = [
        f"its cell has too many sites ({n:,}; a dataset takes up to {MAX_SITES:,})" if n > MAX_SITES else ""
        for n in crystals.num_atoms.tolist()
    ]
    small = torch.tensor([not fault for fault in faults])
    radius = covalent_radii()[crystals.atomic_numbers]
    longest = torch.zeros(len(crystals), dtype=torch.float64).scatter_reduce(0, crystals.batch, radius, "amax")
    horizon = 2 * MIN_REDUCED_DISTANCE * longest
    lattice, frac_coords, num_atoms = crystals.lattice, crystals.frac_coords, crystals.num_atoms
    searchable = searchable_cells(lattice, frac_coords, num_atoms, horizon) & small
    i, j, shift = neighbor_list(lattice, frac_coords, num_atoms, horizon, searchable=searchable)
    owner = crystals.batch[i]
    vectors = torch.einsum("nk,nkl->nl", frac_coords[j] - frac_coords[i] + shift, lattice[owner])
    distance = vectors.norm(dim=1)
    overlapping = distance < MIN_REDUCED_DISTANCE * (radius[i] + radius[j])
    closest: dict[int, tuple[float, int, int]] = {}
    for edge in overlapping.nonzero()[:, 0].tolist():
        # Rounded, so that the last bit does not choose among pairs that are equal by symmetry.
        numbers = sorted((int(crystals.atomic_numbers[i[edge]]), int(crystals.atomic_numbers[j[edge]])))
        pair = (round(float(distance[edge]), 3), numbers[0], numbers[1])
        closest[int(owner[edge])] = min(pair, closest.get(int(owner[edge]), pair))
    for position, (length, first, second) in closest.items():
        symbols = f"{Element.from_Z(first).symbol}–{Element.from_Z(second).symbol}"
        faults[position] = f"its atoms overlap ({symbols} {length:.3f} Å)"
    for position in (~searchable & small).nonzero()[:, 0].tolist():
        faults[position] = "its cell is too flat or too crowded"
    return faults


def _space_groups(structures: list[Structure], progress: Progress | None) -> list[int]:
    numbers: list[int] = []
    report = at_stage(progress, "space groups")
    for start in range(0, len(structures), _CHUNK // 10):
        # Where nothing is found, whole translations are still there.
        numbers += [
            max(number, 1) for number in space_groups(structures[start : start + _CHUNK // 10], DATASET_SYMPREC)
        ]
        report(len(numbers), len(structures))
    return numbers


def _merge(
    structures: list[Structure], keys: Sequence[tuple[str, int]], progress: Progress | None
) -> NDArray[np.int64]:
    """Position of the first crystal that each one is equal to, among those of equal formula and space group."""
    buckets: dict[tuple[str, int], list[int]] = {}
    for position, key in enumerate(keys):
        buckets.setdefault(key, []).append(position)
    labels, done = np.arange(len(structures)), 0
    report = at_stage(progress, "copies")
    for members in buckets.values():
        if len(members) > 1:
            labels[members] = np.array(members)[group_equal([structures[k] for k in members])]
        done += len(members)
        report(done, len(structures))
    return labels


def _columns(table: CrystalTable) -> tuple[Arrays, list[str]]:
    """One array a column of numbers, flags or texts; and the names of those that are not."""
    arrays: Arrays = {}
    dropped: list[str] = []
    for name, column in table.columns.items():
        if name in _WORKED_OUT or name in ID_COLUMNS:
            continue
        values = [plain(value) for value in column]
        if all(value is None for value in values) or values == table.ids:
            continue
        array = _column(values)
        if array is None:
            dropped.append(name)
        else:
            arrays[re.sub(r"[/\\\x00-\x1f]", "_", name)] = array
    return arrays, dropped


def _column(values: list[Any]) -> NDArray[Any] | None:
    """The values as an array, None where they are no plain values."""
    present = [value for value in values if value is not None]
    complete = len(present) == len(values)
    if all(isinstance(value, bool) for value in present):
        return np.array(values) if complete else np.array([-1 if v is None else v for v in values], dtype=np.int8)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        whole = complete and all(isinstance(value, int) and abs(value) < 2**63 for value in values)
        return np.array([np.nan if v is None else v for v in values], dtype=np.int64 if whole else np.float64)
    if all(isinstance(value, bool | int | float | str) and len(str(value)) <= _LONGEST_TEXT for value in present):
        return np.array(["" if v is None else str(v) for v in values], dtype=str)
    return None


def _card(
    source: Source,
    imported: Imported,
    title: str,
    dropped: Sequence[str],
    stated: Iterable[tuple[str, str]],
    *,
    copies_kept: bool,
) -> dict[str, Any]:
    """The written part of the card."""
    losses = "; ".join(f"{count:,} × {reason}" for reason, count in imported.reasons.items())
    copies = (
        "Copies were kept."
        if copies_kept
        else f"{plural(imported.n_copies, 'copy', 'copies')} merged: among crystals of equal formula and space group, "
        "the first of those that StructureMatcher (default tolerances) calls equal was kept."
    )
    gaps = [*source.gaps, "The units of columns taken over from the source are the source's."]
    if dropped:
        gaps.append(f"Not taken over, for they are neither numbers nor short texts: {', '.join(dropped)}.")
    if NOT_STATED in {licence for _, licence in stated}:
        gaps.append("A licence is not stated; find it out before the crystals are passed on.")
    size = f"{plural(imported.n_crystals, 'crystal')} of {plural(imported.n_entries, 'entry', 'entries')}"
    handled = (
        "Cells and atoms are as the source has them, coordinates wrapped into the cell; oxidation states, isotopes and "
        "properties of single sites are dropped. Crystals whose atoms are closer than "
        f"{MIN_REDUCED_DISTANCE} of the sum of their covalent radii were left out. {copies}"
    )
    return {
        "title": title,
        "description": f"{size} from {source.taken_from}. Lengths in angstrom.",
        "sources": [
            {"name": name, "licence": licence, "taken_from": source.taken_from, "attribution": source.attribution}
            for name, licence in stated
        ],
        "exclusions": f"Left out, with reasons in `{REJECTED}`: {losses}." if losses else "Nothing was left out.",
        "made": [handled, _STORAGE],
        "gaps": gaps,
        "citation": "Cite the source of the crystals, and keep to its licence.",
    }


def _stated(table: CrystalTable, key: str, otherwise: str) -> list[str]:
    """What each entry says under a key, or what holds for all where they say nothing or too much for a card."""
    texts = [str(plain(value) or "") for value in table.columns.get(key, [""] * len(table))]
    return [otherwise] * len(texts) if len({*texts}) > _MOST_SOURCES else [text or otherwise for text in texts]


def _duplicates(merged: Any) -> list[str]:
    """Ids that were merged into a crystal before."""
    return [str(name) for name in merged] if isinstance(merged, list | tuple | np.ndarray) else []
