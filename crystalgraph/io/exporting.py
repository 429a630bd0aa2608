"""Hand crystals over: from a dataset, a run folder or structure files to the formats that other programs take.

The same crystals give the same bytes. CIF and POSCAR get left-handed cells with all three vectors reversed: the same
crystal in a right-handed cell, which is all that CIF can express and VASP accepts.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import from_structures, to_atoms, to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free, new_folder, write_bytes
from crystalgraph.io.datasets import CARD, dataset_names, load_dataset
from crystalgraph.io.reading import own_names, read_structures
from crystalgraph.io.run_layout import RELAXED_FILE
from crystalgraph.io.tables import require_pyarrow
from crystalgraph.io.writing import write_structures

if TYPE_CHECKING:
    from pymatgen.io.vasp.sets import VaspInputSet

Progress = Callable[[int, int], None]
"""Called with (crystals done, crystals in all)."""

#: What can be written; a folder with a file each, or one file with all.
_FOLDER_FORMATS, _FILE_FORMATS = ("cif", "poscar"), ("extxyz", "ase-db", "json", "parquet")

EXPORT_FORMATS = (*_FOLDER_FORMATS, *_FILE_FORMATS)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Crystals to hand over.

    Attributes:
        structures: in the order of the source.
        names: a name for each, all different.
        columns: what is known about each: numbers, flags, texts, lists of texts.
        left_out: name -> reason, for what the source holds but could not be read.
    """

    structures: list[Structure]
    names: list[str]
    columns: list[dict[str, Any]]
    left_out: dict[str, str]

    def __len__(self) -> int:
        return len(self.structures)


def select(source: str, *, top: int | None = None, ids: Sequence[str] = (), relaxed: bool = False) -> Selection:
    """Crystals of a dataset, of a run folder, or of structure files.

    Args:
        source: a shipped dataset, the folder of one, a run folder, a structure file, or a folder of them.
        top: the first so many; those of a run are ranked.
        ids: instead of that, those with these ids (of a dataset) or names (of files).
        relaxed: of a run, the relaxed structures instead of those drawn.

    Raises:
        InputError: if there is no such source, or it does not hold what is asked for.
    """
    if top is not None and (ids or top < 1):
        raise InputError(f"--top {top}: give a number of crystals, 1 or more, and no --ids beside it")
    is_dataset = source in dataset_names() or (Path(source) / CARD).is_file()
    if is_dataset and relaxed:
        raise InputError(f"--relaxed is for run folders, and {source!r} is a dataset; leave it out")
    found = _of_dataset(source, top, ids) if is_dataset else _of_files(Path(source), relaxed=relaxed)
    if unknown := [name for name in ids if name not in found.names]:
        raise InputError(f"{source!r} holds no crystal {unknown[0]!r}; `cg-data export SOURCE --format json` lists all")
    positions = [found.names.index(name) for name in ids] if ids else range(len(found))[:top]
    return Selection(
        structures=[found.structures[k] for k in positions],
        names=[found.names[k] for k in positions],
        columns=[found.columns[k] for k in positions],
        left_out=found.left_out,
    )


def export(selection: Selection, fmt: str, out: Path) -> None:
    """Write the crystals in one format.

    ``cif`` and ``poscar`` make a folder with a file each; ``extxyz``, ``ase-db``, ``json`` (pymatgen's, one entry a
    crystal) and ``parquet`` (see `crystalgraph.io.tables`) make one file, with the columns beside each crystal.

    Args:
        selection: at least one crystal.
        fmt: one of ``EXPORT_FORMATS``.
        out: the folder or file; it must not exist.

    Raises:
        InputError: if the format is not known, nothing was selected, or ``out`` exists.
    """
    if fmt not in EXPORT_FORMATS:
        raise InputError(f"--format {fmt!r} is not known; give one of {', '.join(EXPORT_FORMATS)}")
    _check(selection, out)
    names = file_names(selection.names)
    if fmt in _FOLDER_FORMATS:
        with new_folder(out) as folder:
            write_structures([right_handed(s) for s in selection.structures], names, folder, fmt)
    else:
        write = {"extxyz": _extxyz, "ase-db": _ase_db, "json": _json, "parquet": _parquet}[fmt]
        write_bytes(out, write(selection))


def export_vasp(
    selection: Selection, out: Path, *, input_set: str = "MPRelaxSet", progress: Progress | None = None
) -> tuple[dict[str, str], dict[str, int]]:
    """Write VASP's INCAR, KPOINTS and POSCAR of each crystal, and the names of its potentials in a POTCAR.spec.

    No potential is read or written: ``pmg potcar`` or the reader's own script turns POTCAR.spec into POTCAR.

    Args:
        selection: at least one crystal; each gets a folder of its name.
        out: the folder; it must not exist.
        input_set: a class of `pymatgen.io.vasp.sets` that needs no more than the structure.
        progress: called as the work goes on.

    Returns:
        Name -> reason, for the crystals that the set cannot be made for; and pymatgen's remarks -> for how many
        crystals each.

    Raises:
        InputError: if the set is not known, cannot be made for any crystal, or ``out`` exists.
    """
    _check(selection, out)
    make = _input_set(input_set)
    failures: dict[str, str] = {}
    remarks: dict[str, int] = {}
    with new_folder(out) as folder:
        for done, (name, structure) in enumerate(
            zip(file_names(selection.names), selection.structures, strict=True), start=1
        ):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    inputs = make(right_handed(structure)).get_input_set(potcar_spec=True)
                except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
                    failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                else:
                    inputs.write_input(folder / name)
            for text in {str(w.message) for w in caught if w.category.__name__ == "BadInputSetWarning"}:
                remarks[text] = remarks.get(text, 0) + 1
            if progress is not None:
                progress(done, len(selection))
        if len(failures) == len(selection):
            name, reason = next(iter(failures.items()))
            raise InputError(f"{input_set} can be made for none of {len(failures)} crystals; {name}: {reason}")
    return failures, remarks


def right_handed(structure: Structure) -> Structure:
    """The same crystal with all cell vectors reversed if they are left-handed, else the structure itself."""
    if np.linalg.det(structure.lattice.matrix) > 0:
        return structure
    return Structure(-structure.lattice.matrix, structure.species, -structure.frac_coords)


def file_names(names: Sequence[str]) -> list[str]:
    """The names as they can stand for files: slashes become underscores, and all stay different."""
    free: dict[str, None] = {}
    for name in names:
        safe = re.sub(r"[/\\\x00-\x1f]", "_", name).lstrip(".") or "_"
        number, chosen = 1, safe
        while chosen in free:
            number += 1
            chosen = f"{safe}_{number}"
        free[chosen] = None
    return list(free)


def _check(selection: Selection, out: Path) -> None:
    if not len(selection):
        reason = next(iter(selection.left_out.items()), None)
        raise InputError("there is no crystal to export" + (f"; {reason[0]}: {reason[1]}" if reason else ""))
    check_free(out)


def _of_dataset(source: str, top: int | None, ids: Sequence[str]) -> Selection:
    dataset = load_dataset(source)
    names = dataset.columns["id"].tolist()
    # Only what is asked for becomes structures: a whole corpus of them fills the memory.
    wanted = set(ids)
    rows = [k for k, name in enumerate(names) if name in wanted] if ids else list(range(len(names)))[:top]
    ends = np.cumsum(dataset.columns["n_duplicates"].astype(np.int64))
    columns = [
        {key: _plain(values[k]) for key, values in dataset.columns.items() if key not in ("id", "num_atoms")}
        | {"duplicates": dataset.duplicates[ends[k] - int(dataset.columns["n_duplicates"][k]) : ends[k]].tolist()}
        for k in rows
    ]
    return Selection(
        structures=to_structures(dataset.crystals[rows]),
        names=[names[k] for k in rows],
        columns=columns,
        left_out={},
    )


def _of_files(path: Path, *, relaxed: bool) -> Selection:
    if relaxed and not (path / RELAXED_FILE).is_file():
        raise InputError(f"{str(path)!r} holds no {RELAXED_FILE}; name a run folder made with --relax and extxyz")
    result = read_structures(path / RELAXED_FILE if relaxed else path)
    return Selection(
        structures=[] if result.crystals is None else to_structures(result.crystals),
        names=own_names(result),
        columns=result.properties,
        left_out=result.failures,
    )


def _plain(value: Any) -> Any:
    """A number, flag or text as Python has it, None for what is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if value == "" or (isinstance(value, float) and not np.isfinite(value)) else value


def _given(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns that hold a number, a flag or a text."""
    plain = {key: _plain(value) for key, value in columns.items() if isinstance(value, bool | int | float | str)}
    return {key: value for key, value in plain.items() if value is not None}


def _extxyz(selection: Selection) -> bytes:
    from io import StringIO

    from ase.io.extxyz import write_extxyz

    frames = to_atoms(from_structures(selection.structures))
    for atoms, name, columns in zip(frames, selection.names, selection.columns, strict=True):
        atoms.info = {"name": name} | {re.sub(r"\W", "_", key): value for key, value in _given(columns).items()}
    buffer = StringIO()
    write_extxyz(buffer, frames)
    return buffer.getvalue().encode()


def _ase_db(selection: Selection) -> bytes:
    from ase.db import connect
    from ase.db.core import check

    frames = to_atoms(from_structures(selection.structures))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about keys that are also formulas
        file = Path(folder) / "crystals.db"
        with connect(file, type="db") as database:
            for atoms, name, columns in zip(frames, selection.names, selection.columns, strict=True):
                pairs: dict[str, Any] = {}
                data: dict[str, Any] = {}
                for key, value in {"name": name, **_given(columns)}.items():
                    try:
                        check({key: value})
                        pairs[key] = value
                    except ValueError:  # a name or text that ASE wants for itself
                        data[key] = value
                database.write(atoms, key_value_pairs=pairs, data=data)
        # What ASE adds by chance and by the clock, so that the same crystals give the same bytes.
        with closing(sqlite3.connect(file)) as connection:
            fixed = "unique_id = printf('%032x', id), ctime = 0, mtime = 0, username = ''"
            connection.execute(f"UPDATE systems SET {fixed}")
            connection.commit()
            connection.execute("VACUUM")
        return file.read_bytes()


def _json(selection: Selection) -> bytes:
    entries = [
        json.dumps({"material_id": name, **_given(columns), "structure": structure.as_dict()}, ensure_ascii=False)
        for name, columns, structure in zip(selection.names, selection.columns, selection.structures, strict=True)
    ]
    return ("[\n" + ",\n".join(entries) + "\n]\n").encode()


def _parquet(selection: Selection) -> bytes:
    require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    crystals = from_structures(selection.structures)
    ends = crystals.ptr[1:-1].numpy()
    arrays: dict[str, Any] = {"id": selection.names}
    for key in dict.fromkeys(key for columns in selection.columns for key in columns):
        if key not in ("id", "lattice", "species", "frac_coords"):
            arrays[key] = _parquet_column([columns.get(key) for columns in selection.columns])
    arrays |= {
        "n_sites": crystals.num_atoms.numpy(),
        "lattice": list(crystals.lattice.reshape(-1, 9).numpy()),
        "species": np.split(crystals.atomic_numbers.numpy(), ends),
        "frac_coords": [part.ravel() for part in np.split(crystals.frac_coords.numpy(), ends)],
    }
    buffer = BytesIO()
    parquet.write_table(pyarrow.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()


def _parquet_column(values: list[Any]) -> list[Any]:
    """Values of one type; where types are mixed, texts."""
    plain = [list(v) if isinstance(v, list | tuple | np.ndarray) else _plain(v) for v in values]
    kinds = {type(value) for value in plain if value is not None}
    if len(kinds) <= 1 or kinds == {int, float}:
        return plain
    return [None if value is None else str(value) for value in plain]


def _input_set(name: str) -> Callable[[Structure], VaspInputSet]:
    """A class of pymatgen's input sets by its name."""
    from pymatgen.io.vasp import sets

    # Those for paths between structures take several.
    known = {
        key: value
        for key, value in vars(sets).items()
        if isinstance(value, type) and issubclass(value, sets.VaspInputSet) and key.endswith("Set") and "NEB" not in key
    }
    known.pop("VaspInputSet")
    if name not in known:
        raise InputError(f"--set {name!r} is not known; pymatgen has {', '.join(sorted(known))}")
    return known[name]
