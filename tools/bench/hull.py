"""CHGNet's convex hull of the known Nb-O phases, the one that ships, against DFT's.

    python -m tools.bench hull --cache runs/hull --out tools/results/hull_nbo.json

relaxes all known phases, some minutes on one core. Finished relaxations are kept in the cache folder, so that it can be
stopped and started again; ``tools/build_hull.py``, which writes what ships, shares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.matching import matches
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.datasets import load_dft_hull
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import (
    ELEMENT_ENERGY,
    REFERENCE_SETTINGS,
    reference_hull,
)
from crystalgraph.relax.calculator import calculator_identity
from crystalgraph.relax.hull import EnergyError, Hull, HullError, Phase, hull_error
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import Relaxation
from tools.bench.progress_lines import ProgressLines
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import hull as table

SYSTEM = ChemicalSystem.parse("Nb-O")
NEAR = 0.01  # eV/atom
OXYGEN = 8


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


def oxygen_rows(phases: CrystalTable, relaxations: list[Relaxation]) -> list[dict[str, Any]]:
    """What CHGNet makes of crystals of oxygen, against the Materials Project's energy of O2."""
    return [
        {
            "name": name,
            "dft_formation_energy": phases.number("dft_formation_energy", k),
            "status": relaxation.status,
            "energy": relaxation.energy,
            "energy_minus_reference": relaxation.energy - ELEMENT_ENERGY["O"],
        }
        for k, (name, relaxation) in enumerate(zip(phases.ids, relaxations, strict=True))
        if relaxation.usable
    ]


def describe(phase: Phase) -> dict[str, Any]:
    """Name, formula and energy of a phase."""
    return {"name": phase.name, "formula": phase.formula, "energy": phase.energy}


def main(arguments: Sequence[str]) -> None:
    """Relax, compare, write."""
    parser = command_line("hull", __doc__)
    parser.add_argument("--cache", type=Path, help="folder of finished relaxations; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    phases = known_phases(SYSTEM)
    phases = phases[phases.crystals.num_atoms.argsort(stable=True)]
    is_oxygen = phases.compositions[:, OXYGEN] == phases.compositions.sum(1)
    oxygen, others = phases[is_oxygen], phases[~is_oxygen]
    with Workers(REFERENCE_SETTINGS.calculator, options.workers) as workers:
        relaxations = relax_many(
            others.structures + oxygen.structures,
            REFERENCE_SETTINGS,
            workers=workers,
            folder=cache_folder("relaxations", options.cache),
            progress=ProgressLines(),
        )
    relaxed, of_oxygen = relaxations[: len(others)], relaxations[len(others) :]
    hull = reference_hull(SYSTEM, cache=options.cache)
    error = hull_error(hull)
    left = [
        name
        for name, structure, relaxation in zip(others.ids, others.structures, relaxed, strict=True)
        if relaxation.structure is not None and not matches(structure, relaxation.structure)
    ]
    record = record_head("hull", arguments) | {
        "what": "CHGNet's convex hull of Nb-O against the Materials Project's (MP2020 scheme); eV/atom",
        "calculator": calculator_identity(REFERENCE_SETTINGS.calculator),
        "settings": asdict(REFERENCE_SETTINGS),
        "n_phases": len(hull.phases),
        "not_converged": [
            {"name": name, "status": relaxation.status, "reason": relaxation.reason}
            for name, relaxation in zip(others.ids, relaxed, strict=True)
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
    }
    write_result(options.out, record)
    print(table(record))
