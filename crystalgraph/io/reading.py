"""Read crystals from the files chemists keep them in.

A file, or a block or frame of one, that does not give a crystal is kept with its reason; the others are read.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifFile, CifParser
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

from crystalgraph.crystals import Crystals
from crystalgraph.errors import InputError
from crystalgraph.io.conversion import atoms_fault, from_structures, structure_fault

Part = tuple[str, Callable[[], Structure]]
"""A block or frame of a file: its name and what turns it into a structure."""

Reader = Callable[[str], Iterator[Part]]
"""Cuts the text of one kind of file into parts."""

#: What the parsers of pymatgen and ASE raise on files that are not what they seem.
_PARSE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadPoscarWarning,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

#: Site symbols that stand for a molecule; pymatgen leaves out the site, or its hydrogen.
_MOLECULE_SYMBOLS = ("OH", "O-H", "Wat", "wat")


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """What was read, and what was not.

    Attributes:
        crystals: all crystals that could be read, float64; None if there are none.
        names: a name for each of them: the file's, then ``#`` and the block or frame if the file holds several.
        failures: name -> reason, one line, for everything that could not be read.
    """

    crystals: Crystals | None
    names: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def read_structures(path: str | os.PathLike[str]) -> ReadResult:
    """Read a CIF (one or many blocks), an extxyz (one or many frames), a POSCAR, or a folder of them.

    In a folder the files ``*.cif``, ``*.extxyz``, ``*.xyz``, ``*.vasp``, ``*.poscar``, ``POSCAR*`` and ``CONTCAR*``
    are read in the order of their names; other files and subfolders are left alone.

    Args:
        path: file or folder.

    Returns:
        The crystals with their names, and the reason for everything that could not be read.

    Raises:
        InputError: if the path does not exist, its kind is not known, or the folder holds no file of a known kind.
    """
    path = Path(path)
    known = "*.cif, *.extxyz, *.xyz, *.vasp, *.poscar, POSCAR*, CONTCAR*"
    if path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if not entry.is_dir())
        readers = {entry: reader for entry in entries if (reader := _reader(entry))}
        if not readers:
            raise InputError(f"folder {str(path)!r} holds no structure file; it needs at least one of {known}")
    elif not path.exists():
        raise InputError(f"{str(path)!r} does not exist; name a structure file or a folder of them")
    elif reader := _reader(path):
        readers = {path: reader}
    else:
        raise InputError(f"{str(path)!r} is not a known kind of structure file; allowed are {known}")

    stems = Counter(file.stem for file in readers)
    structures: list[Structure] = []
    names: list[str] = []
    failures: dict[str, str] = {}
    taken: set[str] = set()
    for file, reader in readers.items():
        label = file.stem if stems[file.stem] == 1 else file.name
        for part, result in _read_file(file, reader):
            name = _free_name(f"{label}#{part}" if part else label, taken)
            taken.add(name)
            if isinstance(result, str):
                failures[name] = result
            else:
                structures.append(result)
                names.append(name)
    return ReadResult(crystals=from_structures(structures) if structures else None, names=names, failures=failures)


def _reader(file: Path) -> Reader | None:
    """The reader of this kind of file, or None if the kind is not known."""
    if file.name.startswith("."):
        return None
    if file.suffix.lower() in _READERS:
        return _READERS[file.suffix.lower()]
    return _poscar_part if file.name.upper().startswith(("POSCAR", "CONTCAR")) else None


def _read_file(file: Path, reader: Reader) -> Iterator[tuple[str, Structure | str]]:
    """Each part of a file (its name, empty if it is the only one) with its structure, or why there is none."""
    try:
        parts = list(reader(file.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        yield "", f"it cannot be read ({error.strerror})"
        return
    if not parts:
        yield "", "it holds no crystal"
    for name, parse in parts:
        yield name if len(parts) > 1 else "", _parse(parse)


def _parse(parse: Callable[[], Structure]) -> Structure | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parsers warn about much that does not change the crystal
        try:
            structure = parse()
        except _PARSE_ERRORS as error:
            return f"it cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__})"
    return structure_fault(structure) or structure


def _cif_parts(text: str) -> Iterator[Part]:
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
    parser = CifParser.from_str(block, frac_tolerance=tolerance, check_cif=False)
    (structure,) = parser.parse_structures(primitive=False)
    if whole_cell and structure.is_ordered and len(structure) != len(symbols):
        raise ValueError(f"{len(symbols)} sites are listed but {len(structure)} are distinct atoms")
    stated = data.get("_chemical_formula_sum", "?")
    if structure.is_ordered and not _is_composition(structure.composition, stated):
        raise ValueError(f"the atoms are {structure.composition.formula} but the formula is {stated}")
    return structure


def _is_composition(composition: Composition, formula: str) -> bool:
    """Whether the formula a CIF states has this ratio of elements, or says nothing; deuterium counts as hydrogen."""
    try:
        stated = Composition(re.sub(r"\bD(?=[\d\s]|$)", "H", formula))
    except ValueError:
        return True
    found = Composition(composition.formula)  # writes deuterium as hydrogen, and no charges
    return stated.fractional_composition.almost_equals(found.fractional_composition, rtol=0, atol=0.005)


def _poscar_part(text: str) -> Iterator[Part]:
    yield "", lambda: _parse_poscar(text)


def _parse_poscar(text: str) -> Structure:
    with warnings.catch_warnings():
        # An old POSCAR without symbols; pymatgen would call its elements H, He, Li and so on.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Elements in POSCAR cannot be determined", category=BadPoscarWarning)
        try:
            return Poscar.from_str(_with_length_scale(text), read_velocities=False).structure
        except BadPoscarWarning as error:
            raise ValueError("it names no elements" if "determined" in str(error) else str(error)) from error


def _with_length_scale(text: str) -> str:
    """Replace a negative scale, which means the volume, by the factor for lengths.

    pymatgen does so for the lattice, but multiplies Cartesian coordinates by the volume.
    """
    lines = text.split("\n")
    scale = float(lines[1].split()[0])
    if scale >= 0:
        return text
    lattice = np.array([[float(number) for number in line.split()[:3]] for line in lines[2:5]])
    lines[1] = repr(float((-scale / abs(np.linalg.det(lattice))) ** (1 / 3)))
    return "\n".join(lines)


def _extxyz_parts(text: str) -> Iterator[Part]:
    # Cut by hand, so that one broken frame does not take the others with it.
    lines = text.splitlines()
    start = frame = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        count = int(lines[start]) if lines[start].strip().isdecimal() else None
        end = len(lines) if count is None else start + count + 2
        named = re.search(r'\bname=(?:"([^"]*)"|(\S+))', lines[start + 1]) if start + 1 < len(lines) else None
        name = (named.group(1) or named.group(2)) if named else str(frame)
        yield name, lambda chunk=lines[start:end], count=count: _parse_frame(chunk, count)  # type: ignore[misc]
        start, frame = end, frame + 1


def _parse_frame(lines: list[str], count: int | None) -> Structure:
    from ase.io import iread

    if count is None:
        raise ValueError(f"a frame starts with its number of atoms, not with {lines[0][:40]!r}")
    if len(lines) < count + 2:
        raise ValueError(f"{count} atoms are announced but the file ends after {max(len(lines) - 2, 0)}")
    (atoms,) = iread(io.StringIO("\n".join(lines) + "\n"), format="extxyz")
    if fault := atoms_fault(atoms):
        raise ValueError(fault)
    return Structure(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=False))


_READERS: dict[str, Reader] = {
    ".cif": _cif_parts,
    ".extxyz": _extxyz_parts,
    ".xyz": _extxyz_parts,
    ".vasp": _poscar_part,
    ".poscar": _poscar_part,
}


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or with the first number that makes it new."""
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
