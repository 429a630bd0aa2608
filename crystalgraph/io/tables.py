"""Crystals in tables: CSV, Parquet and ASE databases, a row each, with its other columns kept as properties.

A row of a CSV or Parquet file gives its crystal in one of these ways, looked for in this order:

* ``cif``: a CIF, as in MP-20;
* ``structure``: pymatgen JSON (``Structure.as_dict``);
* ``lattice`` (9 numbers, the rows a, b, c, Å), ``species`` (atomic numbers or symbols) and ``frac_coords`` (3 numbers
  a site), as in the Parquet files that ``cg-data export`` writes;
* ``lattice_vectors``, ``cartesian_site_positions``, ``species_at_sites`` and perhaps ``species``, as in OPTIMADE.

It is called by its ``material_id``, ``id``, ``entry_id`` or ``jid``, else by its number. Entries of JSON files are rows
too, of which ``atoms`` may hold the crystal as JARVIS writes it, and ``attributes`` as OPTIMADE does.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Element, Structure

from crystalgraph.crystals.conversion import atoms_fault
from crystalgraph.errors import InputError
from crystalgraph.io.bounds import MAX_BYTES, MAX_COLUMNS, MAX_SITES, too_many_bytes, too_many_sites
from crystalgraph.io.cif import cif_parts
from crystalgraph.io.decoding import require_readable_size
from crystalgraph.io.documents import structure_from_document

if TYPE_CHECKING:
    from ase import Atoms

Row = Mapping[str, Any]

ID_COLUMNS = ("material_id", "id", "entry_id", "jid")
"""Where a row says what it is called."""

STRUCTURE_COLUMNS = (
    *("cif", "structure", "atoms", "attributes", "lattice", "species", "frac_coords"),
    *("lattice_vectors", "cartesian_site_positions", "species_at_sites"),
)
"""Columns that say where the atoms are."""

TABLE_ERRORS = (ArithmeticError, EOFError, OSError, RuntimeError, ValueError, sqlite3.Error)
"""What pandas, pyarrow and SQLite raise on files that are not what they seem."""

#: Features of an OPTIMADE structure that leave atoms or their places open.
_OPEN_FEATURES = ("unknown_positions", "implicit_atoms", "site_attachments", "assemblies")


def csv_parts(text: str) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each row of a CSV file: its name, and what parses it.

    Raises:
        ValueError: if it is no CSV, or no column gives crystals.
    """
    import pandas as pd

    if (n_columns := text.partition("\n")[0].count(",") + 1) > MAX_COLUMNS:
        raise ValueError(f"it has {n_columns:,} columns; up to {MAX_COLUMNS:,} are read")
    table = pd.read_csv(io.StringIO(text), dtype=dict.fromkeys(ID_COLUMNS, str), low_memory=False)
    return _row_parts(table.drop(columns=[name for name in table.columns if str(name).startswith("Unnamed: ")]))


def parquet_parts(file: Path) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each row of a Parquet file: its name, and what parses it.

    Raises:
        InputError: without pyarrow.
        ValueError: if it is no Parquet, or no column gives crystals.
    """
    import pandas as pd

    require_pyarrow()
    from pyarrow import parquet

    require_readable_size(file)
    metadata = parquet.read_metadata(file)
    unpacked = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
    if not 0 <= unpacked <= MAX_BYTES:
        raise ValueError(too_many_bytes())
    return _row_parts(pd.read_parquet(file))


def require_pyarrow() -> None:
    """Make sure that Parquet can be read and written.

    Raises:
        InputError: if pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("Parquet needs pyarrow; install it with: pip install 'crystalgraph[data]'") from None


def ase_parts(file: Path) -> Iterator[tuple[str, Callable[[], Structure]]]:
    """Each row of an ASE database (SQLite): its name, and what makes it a structure.

    The key-value pairs, the numbers and texts among the data, and the energy (eV, of the whole cell) become properties.

    Raises:
        ValueError: if the file is no ASE database.
    """
    from ase.db import connect

    require_readable_size(file)
    # Looked at first, because ASE makes its tables in any SQLite file that it opens.
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'systems'").fetchone()
    except sqlite3.Error as error:
        raise ValueError(f"it is no ASE database: {error}") from None
    if not found[0]:
        raise ValueError("it is no ASE database: it has no table 'systems'")
    rows, last = connect(file, type="db").select(), 0
    while True:
        try:
            row = next(rows, None)
        except (*TABLE_ERRORS, AttributeError, LookupError, TypeError) as error:
            yield f"after-{last}", partial(_raise, f"the rows after number {last} cannot be read: {error}")
            return
        if row is None:
            return
        told = dict(row.data) | dict(row.key_value_pairs)
        if "energy" in row:
            told["energy"] = row.energy
        name = next((str(told[key]) for key in ("name", *ID_COLUMNS) if key in told), str(row.id))
        last = row.id
        yield name, partial(_structure_of_ase_row, row, told)


def structure_from_atoms(atoms: Atoms) -> Structure:
    """A structure with the ``info`` and the computed numbers of ASE atoms as its properties.

    Raises:
        ValueError: if the atoms are not a crystal.
    """
    if fault := atoms_fault(atoms):
        raise ValueError(fault)
    told = dict(atoms.info)
    if atoms.calc is not None:
        told |= {key: value for key, value in atoms.calc.results.items() if np.ndim(value) == 0}
    return Structure(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=False), properties=told)


def structure_from_optimade(attributes: Row) -> Structure:
    """The structure of an OPTIMADE entry; not ordered where its species are not.

    Args:
        attributes: the ``attributes`` of an entry of type ``structures``.

    Raises:
        ValueError: if something is missing, or atoms or places are left open.

    Reference:
        M. L. Evans et al., Digital Discovery 3, 1509 (2024) (OPTIMADE 1.2).
    """
    needed = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
    if missing := [name for name in needed if attributes.get(name) is None]:
        raise ValueError(f"it has no {', '.join(missing)}")
    if still_open := [name for name in _OPEN_FEATURES if name in _listed(attributes.get("structure_features"))]:
        raise ValueError(f"it has {', '.join(still_open).replace('_', ' ')}")
    if (periodic := _listed(attributes.get("dimension_types"))) and [int(axis) for axis in periodic] != [1, 1, 1]:
        raise ValueError("it is not periodic in all three directions")
    positions, at_sites = _listed(attributes["cartesian_site_positions"]), _listed(attributes["species_at_sites"])
    if len(positions) > MAX_SITES:
        raise ValueError(too_many_sites(len(positions)))
    if len(positions) != len(at_sites):
        raise ValueError(f"it has {len(positions)} positions for {len(at_sites)} species")
    occupants = {species["name"]: _occupants(species) for species in _listed(attributes.get("species"))}
    return Structure(
        np.array([list(vector) for vector in attributes["lattice_vectors"]], dtype=np.float64),
        [occupants.get(name, name) for name in at_sites],
        np.array([list(position) for position in positions], dtype=np.float64),
        coords_are_cartesian=True,
    )


def _occupants(species: Row) -> dict[str, float]:
    """How much of each element a kind of site holds; vacancies are what is missing to one."""
    if species.get("attached") is not None and len(species["attached"]):
        raise ValueError(f"atoms are attached to its species {species['name']} without positions")
    shares: dict[str, float] = {}
    for symbol, share in zip(species["chemical_symbols"], species["concentration"], strict=True):
        if symbol != "vacancy":
            shares[symbol] = shares.get(symbol, 0.0) + share
    return shares


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value)


def _row_parts(table: Any) -> Iterator[tuple[str, Callable[[], Structure]]]:
    if not {"cif", "structure", "lattice", "lattice_vectors"} & set(table.columns):
        raise ValueError("it has none of the columns cif, structure, lattice or lattice_vectors")
    for number, row in enumerate(table.to_dict("records")):
        yield row_id(row) or str(number), partial(structure_of_row, row)


def row_id(row: Any) -> str:
    """What a row calls its crystal, empty where it does not say."""
    if not isinstance(row, Mapping):
        return ""
    names = (row.get(key) for key in ID_COLUMNS)
    texts = (name.get("string") if isinstance(name, Mapping) else name for name in names)  # emmet's identifiers
    return next(
        (str(text) for text in texts if isinstance(text, int | float | str) and _given(text) and text != ""), ""
    )


def structure_of_row(row: Row) -> Structure:
    """The crystal of a row, with its other columns as properties.

    Raises:
        ValueError: if it gives none.
    """
    if isinstance(attributes := row.get("attributes"), Mapping):  # an entry of OPTIMADE
        row = {"id": row.get("id")} | dict(attributes)
    structure = _structure(row)
    structure.properties = {key: value for key, value in row.items() if key not in STRUCTURE_COLUMNS and _given(value)}
    structure.properties |= {key: row_id({key: row[key]}) for key in ID_COLUMNS if isinstance(row.get(key), Mapping)}
    return structure


def _structure(row: Row) -> Structure:
    if _given(row.get("cif")):
        blocks = list(cif_parts(str(row["cif"])))
        if len(blocks) != 1:
            raise ValueError(f"its CIF holds {len(blocks)} crystals, not one")
        return blocks[0][1]()
    for name in ("structure", "atoms"):
        if _given(row.get(name)):
            return structure_from_document(row[name])
    if _given(row.get("lattice")):
        if missing := [name for name in ("species", "frac_coords") if not isinstance(row.get(name), Sized)]:
            raise ValueError(f"it has no {', '.join(missing)}")
        if len(row["species"]) > MAX_SITES:
            raise ValueError(too_many_sites(len(row["species"])))
        species = [Element.from_Z(int(one)) if isinstance(one, int | np.integer) else one for one in row["species"]]
        frac_coords = np.array([np.asarray(one) for one in row["frac_coords"]], dtype=np.float64)
        lattice = np.array([np.asarray(one) for one in row["lattice"]], dtype=np.float64)
        return Structure(lattice.reshape(3, 3), species, frac_coords.reshape(-1, 3))
    if _given(row.get("lattice_vectors")):
        return structure_from_optimade(row)
    raise ValueError("its row gives no crystal")


def _structure_of_ase_row(row: Any, told: dict[str, Any]) -> Structure:
    from ase import Atoms

    if row.natoms > MAX_SITES:
        raise ValueError(too_many_sites(row.natoms))
    # Without constraints and calculator, which a database may name as it likes.
    structure = structure_from_atoms(Atoms(row.numbers, positions=row.positions, cell=row.cell, pbc=row.pbc))
    structure.properties = told
    return structure


def _raise(reason: str) -> Structure:
    raise ValueError(reason)


def _given(value: Any) -> bool:
    """Whether a cell of a table holds anything."""
    return value is not None and not (isinstance(value, float) and np.isnan(value))
