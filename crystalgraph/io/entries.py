"""The entries of a source of crystals, whatever it is, before anything is judged: files, or an OPTIMADE server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures, structure_fault
from crystalgraph.io.optimade import Answer, Query
from crystalgraph.io.reading import own_names, read_structures
from crystalgraph.io.tables import structure_from_optimade

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, in all)."""

NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Entries of a source, before they are looked at.

    Attributes:
        name: of the source.
        crystals: those that are crystals, float64; None if there are none.
        ids: what the source calls them, all different.
        properties: what else it says about each.
        rejected: id -> reason, for the entries that gave no crystal.
        taken_from: where the entries come from, in words.
        licence: of entries that do not say their own.
        attribution: whom to name.
        gaps: what a reader of the card must know.
        record: the same for programs.
    """

    name: str
    crystals: Crystals | None
    ids: list[str]
    properties: list[dict[str, Any]]
    rejected: dict[str, str]
    taken_from: str
    licence: str = NOT_STATED
    attribution: str = NOT_STATED
    gaps: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


def from_files(
    path: Path, *, licence: str | None = None, attribution: str | None = None, progress: Progress | None = None
) -> Found:
    """Entries of a file or folder, see `crystalgraph.io.reading.read_structures`.

    Args:
        path: file or folder.
        licence: of the entries that do not say their own.
        attribution: whom to name.
        progress: called as the work goes on.

    Raises:
        InputError: if the path does not exist, or nothing there is of a known kind.
    """
    told = None if progress is None else lambda done, total: progress("read", done, total)
    result = read_structures(path, progress=told)
    prefix = f"{result.files[0].stem}#" if len(result.files) == 1 else ""
    return Found(
        name=path.resolve().stem,
        crystals=result.crystals,
        ids=own_names(result),
        properties=result.properties,
        rejected={name.removeprefix(prefix): reason for name, reason in result.failures.items()},
        taken_from=f"{path.resolve().name} ({plural(len(result.files), 'file')})",
        licence=licence or NOT_STATED,
        attribution=attribution or NOT_STATED,
        record={"files": {"name": path.resolve().name, "n_files": len(result.files), "sha256": result.checksum()}},
    )


def from_optimade(query: Query, answer: Answer, *, licence: str | None = None, attribution: str | None = None) -> Found:
    """Entries of an OPTIMADE server.

    Args:
        query: what was asked.
        answer: what came, see `crystalgraph.io.optimade.fetch`.
        licence: instead of the one that the server states.
        attribution: instead of the server's name for itself.
    """
    structures: list[Structure] = []
    ids: list[str] = []
    properties: list[dict[str, Any]] = []
    rejected: dict[str, str] = {}
    for entry in answer.entries:
        name, attributes = str(entry["id"]), entry.get("attributes") or {}
        try:
            structure = structure_from_optimade(attributes)
            fault = structure_fault(structure)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            fault = " ".join(str(error).split())[:200] or type(error).__name__
        if fault:
            rejected[name] = fault
            continue
        structures.append(structure)
        ids.append(name)
        properties.append({key: attributes.get(key) for key in query.properties})
    provider = answer.provider
    name = str(provider.get("name") or query.base)
    said = ". ".join(str(provider[key]) for key in ("description", "homepage") if provider.get(key))
    gaps = []
    if answer.announced is not None and answer.announced != len(answer.entries):
        gaps.append(f"The server announced {answer.announced:,} entries and gave {len(answer.entries):,}.")
    if answer.repeated:
        gaps.append(f"{plural(answer.repeated, 'entry', 'entries')} came more than once; the first of each was taken.")
    asked = f"filter `{query.filter}`" if query.filter else "no filter"
    return Found(
        name=name,
        crystals=from_structures(structures) if structures else None,
        ids=ids,
        properties=properties,
        rejected=rejected,
        taken_from=f"OPTIMADE server {query.base}, {asked}" + (f", {answer.retrieved}" if answer.retrieved else ""),
        licence=licence or answer.licences or NOT_STATED,
        attribution=attribution or (f"{name}: {said}" if said else name),
        gaps=gaps,
        record={
            "optimade": {
                "url": query.base,
                "filter": query.filter,
                "properties": list(query.properties),
                "retrieved": answer.retrieved,
                "provider": provider,
            }
        },
    )


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
