"""The one door: whatever holds crystals, a table of them comes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import atoms_fault, from_atoms, structure_fault
from crystalgraph.crystals.table import CrystalTable, Source
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import dataset_names, is_dataset, load_dataset
from crystalgraph.io.reading import read_structures
from crystalgraph.progress import Progress

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

CrystalSource: TypeAlias = (
    "CrystalTable | Crystals | str | os.PathLike[str] | Structure | Atoms | Sequence[Structure] | Sequence[Atoms]"
    " | Mapping[str, Structure | Atoms | str]"
)
"""Whatever holds crystals."""


def load(source: CrystalSource, *, progress: Progress | None = None) -> CrystalTable:
    """Load crystals.

    Args:
        source: the name of a shipped dataset; the folder of a dataset or of a run; a structure file or a folder of
            them; pymatgen structures or ASE atoms, one, several (called "0", "1", …), or by name, where a text says
            why there is none; `Crystals`; or a table. A ``Path`` never means a shipped dataset.
        progress: called as files are read.

    Returns:
        The crystals, and the reason for everything that gave none.

    Raises:
        InputError: if there is no such thing, or it is nothing that holds crystals.
    """
    if isinstance(source, CrystalTable):
        return source
    if isinstance(source, Crystals):
        ids = [str(k) for k in range(len(source))]
        crystals = source.to(device="cpu", dtype=torch.float64)
        return CrystalTable(crystals=crystals, ids=ids, source=Source(name="crystals"))
    if isinstance(source, str | os.PathLike):
        return _from_path(source, progress)
    if isinstance(source, Mapping):
        return _from_objects(dict(source))
    if _is_structure(source) or _is_atoms(source):
        return _from_objects({"0": source})
    if not isinstance(source, Iterable):
        raise InputError(
            f"{source!r} holds no crystals; give the name of a dataset, a path, pymatgen structures or ASE atoms, "
            "Crystals, or a CrystalTable"
        )
    return _from_objects({str(k): _not_a_reason(item) for k, item in enumerate(source)})


def _from_path(source: str | os.PathLike[str], progress: Progress | None) -> CrystalTable:
    if not os.fspath(source):
        raise InputError("an empty text names no crystals; give a dataset, a file or a folder")
    try:
        named, exists = is_dataset(source), Path(source).exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{os.fspath(source)[:100]!r} cannot be looked up ({why}); give a dataset or a path") from None
    if named:
        return load_dataset(source)
    if not exists:
        shipped = ", ".join(dataset_names()) or "none"
        raise InputError(
            f"{os.fspath(source)!r} is neither a dataset ({shipped}) nor a file or folder; name one that is"
        )
    return read_structures(source, progress=progress)


def _from_objects(items: Mapping[str, Any]) -> CrystalTable:
    """Structures, ASE atoms, and reasons why there is none, by name."""
    faults = {name: _fault(item) for name, item in items.items()}
    sound = {name: item for name, item in items.items() if faults[name] is None}
    failures = {name: reason for name, reason in faults.items() if reason is not None}
    source, order = Source(name="structures"), list(items)
    if sound and all(_is_atoms(item) for item in sound.values()):
        crystals = from_atoms(list(sound.values()))
        return CrystalTable(crystals=crystals, ids=list(sound), failures=failures, order=order, source=source)
    structures = {name: _as_structure(item) for name, item in sound.items()}
    return CrystalTable.of_structures(structures, failures=failures, order=order, source=source)


def _not_a_reason(item: Any) -> Any:
    """The item; of a text, which is a reason where it has a name, what is wrong with it."""
    return f"it is the text {item!r}, neither a pymatgen Structure nor ASE Atoms" if isinstance(item, str) else item


def _as_structure(item: Any) -> Structure:
    from crystalgraph.io.tables import structure_from_atoms

    return structure_from_atoms(item) if _is_atoms(item) else item


def _fault(item: Any) -> str | None:
    """Why this gives no crystal, or None."""
    if isinstance(item, str):
        return item
    if _is_structure(item):
        return structure_fault(item)
    if _is_atoms(item):
        return atoms_fault(item)
    return f"it is of type {type(item).__name__}, neither a pymatgen Structure nor ASE Atoms"


def _is_structure(item: Any) -> bool:
    from pymatgen.core import Structure

    return isinstance(item, Structure)


def _is_atoms(item: Any) -> bool:
    from ase import Atoms

    return isinstance(item, Atoms)
