"""The known phases that a run is measured against: the shipped ones, a user's own, or those of a server."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from shutil import rmtree

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.load import CrystalSource
from crystalgraph.io.optimade import Query
from crystalgraph.io.sealed import read_sealed, write_sealed
from crystalgraph.known.phases import known_phases, readable
from crystalgraph.progress import Progress
from crystalgraph.runs.importing import import_dataset

LOGGER = logging.getLogger("crystalgraph.known")
"""Hears what is worth a line; the commands print it."""

SEAL = "seal.json"
"""In the folder of what a server gave: the checksums of its files."""


def reference_phases(
    source: CrystalSource | None, system: ChemicalSystem, *, progress: Progress | None = None
) -> CrystalTable:
    """The known phases within a system.

    Args:
        source: None for the shipped ones; anything that `crystalgraph.io.load.load` takes; or the address of an
            OPTIMADE server, whose answer is kept in the cache folder and not asked for again.
        system: the chemical system.
        progress: called as the work goes on.

    Returns:
        Those within the system, and why others could not be read.

    Raises:
        InputError: if nothing can be read, or the server has no such phase or does not answer.
    """
    if source is None:
        return known_phases(system)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        source = _fetched(source, system, progress)
    table = readable(source)
    return table.within(system).revised(failures=table.failures)


def _fetched(url: str, system: ChemicalSystem, progress: Progress | None) -> Path:
    """The folder of a dataset with all that a server has of a system and of the systems inside it."""
    elements = ", ".join(f'"{element}"' for element in system.elements)
    query = Query(url=url, filter=f"elements HAS ONLY {elements}")
    key = hashlib.sha256(f"{query.base} {query.filter}".encode()).hexdigest()[:16]
    folder = cache_folder("known") / f"{system}-{key}"
    if folder.exists() and not _is_whole(folder):
        LOGGER.warning("%s is not believed, for it was changed or not finished; the server is asked again", folder)
        rmtree(folder)
    if not folder.exists():
        begun = folder.with_name(f"{folder.name}.partial").exists()
        title = f"Phases of {system} from {query.base}"
        try:
            import_dataset(query, folder, title=title, resume=begun, progress=progress)
        except InputError as error:
            reason = str(error).removesuffix("; try later with --resume")
            raise InputError(f"known phases of {url}: {reason}; the same command goes on from what came") from error
        write_sealed(folder / SEAL, _checksums(folder))
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether all files are as they were when they were made."""
    try:
        return bool(read_sealed(folder / SEAL) == _checksums(folder))
    except (OSError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.iterdir()) if file.name != SEAL]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def reference_record(phases: CrystalTable, system: ChemicalSystem) -> dict[str, object]:
    """For JSON: where the known phases come from, how many they are, and how many have all elements of the system."""
    return phases.record() | {"of_the_whole_system": n_of_whole(phases, system)}


def n_of_whole(phases: CrystalTable, system: ChemicalSystem) -> int:
    """How many phases have all elements of a system."""
    return int(((phases.compositions > 0).sum(1) == len(system)).sum())


def reference_caveat(phases: CrystalTable, system: ChemicalSystem) -> str:
    """How much a reference holds, and what it means that no reference is whole."""
    whole, lost = n_of_whole(phases, system), len(phases.failures)
    unread = f"{lost} of the reference could not be read; " if lost else ""
    return (
        f"{unread}the reference ({phases.source.name}) holds {_known(whole)} of {system} and {len(phases) - whole} "
        "of the systems inside it; a phase that it lacks looks like a discovery, and the hull lies too high there"
    )


def _known(n: int) -> str:
    return f"{n} known {'phase' if n == 1 else 'phases'}"
