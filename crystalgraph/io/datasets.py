"""The crystals that travel with the package: one folder a dataset, checked against its card when loaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystalgraph.crystals.batch import Crystals
from crystalgraph.errors import InputError

CARD, CRYSTALS, DFT_HULL = "card.json", "crystals.npz", "dft_hull.json"

#: Arrays of ``crystals.npz`` that are not one value a crystal, or that go into `Crystals`.
_NOT_COLUMNS = ("lattice", "frac_coords", "atomic_numbers", "duplicates")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Crystals with what is known about each, and the card that says where they come from.

    Attributes:
        name: name of the folder.
        crystals: all crystals, float64; fractional coordinates in [0, 1).
        columns: one value per crystal each, (n_crystals,); the card explains them. A text the source does not
            give is empty, a number NaN.
        duplicates: ids of entries that were merged into a crystal, all crystals one after the other,
            (columns["n_duplicates"].sum(),).
        card: content of ``card.json``: sources, licences, counts, columns, checksums.
    """

    name: str
    crystals: Crystals
    columns: dict[str, NDArray[Any]]
    duplicates: NDArray[np.str_]
    card: dict[str, Any]

    def __len__(self) -> int:
        return len(self.crystals)


def dataset_names() -> list[str]:
    """Names of the datasets that came with the package, sorted."""
    return sorted(card.parent.name for card in shipped_folder().glob(f"*/{CARD}"))


def load_dataset(name: str | os.PathLike[str]) -> Dataset:
    """Load a dataset and check it against the checksum on its card.

    Args:
        name: a shipped dataset, see `dataset_names`, or the folder of one.

    Returns:
        The whole dataset in memory.

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
    return Dataset(name=folder.name, crystals=crystals, columns=columns, duplicates=data["duplicates"], card=card)


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
    if (folder / CARD).is_file():
        return folder.resolve()
    known = ", ".join(names) or f"none (no dataset lies in {shipped_folder()}; install the package again)"
    raise InputError(f"no dataset {str(name)!r}; shipped are {known}; or name the folder of one, with its {CARD}")


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
