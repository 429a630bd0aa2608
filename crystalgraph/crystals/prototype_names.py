"""What crystallographers call a crystal's structure type, from the AFLOW library of prototypes.

``python -m tools.build_prototypes`` writes the file from the one that pymatgen carries, which is slow to load.

Reference: Mehl et al., Comput. Mater. Sci. 136, S1 (2017), https://doi.org/10.1016/j.commatsci.2017.01.017
"""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystalgraph.crystals.time_limit import TimeUp, cpu_limit

if TYPE_CHECKING:
    from pymatgen.core import Structure

TIME_LIMIT = 2.0
"""CPU seconds for one comparison; what takes longer counts as different."""

PROTOTYPES = Path(__file__).parent / "prototypes.json"
"""Name, AFLOW label and primitive cell of each prototype."""

MAX_ATOMS = 100
"""Larger cells get no name; the largest prototype has fewer atoms."""


def prototype_name(structure: Structure, space_group: int | None) -> str:
    """The name of the nearest prototype with a crystal's stoichiometry and space group that it matches.

    Args:
        structure: ordered structure; which element is where in the prototype does not count.
        space_group: its number, 1 to 230; None for not found.

    Returns:
        Such as "Rutile (C4)": the mineral or compound, and the *Strukturbericht* designation; the AFLOW label where
        the library has neither. Empty where no prototype matches.
    """
    if space_group is None or len(structure) > MAX_ATOMS:
        return ""
    found: list[tuple[float, str]] = []
    for name, prototype in _prototypes().get((structure.composition.anonymized_formula, space_group), []):
        distance = _distance(prototype, structure)
        if distance is not None:
            found.append((distance, name))
    return min(found)[1] if found else ""


def _distance(prototype: Structure, structure: Structure) -> float | None:
    """Root mean square of the atoms' distances over (V/N)^(1/3), by pymatgen; None where the two do not match."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    try:
        with cpu_limit(TIME_LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = StructureMatcher().get_rms_anonymous(prototype, structure)
    except (TimeUp, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None
    return None if found is None or found[0] is None else float(found[0])


@lru_cache(maxsize=1)
def _prototypes() -> dict[tuple[str, int], list[tuple[str, Structure]]]:
    """Anonymous formula and space group -> names and structures."""
    from pymatgen.core import Structure

    grouped: dict[tuple[str, int], list[tuple[str, Structure]]] = {}
    for entry in json.loads(PROTOTYPES.read_bytes()):
        structure = Structure(entry["lattice"], entry["species"], entry["coords"])
        key = (structure.composition.anonymized_formula, int(entry["aflow"].split("_")[2]))
        grouped.setdefault(key, []).append((entry["name"], structure))
    return grouped
