"""Write crystals as CIF, POSCAR or extxyz; the same structures give the same bytes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from crystalgraph.crystals.conversion import from_structures, to_atoms
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_text
from crystalgraph.io.run_layout import EXTXYZ_FILE

FORMATS = ("cif", "poscar", "extxyz")
"""Formats that `write_structures` writes."""


def write_structures(
    structures: Sequence[Structure],
    names: Sequence[str],
    folder: str | os.PathLike[str],
    fmt: str,
    *,
    symprec: float | None = None,
) -> list[Path]:
    """Write structures; the same structures give the same bytes.

    ``cif`` gives ``NAME.cif`` with the whole cell in P1, ``poscar`` gives ``NAME.vasp`` with the sites grouped by
    element, ``extxyz`` one ``candidates.extxyz`` with the name in each frame.

    Args:
        structures: ordered structures.
        names: one name each, all different; they become file names.
        folder: where the files go; it is made if it is missing.
        fmt: one of `FORMATS`.
        symprec: for CIFs, find the space group with this tolerance (Å) and write the refined conventional cell
            with its symmetry; None writes the cell as it is.

    Returns:
        The files written.

    Raises:
        InputError: if the format is not known, names do not fit, a file exists already, or no symmetry is found.
    """
    if fmt not in FORMATS:
        raise InputError(f"format {fmt!r} is not known; allowed are {', '.join(FORMATS)}")
    if len(structures) != len(names) or len(set(names)) != len(names):
        raise InputError(f"{len(structures)} structures with {len(set(names))} different names; give each its own")
    if unfit := [name for name in names if Path(name).name != name]:
        raise InputError(f"{unfit[0]!r} cannot be a file name; leave out slashes")
    folder = Path(folder)
    if fmt == "extxyz":
        texts = {folder / EXTXYZ_FILE: _extxyz(structures, names)}
    elif fmt == "poscar":
        texts = {
            folder / f"{name}.vasp": _poscar(structure, name) for name, structure in zip(names, structures, strict=True)
        }
    else:
        texts = {
            folder / f"{name}.cif": _cif(structure, name, symprec)
            for name, structure in zip(names, structures, strict=True)
        }
    for file in texts:
        if file.exists():
            raise InputError(f"{str(file)!r} exists and is not overwritten; choose another folder")
    for file, text in texts.items():
        write_text(file, text)
    return list(texts)


def _cif(structure: Structure, name: str, symprec: float | None) -> str:
    try:
        text = str(CifWriter(structure, symprec=symprec))
    except (TypeError, ValueError) as error:
        if symprec is None:
            raise
        raise InputError(f"{name}: no symmetry found with symprec {symprec}; write it without") from error
    # The block carries the candidate's name, so that joined files can be told apart.
    return re.sub(r"^data_.*$", lambda _: f"data_{re.sub(r'[^!-~]', '_', name)}", text, count=1, flags=re.MULTILINE)


def _poscar(structure: Structure, name: str) -> str:
    return Poscar(structure, comment=name, sort_structure=True).get_str(significant_figures=12)


def _extxyz(structures: Sequence[Structure], names: Sequence[str]) -> str:
    from ase.io.extxyz import write_extxyz

    frames = to_atoms(from_structures(structures)) if structures else []
    for atoms, name in zip(frames, names, strict=True):
        atoms.info["name"] = name
    buffer = io.StringIO()
    write_extxyz(buffer, frames)
    return buffer.getvalue()
