"""Read crystals from the files chemists keep them in.

A file, or a block or frame of one, that does not give a crystal is kept with its reason; the others are read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifFile, CifParser, str2float
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

from crystalgraph.crystals import Crystals
from crystalgraph.errors import InputError
from crystalgraph.io.conversion import atoms_fault, from_structures, structure_fault
from crystalgraph.io.writing import EXTXYZ_FILE

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

#: What a run folder is known by, and where it keeps its crystals.
_RUN_RECORD, _RUN_STRUCTURES = "run.json", "structures"

_JSON = (".json", ".jsonl")

#: Where CIFs state their space group.
_GROUP_KEYS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_symmetry_Int_Tables_number",
    "_space_group_IT_number",
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
        order: every name, of a crystal or of a failure, in the order in which the files hold them.
        files: the files that were read, in order.
    """

    crystals: Crystals | None
    names: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def checksum(self) -> str:
        """SHA-256 of the files read, names and content, wherever their folder lies."""
        digest = hashlib.sha256()
        for file in self.files:
            try:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError:
                content = "unreadable"
            digest.update(f"{file.name}\0{content}\n".encode())
        return digest.hexdigest()


def read_structures(path: str | os.PathLike[str]) -> ReadResult:
    """Read a CIF (one or many blocks), an extxyz (one or many frames), a POSCAR, pymatgen JSON, or a folder of files.

    In a folder the files ``*.cif``, ``*.extxyz``, ``*.xyz``, ``*.vasp``, ``*.poscar``, ``POSCAR*`` and ``CONTCAR*``
    are read in the order of their names; other files and subfolders are left alone. ``*.json`` and ``*.jsonl`` are
    read where there are no others. Of a run folder, which keeps the same crystals in several formats, only one
    is read: CIF, else extxyz, else POSCAR.

    JSON holds structures as pymatgen writes them (``Structure.as_dict``): one, a list, a table by name, or one a line;
    a structure may also be the ``structure`` of an entry.

    Args:
        path: file or folder.

    Returns:
        The crystals with their names, and the reason for everything that could not be read.

    Raises:
        InputError: if the path does not exist, its kind is not known, or the folder holds no file of a known kind.
    """
    readers = _choose_files(Path(path))
    stems = Counter(file.stem for file in readers)
    structures: list[Structure] = []
    names: list[str] = []
    failures: dict[str, str] = {}
    taken: dict[str, None] = {}
    for file, reader in readers.items():
        label = file.stem if stems[file.stem] == 1 else file.name
        for part, result in _read_file(file, reader):
            name = _free_name(f"{label}#{part}" if part else label, taken)
            taken[name] = None
            if isinstance(result, str):
                failures[name] = result
            else:
                structures.append(result)
                names.append(name)
    return ReadResult(
        crystals=from_structures(structures) if structures else None,
        names=names,
        failures=failures,
        order=list(taken),
        files=list(readers),
    )


def _choose_files(path: Path) -> dict[Path, Reader]:
    """The files to read at a path, each with its reader."""
    known = "*.cif, *.extxyz, *.xyz, *.vasp, *.poscar, POSCAR*, CONTCAR*, *.json, *.jsonl"
    if path.is_dir():
        for folder, ends in _places(path):
            if readers := _readers_in(folder, ends):
                return readers
        raise InputError(f"folder {str(path)!r} holds no structure file; it needs at least one of {known}")
    if not path.exists():
        raise InputError(f"{str(path)!r} does not exist; name a structure file or a folder of them")
    if reader := _reader(path):
        return {path: reader}
    raise InputError(f"{str(path)!r} is not a known kind of structure file; allowed are {known}")


def _places(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Folders to look into, and for which ends of names, until one of them holds something."""
    if (path / _RUN_RECORD).is_file() and (path / _RUN_STRUCTURES).is_dir():
        yield path / _RUN_STRUCTURES, (".cif",)
        yield path, (EXTXYZ_FILE,)
        yield path / _RUN_STRUCTURES, (".vasp",)
    else:
        yield path, ()
        yield path, _JSON


def _readers_in(folder: Path, ends: tuple[str, ...]) -> dict[Path, Reader]:
    """Structure files of a folder by name, with their readers; without ends all kinds but JSON."""
    readers: dict[Path, Reader] = {}
    for file in sorted(entry for entry in folder.iterdir() if not entry.is_dir()):
        name = file.name.lower()
        wanted = name.endswith(ends) if ends else not name.endswith(_JSON)
        if wanted and (reader := _reader(file)):
            readers[file] = reader
    return readers


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
    except ValueError as error:
        yield "", f"it cannot be read ({error})"
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


def _json_parts(text: str) -> Iterator[Part]:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        # Several documents one after the other are one a line; a broken line does not take the others with it.
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise ValueError(f"it is not JSON: {error}") from None
        for number, line in enumerate(lines):
            yield str(number), partial(_parse_json_line, line)
        return
    if isinstance(content, dict) and not _is_entry(content):
        named = list(content.items())
    else:
        documents = content if isinstance(content, list) else [content]
        named = [(_entry_id(document) or str(number), document) for number, document in enumerate(documents)]
    for name, document in named:
        yield name, partial(_structure_of, document)


def _parse_json_line(line: str) -> Structure:
    return _structure_of(json.loads(line))


def _is_entry(document: Any) -> bool:
    """Whether this is a structure or something that has one, rather than a table of them."""
    return isinstance(document, dict) and ("lattice" in document or "structure" in document)


def _entry_id(document: Any) -> str:
    """What databases call the crystal, or nothing."""
    if not isinstance(document, dict):
        return ""
    return next((str(document[key]) for key in ("material_id", "entry_id") if document.get(key)), "")


def _structure_of(document: Any) -> Structure:
    if not _is_entry(document):
        raise ValueError("it is no structure as pymatgen writes it, with lattice and sites")
    return Structure.from_dict(document if "lattice" in document else document["structure"])


_READERS: dict[str, Reader] = {
    ".cif": _cif_parts,
    ".extxyz": _extxyz_parts,
    ".xyz": _extxyz_parts,
    ".vasp": _poscar_part,
    ".poscar": _poscar_part,
    ".json": _json_parts,
    ".jsonl": _json_parts,
}


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it new."""
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
