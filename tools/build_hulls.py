"""Relax the known phases of some systems with each potential of the default judge, for the hulls that ship.

    python tools/build_hulls.py --cache CACHE --workers 2

writes crystalgraph/known/energies/; an hour or two on two cores. Finished relaxations are kept in the cache folder, so
that it can be stopped and started again. ``python -m tools.bench judge`` compares the hulls with DFT's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.engine.workers import Workers
from crystalgraph.io.atomic import write_text
from crystalgraph.io.cache import cache_folder
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, SHIPPED, is_relaxed
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.potentials import DIEP, SEVENNET_0, SEVENNET_L3I5, potential_identity
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, relaxation_key

COMMAND = "python tools/build_hulls.py --cache CACHE"
SYSTEMS = "Nb-O", "Ti-O", "Mg-Mn-O"
POTENTIALS = SEVENNET_0, DIEP, SEVENNET_L3I5


def progress(potential: str, stage: str, done: int, total: int, _state: str = "", /) -> None:
    """Print how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {potential} {stage} {done} of {total}", flush=True)


def shipped_row(phases: CrystalTable, position: int, settings: RelaxSettings, relaxation: Relaxation) -> dict[str, Any]:
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
        "key": relaxation_key(structure, settings),
    }


def write_shipped(
    phases: CrystalTable, systems: Sequence[str], settings: RelaxSettings, relaxations: list[Relaxation]
) -> Path:
    """Write the energies of a potential, a line for each phase."""
    rows = [
        json.dumps(shipped_row(phases, position, settings, relaxation), allow_nan=False)
        for position, relaxation in enumerate(relaxations)
    ]
    head = {
        "what": f"energies (eV/atom) of the known phases of {', '.join(systems)}, each relaxed from the structure in "
        "datasets/",
        "command": COMMAND,
        "potential": potential_identity(settings.potential),
        "settings": asdict(settings),
    }
    text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    file = SHIPPED / f"{settings.potential}.json"
    write_text(file, text + ',\n  "phases": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n")
    return file


def phases_of(potential: str, systems: Sequence[str]) -> CrystalTable:
    """The known phases of all systems that the potential has to relax, each once, small cells first."""
    phases = CrystalTable.concatenate([known_phases(ChemicalSystem.parse(system)) for system in systems])
    _, first = np.unique(np.array(phases.ids), return_index=True)
    phases = phases[np.sort(first)]
    phases = phases[is_relaxed(phases, potential)]
    return phases[phases.crystals.num_atoms.argsort(stable=True)]


def main() -> None:
    """Relax and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder of finished relaxations; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--potentials", nargs="+", default=POTENTIALS)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    options = parser.parse_args()
    with Workers(options.workers) as workers:
        for potential in options.potentials:
            settings, phases = replace(REFERENCE_SETTINGS, potential=potential), phases_of(potential, options.systems)
            relaxations = relax_many(
                phases.structures,
                settings,
                workers=workers,
                folder=cache_folder("relaxations", options.cache),
                progress=partial(progress, potential),
            )
            print(f"wrote {write_shipped(phases, options.systems, settings, relaxations)}")


if __name__ == "__main__":
    main()
