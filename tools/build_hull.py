"""Relax the known Nb-O phases with CHGNet once, for the hull that ships, and compare it with DFT's.

    python tools/build_hull.py --cache CACHE

writes crystalgraph/relax/nbo.json and tools/results/hull_nbo.json; some minutes on one core. Finished relaxations are
kept in the cache folder, so that it can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.matching import matches
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.io.datasets import load_dft_hull
from crystalgraph.io.provenance import versions
from crystalgraph.known.reference_hull import (
    ELEMENT_ENERGY,
    REFERENCE_SETTINGS,
    SHIPPED,
    KnownPhase,
    cache_folder,
    known_phases,
    read_shipped,
    reference_hull,
)
from crystalgraph.relax.calculator import calculator_identity
from crystalgraph.relax.hull import EnergyError, Hull, HullError, Phase, hull_error
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import Relaxation, relaxation_key

RESULTS = Path(__file__).resolve().parent / "results" / "hull_nbo.json"
COMMAND = "python tools/build_hull.py --cache CACHE"
SYSTEM = ChemicalSystem.parse("Nb-O")
NEAR = 0.01  # eV/atom


def progress(_stage: str, done: int, total: int) -> None:
    """Print how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {done} of {total}", flush=True)


def shipped_row(phase: KnownPhase, relaxation: Relaxation) -> dict[str, Any]:
    """What the package needs to know of a relaxed phase."""
    return {
        "id": phase.name,
        "formula": phase.structure.composition.reduced_formula,
        "space_group_number": phase.space_group_number,
        "num_atoms": len(phase.structure),
        "energy": relaxation.energy if relaxation.usable else None,
        "status": relaxation.status,
        "reason": relaxation.reason,
        "n_steps": relaxation.n_steps,
        "key": relaxation_key(phase.structure, REFERENCE_SETTINGS),
    }


def write_shipped(phases: list[KnownPhase], relaxations: list[Relaxation]) -> None:
    """Write the energies, a line for each phase."""
    rows = [
        json.dumps(shipped_row(phase, relaxation), allow_nan=False)
        for phase, relaxation in zip(phases, relaxations, strict=True)
    ]
    head = {
        "what": "energies (eV/atom) of the known Nb-O phases, each relaxed from the structure in datasets/nbo",
        "command": COMMAND,
        "calculator": calculator_identity(REFERENCE_SETTINGS.calculator),
        "settings": asdict(REFERENCE_SETTINGS),
    }
    text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    write_text(SHIPPED, text + ',\n  "phases": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n")


def stable_by_dft(hull: Hull) -> list[dict[str, Any]]:
    """The phases on the DFT hull and where they lie on this one."""
    ids = load_dft_hull()["stable_ids"]
    return [
        {
            "name": phase.name,
            "formula": phase.formula,
            "e_above_hull": hull.e_above_hull(phase.formula, phase.energy),
            "within_0.01": hull.e_above_hull(phase.formula, phase.energy) <= NEAR,
        }
        for phase in hull.phases
        if phase.name in ids
    ]


def kept_structure(error: HullError, left: list[str]) -> dict[str, Any]:
    """The errors over the phases that are still what DFT's energy is of."""
    rows = [row for row in error.rows if row["name"] not in left]
    return {
        what: asdict(EnergyError.of([row[what] - row[f"dft_{what}"] for row in rows]))
        for what in ("formation_energy", "e_above_hull")
    }


def oxygen_rows(phases: list[KnownPhase], relaxations: list[Relaxation]) -> list[dict[str, Any]]:
    """What CHGNet makes of crystals of oxygen, against the Materials Project's energy of O2."""
    return [
        {
            "name": phase.name,
            "dft_e_form": phase.dft_e_form,
            "status": relaxation.status,
            "energy": relaxation.energy,
            "energy_minus_reference": relaxation.energy - ELEMENT_ENERGY["O"],
        }
        for phase, relaxation in zip(phases, relaxations, strict=True)
        if relaxation.usable
    ]


def describe(phase: Phase) -> dict[str, Any]:
    """Name, formula and energy of a phase."""
    return {"name": phase.name, "formula": phase.formula, "energy": phase.energy}


def main() -> None:
    """Relax, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder of finished relaxations; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    phases = sorted(known_phases(SYSTEM), key=lambda phase: len(phase.structure))
    oxygen = [phase for phase in phases if str(phase.system) == "O"]
    others = [phase for phase in phases if str(phase.system) != "O"]
    folder = cache_folder("relaxations", arguments.cache)
    with Workers(REFERENCE_SETTINGS.calculator, arguments.workers) as workers:
        relaxations = relax_many(
            [phase.structure for phase in others + oxygen],
            REFERENCE_SETTINGS,
            workers=workers,
            folder=folder,
            progress=progress,
        )
    relaxed, of_oxygen = relaxations[: len(others)], relaxations[len(others) :]
    write_shipped(others, relaxed)
    read_shipped.cache_clear()
    hull = reference_hull(SYSTEM, cache=arguments.cache)
    error = hull_error(hull)
    left = [
        phase.name
        for phase, relaxation in zip(others, relaxed, strict=True)
        if relaxation.structure is not None and not matches(phase.structure, relaxation.structure)
    ]
    write_json(
        RESULTS,
        {
            "what": "CHGNet's convex hull of Nb-O against the Materials Project's (MP2020 scheme); eV/atom",
            "command": COMMAND,
            "calculator": calculator_identity(REFERENCE_SETTINGS.calculator),
            "settings": asdict(REFERENCE_SETTINGS),
            "versions": versions(),
            "n_phases": len(hull.phases),
            "not_converged": [
                {"name": phase.name, "status": relaxation.status, "reason": relaxation.reason}
                for phase, relaxation in zip(others, relaxed, strict=True)
                if relaxation.status != "converged"
            ],
            "formation_energy_error": asdict(error.formation_energy),
            "e_above_hull_error": asdict(error.e_above_hull),
            "relaxed_into_another_structure": left,
            "errors_without_these": kept_structure(error, left),
            "stable_by_dft": stable_by_dft(hull),
            "on_the_hull": [describe(phase) for phase in hull.stable_phases()],
            "cost": {
                "relaxations": len(relaxed),
                "optimiser_steps": sum(relaxation.n_steps for relaxation in relaxed),
                "cpu_seconds": round(sum(relaxation.seconds for relaxation in relaxed), 1),
            },
            "compounds": error.rows,
            "oxygen_crystals": oxygen_rows(oxygen, of_oxygen),
        },
    )
    print(f"wrote {SHIPPED} and {RESULTS}")


if __name__ == "__main__":
    main()
