"""Crystals as a page holds them: what to draw, powder reflections, cell and file, within a number of bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.reflections import reflections
from crystalgraph.report.drawing import MAX_ATOMS, conventional, scene

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_CRYSTALS = 200
"""Crystals that can be looked at; what is beyond is counted in a line."""

MAX_CRYSTAL_BYTES = 5_000_000
"""Of all crystals together, so that the page stays below 12 MB; known phases have a fifth of it."""


PRIMITIVE_TOLERANCE = 1e-3
"""Å; a smaller cell is taken as primitive where it repeats all atoms within this."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One state of a crystal: as drawn, or relaxed.

    Attributes:
        label: which.
        structure: what is drawn; None if nothing can be.
        file: its file, relative to the folder; empty if there is none.
        text: content of the file, or what it would be.
        kind: of the text, "CIF" or "POSCAR".
        poscar: the crystal as POSCAR; empty where there is none to give.
    """

    label: str
    structure: Structure | None
    file: str = ""
    text: str = ""
    kind: str = "CIF"
    poscar: str = ""


@dataclass(frozen=True, kw_only=True)
class Crystal:
    """A crystal that can be looked at.

    Attributes:
        name: of the candidate.
        formula: such as "Nb2O5".
        facts: label and text; what the table has no room for.
        versions: the one to show first in front.
        known_phase: the known phase that it equals; empty where it equals none.
    """

    name: str
    formula: str
    facts: list[tuple[str, str]]
    versions: list[Version]
    known_phase: str = ""


@dataclass(frozen=True, kw_only=True)
class KnownPhase:
    """A known phase that crystals of its formula are compared with.

    Attributes:
        name: what its source calls it.
        formula: such as "Nb2O5".
        structure: as its source has it.
        facts: label and text.
    """

    name: str
    formula: str
    structure: Structure
    facts: list[tuple[str, str]]


def poscar_text(structure: Structure | None, name: str) -> str:
    """A crystal's primitive cell as POSCAR; empty for None."""
    from pymatgen.io.vasp.inputs import Poscar

    if structure is None:
        return ""
    primitive = structure.get_primitive_structure(tolerance=PRIMITIVE_TOLERANCE)
    return Poscar(primitive, comment=name, sort_structure=True).get_str(significant_figures=12)


def crystal_records(crystals: Sequence[Crystal]) -> list[dict[str, Any] | None]:
    """For JSON; None for those that there is no room for."""
    found: list[dict[str, Any] | None] = []
    left = MAX_CRYSTAL_BYTES
    for crystal in crystals[:MAX_CRYSTALS]:
        if left < 0:
            break
        content = {
            "name": crystal.name,
            "formula": crystal.formula,
            "facts": crystal.facts,
            "versions": [_version(version) for version in crystal.versions],
            "known": crystal.known_phase,
        }
        left -= len(safe_json(content))
        found.append(content if left >= 0 else None)
    return found + [None] * (len(crystals) - len(found))


def phase_records(phases: Sequence[KnownPhase]) -> list[dict[str, Any]]:
    """For JSON; those that there is no room for are left out."""
    found: list[dict[str, Any]] = []
    left = MAX_CRYSTAL_BYTES // 5
    for phase in phases:
        content = {"name": phase.name, "formula": phase.formula, "facts": phase.facts, **_drawn(phase.structure)}
        left -= len(safe_json(content))
        if left < 0:
            break
        found.append(content)
    return found


def safe_json(content: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _version(version: Version) -> dict[str, Any]:
    return {
        "label": version.label,
        "file": version.file,
        "text": version.text,
        "kind": version.kind,
        "poscar": version.poscar,
        **_drawn(version.structure),
    }


def _drawn(structure: Structure | None) -> dict[str, Any]:
    """What is drawn of a structure, its reflections, and its cell; each null where it is too large or there is none."""
    if structure is None or len(structure) > MAX_ATOMS:
        return {"scene": None, "reflections": None, "cell": None}
    cell, matrix = conventional(structure)
    return {
        "scene": scene(cell),
        "reflections": reflections(structure, matrix),
        "cell": {
            "lengths": [round(length, 4) for length in cell.lattice.abc],
            "angles": [round(angle, 3) for angle in cell.lattice.angles],
            "atoms": len(cell),
            "volume": round(cell.volume, 3),
            "density": round(float(cell.density), 3),
        },
    }
