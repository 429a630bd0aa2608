"""The crystals that travel with the package: one folder a dataset, checked against its card when loaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.table import CrystalTable, Source
from crystalgraph.errors import InputError

CARD, CRYSTALS, DFT_HULL = "card.json", "crystals.npz", "dft_hull.json"

MP_SCALE = "MP PBE(+U), corrected"
"""What the column ``energy_scale`` says of energies on the scale of the Materials Project (MP2020)."""

#: Arrays of ``crystals.npz`` that are not one value a crystal, or that go into `Crystals`.
_NOT_COLUMNS = ("id", "num_atoms", "lattice", "frac_coords", "atomic_numbers", "duplicates")


def dataset_names() -> list[str]:
    """Names of the datasets that came with the package, sorted."""
    return sorted(card.parent.name for card in shipped_folder().glob(f"*/{CARD}"))


def load_dataset(name: str | os.PathLike[str]) -> CrystalTable:
    """Load a dataset and check it against the checksum on its card.

    Args:
        name: a shipped dataset, see `dataset_names`, or the folder of one.

    Returns:
        The whole dataset in memory, in the columns that its card explains and in those of
        `crystalgraph.crystals.table`. ``duplicates`` are the ids of entries that were merged into each crystal.

    Raises:
        InputError: if there is no such dataset, a file of it is missing, or its checksum is not the card's.
    """
    folder = dataset_folder(name)
    card = read_card(name)
    content = io.BytesIO(_read_checked(folder / CRYSTALS, card))
    with np.load(content, allow_pickle=False) as arrays:
        data: dict[str, NDArray[Any]] = {key: arrays[key] for key in arrays.files}
    frac_coords = data["frac_coords"].astype(np.float64)
    crystals = Crystals(
        lattice=torch.from_numpy(data["lattice"]),
        # In 32 bits, coordinates just below one were rounded up to one, which is the same place as zero.
        frac_coords=torch.from_numpy(np.where(frac_coords == 1, 0.0, frac_coords)),
        atomic_numbers=torch.from_numpy(data["atomic_numbers"].astype(np.int64)),
        num_atoms=torch.from_numpy(data["num_atoms"].astype(np.int64)),
    )
    columns = {key: values for key, values in data.items() if key not in _NOT_COLUMNS}
    ends = np.cumsum(data["n_duplicates"].astype(np.int64))[:-1]
    merged = np.empty(len(crystals), dtype=object)
    for position, ids in enumerate(np.split(data["duplicates"], ends)):
        merged[position] = ids.tolist()
    return CrystalTable(
        crystals=crystals,
        ids=data["id"].tolist(),
        columns=canonical(columns, folder.name) | {"duplicates": merged},
        source=Source(name=folder.name, sha256=card["sha256"][CRYSTALS], card=card),
    )


def canonical(columns: dict[str, NDArray[Any]], dataset: str) -> dict[str, NDArray[Any]]:
    """Columns as stored, with those of `crystalgraph.crystals.table` in their places or beside them.

    An energy is taken for DFT's on the scale of the Materials Project where the dataset states it for the entry, in
    ``energy_scale``, or, as "nbo", for all of them.

    Args:
        columns: as stored.
        dataset: name of the dataset.
    """
    columns = dict(columns)
    if dataset == "nbo" and "e_form" in columns:
        columns["dft_formation_energy"], columns["dft_e_above_hull"] = (
            columns.pop("e_form"),
            columns.pop("e_above_hull"),
        )
    elif "energy_scale" in columns:
        on_scale = columns["energy_scale"] == MP_SCALE
        for name in ("formation_energy_per_atom", "e_above_hull"):
            if name in columns:
                columns[_DFT_NAME[name]] = np.where(on_scale, columns[name], np.nan)
    if "experimentally_known" in columns:
        columns["experimental"] = columns["experimentally_known"].astype(np.int8)
    elif "theoretical" in columns:
        flag = columns["theoretical"]
        columns["experimental"] = np.select([flag == 0, flag == 1], [1, 0], -1).astype(np.int8)
    return columns


#: Columns of energies as stored -> what they are called where they are on the scale of the Materials Project.
_DFT_NAME = {"formation_energy_per_atom": "dft_formation_energy", "e_above_hull": "dft_e_above_hull"}


def load_dft_hull() -> dict[str, Any]:
    """DFT energies of the Nb, O and Nb-O entries of the Materials Project, for the convex hull.

    Returns:
        The file's content: ``entries`` (a dict each; ``fields`` explains the keys and gives the units, eV/atom),
        ``stable_ids``, ``references``.

    Raises:
        InputError: as for `load_dataset`.
    """
    folder = dataset_folder("nbo")
    content: dict[str, Any] = json.loads(_read_checked(folder / DFT_HULL, read_card("nbo")))
    return content


def is_dataset(source: object) -> bool:
    """Whether something names a dataset: a shipped one by its name, any by its folder. A `Path` is never a name."""
    if isinstance(source, str) and source in dataset_names():
        return True
    return isinstance(source, str | os.PathLike) and is_file(Path(source) / CARD)


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that is too long for one, or may not be looked at, names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_card(name: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a dataset, without loading the crystals.

    Raises:
        InputError: if there is no such dataset, or its card cannot be read.
    """
    folder = dataset_folder(name)
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_bytes())
        if not isinstance(card["sha256"], dict):
            raise TypeError("sha256 is not a table")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / CARD} cannot be read as a dataset's card ({error}); restore the folder") from error
    return card


def dataset_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a dataset, given by name or by path.

    Raises:
        InputError: if there is none.
    """
    names = dataset_names()
    if name in names:
        return shipped_folder() / str(name)
    folder = Path(name)
    if is_file(folder / CARD):
        return folder.resolve()
    known = ", ".join(names) or f"none (no dataset lies in {shipped_folder()}; install the package again)"
    raise InputError(f"no dataset {str(name)[:200]!r}; shipped are {known}; or name the folder of one, with its {CARD}")


def shipped_folder() -> Path:
    """Where the shipped datasets lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "datasets"
    return installed if installed.is_dir() else package.parent / "datasets"


def _read_checked(path: Path, card: dict[str, Any]) -> bytes:
    """Bytes of a dataset's file, if they are those its card vouches for."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); restore the dataset's folder") from error
    expected, found = card["sha256"].get(path.name, "none"), hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"{path} has SHA-256 {found[:12]}…, its card says {str(expected)[:12]}…: "
            "the file is damaged or was changed; restore the dataset's folder"
        )
    return content
