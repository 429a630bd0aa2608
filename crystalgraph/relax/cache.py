"""Finished relaxations in a folder, each under a name made from all that it depends on.

Several runs may share the folder. A file that is damaged is said and its relaxation done again.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import Formula
from crystalgraph.io.sealed import read_sealed, write_sealed
from crystalgraph.relax.potentials import potential_identity
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

LOGGER = logging.getLogger("crystalgraph.relax")
"""Hears what is worth a line; the commands print it."""


def read_relaxation(folder: Path, key: str) -> Relaxation | None:
    """The relaxation kept under a key, or None if there is none; one that is damaged is said and made anew."""
    path = folder / f"{key}.json"
    try:
        content = read_sealed(path)
        if content["key"] != key:
            raise ValueError("it is another relaxation's")
        return Relaxation.from_dict(content["relaxation"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOGGER.warning("%s is not believed (%s); the relaxation is done again", path, error)
        return None


def write_relaxation(
    folder: Path, key: str, structure: Structure, settings: RelaxSettings, record: dict[str, Any]
) -> None:
    """Keep a relaxation with what it depends on."""
    write_sealed(
        folder / f"{key}.json",
        {
            "key": key,
            "formula": str(Formula.from_atomic_numbers(structure.atomic_numbers)),
            "potential": potential_identity(settings.potential),
            "settings": asdict(settings),
            "relaxation": record,
        },
    )
