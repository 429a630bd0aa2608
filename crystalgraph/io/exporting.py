"""Hand crystals over: from a dataset, a run folder or structure files to the formats that other programs take.

The same crystals give the same bytes. CIF and POSCAR have the standard cells of `crystalgraph.crystals.standard_cell`,
with the symmetry found within its tolerance; the other formats have each crystal in the cell that it came in.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.crystals.conversion import to_atoms
from crystalgraph.crystals.standard_cell import primitive_cell, right_handed
from crystalgraph.crystals.table import CrystalTable, plain
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free, new_folder, write_bytes
from crystalgraph.io.datasets import is_dataset, is_file
from crystalgraph.io.load import load
from crystalgraph.io.reading import own_ids
from crystalgraph.io.run_layout import CANDIDATES, RELAXED_FILE, RELAXED_FOLDER
from crystalgraph.io.tables import require_pyarrow
from crystalgraph.io.writing import extxyz_text, plain_properties, write_structures
from crystalgraph.progress import Progress, at_stage

if TYPE_CHECKING:
    from pymatgen.io.vasp.sets import VaspInputSet

#: What can be written; a folder with a file each, or one file with all.
_FOLDER_FORMATS, _FILE_FORMATS = ("cif", "cif-primitive", "poscar"), ("extxyz", "ase-db", "json", "parquet")

EXPORT_FORMATS = (*_FOLDER_FORMATS, *_FILE_FORMATS)


def select(source: str, *, top: int | None = None, ids: Sequence[str] = (), as_drawn: bool = False) -> CrystalTable:
    """Crystals of a dataset, of a run folder, or of structure files, under the ids that their files give.

    Args:
        source: a shipped dataset, the folder of one, a run folder, a structure file, or a folder of them. Of a run with
            relaxed crystals, these are taken.
        top: the first so many; those of a run are ranked.
        ids: instead of that, those with these ids.
        as_drawn: of a run with relaxed crystals, all that were selected, as they were before relaxation.

    Returns:
        The crystals, and the reason for everything that could not be read.

    Raises:
        InputError: if there is no such source, or it does not hold what is asked for.
    """
    if top is not None and (ids or top < 1):
        raise InputError(f"--top {top}: give a number of crystals, 1 or more, and no --ids beside it")
    relaxed = relaxed_part(source)
    if as_drawn and relaxed is None:
        raise InputError(f"--as-drawn is for run folders with relaxed crystals, and {source!r} is none; leave it out")
    table = load(source if relaxed is None or as_drawn else relaxed)
    table = table.revised(ids=own_ids(table))
    if unknown := [name for name in ids if name not in table.ids]:
        more = "; --as-drawn has those that were not relaxed" if relaxed is not None and not as_drawn else ""
        raise InputError(
            f"{source!r} holds no crystal {unknown[0]!r}{more}; `cg-data export SOURCE --format json` lists all"
        )
    positions = [table.ids.index(name) for name in ids] if ids else list(range(len(table)))[:top]
    return table[positions].revised(failures=table.failures)


def relaxed_part(source: str) -> Path | None:
    """The file or folder with the relaxed crystals of a run; None where a source has none."""
    file, folder = Path(source) / RELAXED_FILE, Path(source) / RELAXED_FOLDER
    if is_dataset(source) or not is_file(Path(source) / CANDIDATES):
        return None
    if file.is_file() and file.stat().st_size:
        return file
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def export(selection: CrystalTable, fmt: str, out: Path) -> None:
    """Write the crystals in one format.

    ``cif``, ``cif-primitive`` and ``poscar`` make a folder with a file each; ``extxyz``, ``ase-db``, ``json``
    (pymatgen's, one entry a crystal) and ``parquet`` (see `crystalgraph.io.tables`) make one file, with the columns
    beside each crystal.

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
    names = file_names(selection.ids)
    if fmt in _FOLDER_FORMATS:
        with new_folder(out) as folder:
            write_structures(_described(selection), names, folder, fmt)
    else:
        write = {"extxyz": _extxyz, "ase-db": _ase_db, "json": _json, "parquet": _parquet}[fmt]
        write_bytes(out, write(selection))


def export_vasp(
    selection: CrystalTable, out: Path, *, input_set: str = "MPRelaxSet", progress: Progress | None = None
) -> tuple[dict[str, str], dict[str, int]]:
    """Write VASP's INCAR, KPOINTS and primitive POSCAR of each crystal, and its potentials' names in a POTCAR.spec.

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
    report = at_stage(progress, "inputs")
    with new_folder(out) as folder:
        for done, (name, structure) in enumerate(
            zip(file_names(selection.ids), selection.structures, strict=True), start=1
        ):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    inputs = make(right_handed(primitive_cell(structure))).get_input_set(potcar_spec=True)
                except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
                    failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                else:
                    inputs.write_input(folder / name)
            for text in {str(w.message) for w in caught if w.category.__name__ == "BadInputSetWarning"}:
                remarks[text] = remarks.get(text, 0) + 1
            report(done, len(selection))
        if len(failures) == len(selection):
            name, reason = next(iter(failures.items()))
            raise InputError(f"{input_set} can be made for none of {len(failures)} crystals; {name}: {reason}")
    return failures, remarks


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


def _check(selection: CrystalTable, out: Path) -> None:
    if not len(selection):
        reason = next(iter(selection.failures.items()), None)
        raise InputError("there is no crystal to export" + (f"; {reason[0]}: {reason[1]}" if reason else ""))
    check_free(out)


def _described(selection: CrystalTable) -> list[Structure]:
    """The structures with their columns as properties."""
    return [s.copy(properties=row) for s, row in zip(selection.structures, selection.rows(), strict=True)]


def _extxyz(selection: CrystalTable) -> bytes:
    return extxyz_text(_described(selection), selection.ids).encode()


def _ase_db(selection: CrystalTable) -> bytes:
    from ase.db import connect
    from ase.db.core import check

    frames = to_atoms(selection.crystals)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about keys that are also formulas
        file = Path(folder) / "crystals.db"
        with connect(file, type="db") as database:
            for atoms, name, columns in zip(frames, selection.ids, selection.rows(), strict=True):
                pairs: dict[str, Any] = {}
                data: dict[str, Any] = {}
                for key, value in {"name": name, **plain_properties(columns)}.items():
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


def _json(selection: CrystalTable) -> bytes:
    entries = [
        json.dumps(
            {"material_id": name, **plain_properties(columns), "structure": structure.as_dict()}, ensure_ascii=False
        )
        for name, columns, structure in zip(selection.ids, selection.rows(), selection.structures, strict=True)
    ]
    return ("[\n" + ",\n".join(entries) + "\n]\n").encode()


def _parquet(selection: CrystalTable) -> bytes:
    require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    crystals = selection.crystals
    ends = crystals.ptr[1:-1].numpy()
    arrays: dict[str, Any] = {"id": selection.ids}
    for key, values in selection.columns.items():
        if key not in ("id", "lattice", "species", "frac_coords"):
            arrays[key] = _parquet_column([plain(value) for value in values])
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
    cells = [list(v) if isinstance(v, list | tuple | np.ndarray) else v for v in values]
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) <= 1 or kinds == {int, float}:
        return cells
    return [None if cell is None else str(cell) for cell in cells]


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
