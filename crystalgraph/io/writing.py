"""Write crystals as CIF, POSCAR or extxyz; the same structures give the same bytes.

A CIF has the conventional cell with its symmetry, or the primitive cell; a POSCAR has the primitive cell. In both the
symmetry found within `crystalgraph.crystals.space_groups.SYMPREC` is exact. The ``properties`` of a structure, by the
names of `crystalgraph.io.columns`, go into each file as it can hold them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.conversion import from_structures, to_atoms
from crystalgraph.crystals.space_group_symbols import group_symbol
from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.crystals.standard_cell import primitive_cell, right_handed, standard_cell
from crystalgraph.crystals.table import is_missing
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_text
from crystalgraph.io.run_layout import EXTENSION, EXTXYZ_FILE

if TYPE_CHECKING:
    from ase import Atoms

FORMATS = ("cif", "cif-primitive", "poscar", "extxyz")
"""Formats that `write_structures` writes."""


def check_formats(formats: Sequence[str]) -> list[str]:
    """Formats of structures as they are written, each once.

    Raises:
        InputError: if one is not known, or two would be written under one name.
    """
    names = list(dict.fromkeys(name.strip().lower() for name in formats))
    if unknown := [name for name in names if name not in FORMATS]:
        raise InputError(f"format {unknown[0]!r} is not known; give any of {', '.join(FORMATS)}")
    if {"cif", "cif-primitive"} <= set(names):
        raise InputError("formats cif and cif-primitive are both written as NAME.cif; give one of them")
    return names


def write_structures(
    structures: Sequence[Structure],
    names: Sequence[str],
    folder: str | os.PathLike[str],
    fmt: str,
) -> list[Path]:
    """Write structures; the same structures give the same bytes.

    ``cif`` gives ``NAME.cif`` with the conventional cell, its operations and its asymmetric unit; ``cif-primitive``
    gives ``NAME.cif`` with all sites of the primitive cell in P1, as both do for a crystal without symmetry;
    ``poscar`` gives ``NAME.vasp`` with the primitive cell, the sites grouped by element; ``extxyz`` one
    ``candidates.extxyz`` with the cells as they are and the name in each frame.

    Args:
        structures: ordered structures; what is known about one is in its ``properties``.
        names: one name each, all different; they become file names.
        folder: where the files go; it is made if it is missing.
        fmt: one of `FORMATS`.

    Returns:
        The files written.

    Raises:
        InputError: if the format is not known, names do not fit, or a file exists already.
    """
    check_formats([fmt])
    if len(structures) != len(names) or len(set(names)) != len(names):
        raise InputError(f"{len(structures)} structures with {len(set(names))} different names; give each its own")
    if unfit := [name for name in names if Path(name).name != name]:
        raise InputError(f"{unfit[0]!r} cannot be a file name; leave out slashes")
    folder = Path(folder)
    if fmt == "extxyz":
        texts = {folder / EXTXYZ_FILE: extxyz_text(structures, names)}
    else:
        text = {"cif": _cif, "cif-primitive": _primitive_cif, "poscar": _poscar}[fmt]
        texts = {
            folder / f"{name}{EXTENSION[fmt]}": text(structure, name)
            for name, structure in zip(names, structures, strict=True)
        }
    for file in texts:
        if file.exists():
            raise InputError(f"{str(file)!r} exists and is not overwritten; choose another folder")
    for file, content in texts.items():
        write_text(file, content)
    return list(texts)


def extxyz_text(structures: Sequence[Structure], names: Sequence[str]) -> str:
    """Frames with the name and properties of each; ``energy`` is that of the cell, as the format has it, in eV."""
    from ase.io.extxyz import write_extxyz

    frames = to_atoms(from_structures(structures)) if structures else []
    for atoms, structure, name in zip(frames, structures, names, strict=True):
        _describe(atoms, plain_properties(structure.properties) | {"name": name})
    buffer = io.StringIO()
    write_extxyz(buffer, frames)
    return buffer.getvalue()


def plain_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are a number, a flag or a text, and not missing."""
    kinds = (bool, int, float, str)
    known = {key: value.item() if isinstance(value, np.generic) else value for key, value in properties.items()}
    return {key: value for key, value in known.items() if isinstance(value, kinds) and not is_missing(value)}


def _describe(atoms: Atoms, properties: dict[str, Any]) -> None:
    from ase.calculators.singlepoint import SinglePointCalculator

    energy = properties.pop("energy", None)
    if energy is not None:  # eV/atom in our tables
        properties["energy_per_atom"] = energy
        atoms.calc = SinglePointCalculator(atoms, energy=energy * len(atoms))
    atoms.info = {re.sub(r"\W", "_", key): value for key, value in properties.items()}


def _cif(structure: Structure, name: str) -> str:
    from crystalgraph.io.cif_document import conventional_cif

    cell = standard_cell(structure)
    if cell is None:
        return _primitive_cif(structure, name)
    properties = plain_properties(structure.properties)
    remarks = _remarks(structure, cell.space_group)
    return remarks + conventional_cif(cell, name, properties)


def _primitive_cif(structure: Structure, name: str) -> str:
    from crystalgraph.io.cif_document import p1_cif

    cell = standard_cell(structure)
    shown = right_handed(structure) if cell is None else cell.primitive
    remarks = _remarks(structure, None if cell is None else cell.space_group)
    return remarks + p1_cif(shown, name, plain_properties(structure.properties))


def _remarks(structure: Structure, space_group: int | None) -> str:
    """What the crystal is, as comments for a reader."""
    return "".join(f"# {line}\n" for line in description(structure, space_group))


def description(structure: Structure, space_group: int | None) -> list[str]:
    """What a crystal is and where it comes from, in a few lines of ASCII.

    Args:
        structure: what is known about it is in its ``properties``.
        space_group: number; None where none was found.
    """
    known = plain_properties(structure.properties)
    group = f"{group_symbol(space_group)} ({space_group})" if space_group else "no space group"
    lines = [f"{Formula.from_atomic_numbers(list(structure.atomic_numbers))}, {group} within {SYMPREC:g} A"]
    if "rank" in known:
        lines[0] += f", rank {known['rank']}"
    if "state" in known:
        lines[0] += f", {known['state']}"
    energies = {key.removeprefix("e_above_hull"): value for key, value in known.items() if _is_energy(key)}
    if energies:
        judged = [f"{value:.3f}{f' by {key[1:]}' if key else ''}" for key, value in energies.items()]
        under = f" at {known['pressure']:g} GPa" if "pressure" in known else ""
        lines.append(f"{'enthalpy ' if under else ''}above the hull{under}, eV/atom: {', '.join(judged)}")
    if "known_phase" in known:
        apart = f", atoms {known['known_rmsd']:.2f} A apart" if "known_rmsd" in known else ""
        lines.append(f"known as {known['known_phase']}{apart}")
    if "origin" in known:
        lines.append(str(known["origin"]))
    return [re.sub(r"\s+", " ", line).encode("ascii", "backslashreplace").decode() for line in lines]


def _is_energy(column: str) -> bool:
    return column.startswith("e_above_hull") and not column.endswith(("_spread", "_unrelaxed"))


def _poscar(structure: Structure, name: str) -> str:
    from pymatgen.io.vasp.inputs import Poscar

    cell = right_handed(primitive_cell(structure))
    return Poscar(cell, comment=name, sort_structure=True).get_str(significant_figures=12)
