"""Cut CIFs into blocks and turn each into a structure, strictly: what is read is the crystal that the file states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifFile, CifParser, str2float

#: Where CIFs state their space group.
_GROUP_KEYS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_symmetry_Int_Tables_number",
    "_space_group_IT_number",
)

#: Site symbols that stand for a molecule; pymatgen leaves out the site, or its hydrogen.
_MOLECULE_SYMBOLS = ("OH", "O-H", "Wat", "wat")


def cif_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each block with atoms: its name, and what parses it (`ValueError` says why there is no crystal)."""
    # Cut by hand, because CifFile keeps only the last of several blocks of one name.
    blocks = [f"data_{block}" for block in re.split(r"^[ \t]*data_", text, flags=re.MULTILINE | re.IGNORECASE)[1:]]
    # Blocks without atoms (the journal's, the powder pattern's) are not crystals that failed, unless there is no other.
    for block in [b for b in blocks if "_atom_site_" in b] or blocks:
        yield block.split(maxsplit=1)[0].removeprefix("data_"), lambda block=block: _parse_cif(block)  # type: ignore[misc]


def _parse_cif(block: str) -> Structure:
    data = next(iter(CifFile.from_str(block).data.values())).data
    symbols = data.get("_atom_site_type_symbol") or data.get("_atom_site_label") or []
    if molecules := sorted({symbol for symbol in symbols if symbol.startswith(_MOLECULE_SYMBOLS)}):
        raise ValueError(f"{', '.join(molecules)} stands for more than one atom")
    operations = data.get("_symmetry_equiv_pos_as_xyz") or data.get("_space_group_symop_operation_xyz")
    whole_cell = operations is not None and len([operations] if isinstance(operations, str) else operations) == 1
    # With symmetry, 0.3333 must become 1/3 so that images coincide; a whole cell is taken as it is written.
    tolerance = 0 if whole_cell else 1e-4
    if fault := _cell_fault(data):
        raise ValueError(fault)
    parser = CifParser.from_str(block, frac_tolerance=tolerance, check_cif=False)
    said: list[str] = vars(parser)["warnings"]
    try:
        (structure,) = parser.parse_structures(primitive=False)
    except ValueError as error:
        # What is wrong is only among the warnings.
        raise ValueError(said[-1].rpartition("\n")[2] if said else str(error)) from error
    if any("Defaulting to P1" in warning for warning in said) and (group := _stated_group(data)):
        raise ValueError(f"no symmetry operations are listed and its space group {group} is not known")
    if whole_cell and structure.is_ordered and len(structure) != len(symbols):
        raise ValueError(f"{len(symbols)} sites are listed but {len(structure)} are distinct atoms")
    stated = data.get("_chemical_formula_sum", "?")
    if structure.is_ordered and not _is_composition(structure.composition, stated):
        raise ValueError(f"the atoms are {structure.composition.formula} but the formula is {stated}")
    return structure


def _cell_fault(data: Mapping[str, Any]) -> str | None:
    """Why a CIF's lengths and angles make no cell, or None."""
    try:
        lengths = np.array([str2float(data[f"_cell_length_{axis}"]) for axis in ("a", "b", "c")])
        angles = np.array([str2float(data[f"_cell_angle_{axis}"]) for axis in ("alpha", "beta", "gamma")])
    except (KeyError, TypeError, ValueError):
        return "its cell is not given in six numbers"
    cosines = np.cos(np.radians(angles))
    if lengths.min() <= 0 or 1 + 2 * cosines.prod() - (cosines**2).sum() <= 0:
        return "its cell has no volume"
    return None


def _stated_group(data: Mapping[str, Any]) -> str:
    """The space group that a CIF states; empty where it states none, or P1."""
    stated = [str(data.get(key, "?")).strip() for key in _GROUP_KEYS]
    return next((group for group in stated if group.replace(" ", "") not in ("", "?", ".", "1", "P1")), "")


def _is_composition(composition: Composition, formula: str) -> bool:
    """Whether the formula a CIF states has this ratio of elements, or says nothing; deuterium counts as hydrogen."""
    try:
        stated = Composition(re.sub(r"\bD(?=[\d\s]|$)", "H", formula))
    except ValueError:
        return True
    found = Composition(composition.formula)  # writes deuterium as hydrogen, and no charges
    return stated.fractional_composition.almost_equals(found.fractional_composition, rtol=0, atol=0.005)
