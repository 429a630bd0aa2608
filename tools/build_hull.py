"""Relax the known Nb-O phases with CHGNet once, for the hull that ships.

    python tools/build_hull.py --cache CACHE

writes crystalgraph/known/nbo.json; some minutes on one core. Finished relaxations are kept in the cache folder, so that
it can be stopped and started again. ``python -m tools.bench hull --cache CACHE`` compares the hull with DFT's.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.io.atomic import write_text
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, SHIPPED, KnownPhase, cache_folder, known_phases
from crystalgraph.relax.calculator import calculator_identity
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import Relaxation, relaxation_key

COMMAND = "python tools/build_hull.py --cache CACHE"
SYSTEM = ChemicalSystem.parse("Nb-O")


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


def main() -> None:
    """Relax and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder of finished relaxations; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    phases = sorted(known_phases(SYSTEM), key=lambda phase: len(phase.structure))
    phases = [phase for phase in phases if str(phase.system) != "O"]
    with Workers(REFERENCE_SETTINGS.calculator, options.workers) as workers:
        relaxations = relax_many(
            [phase.structure for phase in phases],
            REFERENCE_SETTINGS,
            workers=workers,
            folder=cache_folder("relaxations", options.cache),
            progress=progress,
        )
    write_shipped(phases, relaxations)
    print(f"wrote {SHIPPED}")


if __name__ == "__main__":
    main()
