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

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.atomic import write_text
from crystalgraph.io.cache import cache_folder
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, SHIPPED
from crystalgraph.relax.calculator import calculator_identity
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import Relaxation, relaxation_key

COMMAND = "python tools/build_hull.py --cache CACHE"
SYSTEM = ChemicalSystem.parse("Nb-O")
NIOBIUM = 41


def progress(stage: str, done: int, total: int, _state: str = "", /) -> None:
    """Print how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {stage} {done} of {total}", flush=True)


def shipped_row(phases: CrystalTable, position: int, relaxation: Relaxation) -> dict[str, Any]:
    """What the package needs to know of a relaxed phase."""
    structure = phases.structures[position]
    return {
        "id": phases.ids[position],
        "formula": str(Formula.from_atomic_numbers(structure.atomic_numbers)),
        "space_group_number": int(phases.columns["space_group_number"][position]),
        "num_atoms": len(structure),
        "energy": relaxation.energy if relaxation.usable else None,
        "status": relaxation.status,
        "reason": relaxation.reason,
        "n_steps": relaxation.n_steps,
        "key": relaxation_key(structure, REFERENCE_SETTINGS),
    }


def write_shipped(phases: CrystalTable, relaxations: list[Relaxation]) -> None:
    """Write the energies, a line for each phase."""
    rows = [
        json.dumps(shipped_row(phases, position, relaxation), allow_nan=False)
        for position, relaxation in enumerate(relaxations)
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
    phases = known_phases(SYSTEM)
    phases = phases[phases.crystals.num_atoms.argsort(stable=True)]
    phases = phases[phases.compositions[:, NIOBIUM] > 0]
    with Workers(REFERENCE_SETTINGS.calculator, options.workers) as workers:
        relaxations = relax_many(
            phases.structures,
            REFERENCE_SETTINGS,
            workers=workers,
            folder=cache_folder("relaxations", options.cache),
            progress=progress,
        )
    write_shipped(phases, relaxations)
    print(f"wrote {SHIPPED}")


if __name__ == "__main__":
    main()
