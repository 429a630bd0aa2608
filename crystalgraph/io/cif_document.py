"""A crystal as CIF: operations, Wyckoff letters and asymmetric unit, and under our own tags what is known about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gemmi
import spglib
from gemmi import cif

from crystalgraph import __version__
from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.crystals.standard_cell import StandardCell

if TYPE_CHECKING:
    from pymatgen.core import Structure

PREFIX = "_crystalgraph_"
"""Of the tags that no dictionary of the IUCr defines; the rest of each is a column of `crystalgraph.io.columns`."""

_OPERATION = "_space_group_symop_operation_xyz"

_SITE = "_atom_site_"

_DIGITS = 10
"""Decimals of coordinates, lengths and angles: a billionth of an Å, so that rounding moves nothing."""


def conventional_cif(cell: StandardCell, name: str, properties: dict[str, Any]) -> str:
    """The conventional cell with its symmetry.

    Args:
        cell: of the crystal.
        name: of the data block.
        properties: column -> number, flag or text; what is missing is left out.
    """
    block = _block(name, cell.conventional, properties | {"symprec": SYMPREC})
    setting = spglib.get_spacegroup_type(cell.hall_number)
    assert setting is not None
    operations = gemmi.symops_from_hall(setting.hall_symbol)
    group = gemmi.find_spacegroup_by_ops(operations)
    _set(block, "_space_group_IT_number", cell.space_group)
    _set(block, "_space_group_name_H-M_alt", group.xhm())
    _set(block, "_space_group_name_Hall", group.hall)
    loop = block.init_loop("", [_OPERATION])
    for operation in operations:
        loop.add_row([cif.quote(operation.triplet())])
    coords = cell.conventional.frac_coords
    sites = []
    for first in sorted(set(cell.orbits)):
        members = [site for site, orbit in enumerate(cell.orbits) if orbit == first]
        nearest = min(members, key=lambda site: tuple(coords[site].round(_DIGITS) % 1))
        sites.append((nearest, len(members), cell.wyckoff_letters[first]))
    _add_sites(block, cell.conventional, sites)
    return block.as_string()


def p1_cif(structure: Structure, name: str, properties: dict[str, Any]) -> str:
    """A whole cell without symmetry; arguments as for `conventional_cif`."""
    block = _block(name, structure, properties)
    _set(block, "_space_group_IT_number", 1)
    _set(block, "_space_group_name_H-M_alt", "P 1")
    _set(block, "_space_group_name_Hall", "P 1")
    block.init_loop("", [_OPERATION]).add_row([cif.quote("x,y,z")])
    _add_sites(block, structure, [(site, 1, "a") for site in range(len(structure))])
    return block.as_string()


def _block(name: str, structure: Structure, properties: dict[str, Any]) -> cif.Block:
    """What a file says besides symmetry and sites."""
    block = cif.Document().add_new_block(_ascii(name).replace(" ", "_"))
    composition, lattice = structure.composition, structure.lattice
    _set(block, "_audit_creation_method", f"crystalgraph {__version__}")
    _set(block, "_chemical_formula_sum", composition.formula)
    _set(block, "_cell_formula_units_Z", round(composition.get_reduced_composition_and_factor()[1]))
    for side, length, angle, angle_name in zip(
        "abc", lattice.abc, lattice.angles, ("alpha", "beta", "gamma"), strict=True
    ):
        _set(block, f"_cell_length_{side}", _number(length))
        _set(block, f"_cell_angle_{angle_name}", _number(angle))
    _set(block, "_cell_volume", _number(lattice.volume))
    _set(block, "_exptl_crystal_density_diffrn", f"{structure.density:.6g}")
    for column, value in properties.items():
        _set(block, f"{PREFIX}{column}", value)
    return block


def _add_sites(block: cif.Block, structure: Structure, sites: list[tuple[int, int, str]]) -> None:
    """Sites by position in the structure, multiplicity and Wyckoff letter."""
    heads = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    loop = block.init_loop(_SITE, [*heads, "site_symmetry_multiplicity", "Wyckoff_symbol"])
    counts: dict[str, int] = {}
    for site, multiplicity, letter in sites:
        symbol = structure[site].specie.symbol
        counts[symbol] = counts.get(symbol, 0) + 1
        coords = [_number(x) for x in structure.frac_coords[site].round(_DIGITS) % 1]
        loop.add_row([f"{symbol}{counts[symbol]}", symbol, *coords, "1", str(multiplicity), letter])


def _set(block: cif.Block, tag: str, value: Any) -> None:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float):
        value = f"{value:.6g}"
    block.set_pair(tag, cif.quote(_ascii(str(value))))


def _number(value: float) -> str:
    return f"{round(value, _DIGITS):.15g}"


def _ascii(text: str) -> str:
    """The text in one line of what a CIF can hold."""
    return " ".join(text.split()).replace("Å", "A").encode("ascii", "backslashreplace").decode()
