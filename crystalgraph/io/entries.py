"""The entries of a source of crystals, whatever it is, before anything is judged: files, or an OPTIMADE server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.conversion import structure_fault
from crystalgraph.crystals.table import NOT_STATED, CrystalTable, Source
from crystalgraph.io.folders import own_stem, printable
from crystalgraph.io.optimade import Answer, Query
from crystalgraph.io.reading import own_ids, read_structures
from crystalgraph.io.tables import structure_from_optimade
from crystalgraph.progress import Progress

if TYPE_CHECKING:
    from pymatgen.core import Structure


def from_files(
    path: Path, *, licence: str | None = None, attribution: str | None = None, progress: Progress | None = None
) -> CrystalTable:
    """Entries of a file or folder, see `crystalgraph.io.reading.read_structures`, under the ids that the files give.

    Args:
        path: file or folder.
        licence: of the entries that do not say their own.
        attribution: whom to name.
        progress: called as the work goes on.

    Raises:
        InputError: if the path does not exist, or nothing there is of a known kind.
    """
    table = read_structures(path, progress=progress)
    files, name = table.source.files, printable(path.resolve().name)
    prefix = f"{own_stem(files[0])}#" if len(files) == 1 else ""
    own = own_ids(table)
    failures = {failure.removeprefix(prefix): reason for failure, reason in table.failures.items()}
    source = replace(
        table.source,
        name=own_stem(path.resolve()),
        taken_from=f"{name} ({plural(len(files), 'file')})",
        licence=licence or NOT_STATED,
        attribution=attribution or NOT_STATED,
        record={"files": {"name": name, "n_files": len(files), "sha256": table.source.sha256}},
    )
    return table.revised(ids=own, failures=failures, source=source)


def from_optimade(
    query: Query, answer: Answer, *, licence: str | None = None, attribution: str | None = None
) -> CrystalTable:
    """Entries of an OPTIMADE server.

    Args:
        query: what was asked.
        answer: what came, see `crystalgraph.io.optimade.fetch`.
        licence: instead of the one that the server states.
        attribution: instead of the server's name for itself.
    """
    structures: dict[str, Structure] = {}
    properties: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for entry in answer.entries:
        name, attributes = str(entry["id"]), entry.get("attributes") or {}
        try:
            structure = structure_from_optimade(attributes)
            fault = structure_fault(structure)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            fault = " ".join(str(error).split())[:200] or type(error).__name__
        if fault:
            failures[name] = fault
            continue
        structures[name] = structure
        properties.append({key: attributes.get(key) for key in query.properties})
    provider = answer.provider
    name = str(provider.get("name") or query.base)
    described = ". ".join(str(provider[key]) for key in ("description", "homepage") if provider.get(key))
    gaps = []
    if answer.announced is not None and answer.announced != len(answer.entries):
        gaps.append(f"The server announced {answer.announced:,} entries and gave {len(answer.entries):,}.")
    if answer.repeated:
        gaps.append(f"{plural(answer.repeated, 'entry', 'entries')} came more than once; the first of each was taken.")
    asked = f"filter `{query.filter}`" if query.filter else "no filter"
    record = {
        "url": query.base,
        "filter": query.filter,
        "properties": list(query.properties),
        "retrieved": answer.retrieved,
        "provider": provider,
    }
    source = Source(
        name=name,
        taken_from=f"OPTIMADE server {query.base}, {asked}" + (f", {answer.retrieved}" if answer.retrieved else ""),
        licence=licence or answer.licences or NOT_STATED,
        attribution=attribution or (f"{name}: {described}" if described else name),
        gaps=tuple(gaps),
        record={"optimade": record},
    )
    return CrystalTable.of_structures(structures, source=source, properties=properties, failures=failures)


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
