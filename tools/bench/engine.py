"""What dask costs beside bare relaxations, what a second worker gives, and what the optimisers give beside plain FIRE.

    python -m tools.bench engine --out tools/results/engine.json

Raw samples of the model are relaxed in blocks, each block in turn by a loop in this process, by one worker, by two, and
by ASE's FIRE on the same filter with the same potential, tolerance and limit of steps: once with the calculator as its
package makes it, once with ours, whose layers are packed. Imports and the making of calculators are not counted.
The machine has to be idle: times are wall times, but for FIRE's.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Structure
from threadpoolctl import threadpool_limits

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.atoms import EXPECTED_ERRORS, to_atoms
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.potentials import DEFAULT, make_calculator
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.relax.relaxer import relax
from crystalgraph.runs.heap import keep_freed_memory
from crystalgraph.sampling.sampler import Sampler
from tools.bench.record import RESULTS, command_line, record_head, write_result
from tools.bench.tables import engine as table

NIOBIUM, OXYGEN = 41, 8

BLOCK = 50
"""Crystals that one arm relaxes before the next has its turn."""

NEARLY = 0.005
"""eV/atom within which two final energies are the same."""


def samples(model: Model, n: int, max_atoms: int) -> list[Structure]:
    """Strictly valid samples as drawn."""
    sampler = Sampler(model, [NIOBIUM, OXYGEN], torch.Generator().manual_seed(0), max_atoms=max_atoms)
    found = list[Structure]()
    while len(found) < n:
        crystals = sampler.draw(2 * n).crystals
        valid = strict_validity(crystals).valid
        found += [s for s, good in zip(to_structures(crystals), valid.tolist(), strict=True) if good]
    return found[:n]


def plain_fire(structure: Structure, settings: RelaxSettings, calculator: Any) -> tuple[bool, float, float]:
    """ASE's FIRE as its manual has it: whether it converged, its last energy in eV/atom, and CPU seconds."""
    started, atoms = time.process_time(), to_atoms(structure)
    atoms.calc = calculator
    converged, energy = False, math.nan
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            converged = bool(FIRE(FrechetCellFilter(atoms), logfile=None).run(settings.fmax, settings.max_steps))
            energy = atoms.get_potential_energy() / len(atoms)
        except EXPECTED_ERRORS:
            pass
    return converged, energy, time.process_time() - started


def unpacked(potential: str) -> Any:
    """The calculator of a potential with the convolutions that its package gives it."""
    with patch("crystalgraph.relax.sevennet.pack", lambda _: None), patch("e3nn.set_optimization_defaults"):
        return make_calculator(potential)


def same(ours: Sequence[Relaxation], theirs: Sequence[Relaxation]) -> bool:
    """Whether two arms gave the same to the last bit, but for times."""
    return [r.to_dict() | {"seconds": 0} for r in ours] == [r.to_dict() | {"seconds": 0} for r in theirs]


def compare(ours: Sequence[Relaxation], fire: Sequence[tuple[bool, float, float]]) -> dict[str, Any]:
    """Converged crystals per CPU minute of each, and whose energies are lower where both have converged."""
    both = [(r.energy, energy) for r, (good, energy, _) in zip(ours, fire, strict=True) if good and _converged(r)]
    rates = {
        "ours": sum(map(_converged, ours)) / sum(r.seconds for r in ours) * 60,
        "fire": sum(good for good, _, _ in fire) / sum(seconds for _, _, seconds in fire) * 60,
    }
    return {
        "crystals": len(ours),
        "converged": {"ours": sum(map(_converged, ours)), "fire": sum(good for good, _, _ in fire)},
        "per_cpu_minute": rates,
        "ratio": rates["ours"] / rates["fire"],
        "both": len(both),
        "within_or_lower": sum(own <= other + NEARLY for own, other in both),
        "lower": sum(own < other - NEARLY for own, other in both),
    }


def _converged(relaxation: Relaxation) -> bool:
    return relaxation.status == "converged"


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = command_line("engine", __doc__)
    parser.add_argument("--model", default="nbo", help="name or folder of a model")
    parser.add_argument("--potential", default=DEFAULT)
    parser.add_argument("--relaxed", type=int, default=200, help="crystals; [200]")
    parser.add_argument("--fire", type=int, default=60, help="of them, also relaxed by plain FIRE; [60]")
    parser.add_argument("--max-atoms", type=int, default=8, help="in the primitive cell; [8]")
    parser.add_argument("--out", type=Path, default=RESULTS / "engine.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()  # as runs and workers do
    model, settings = load_model(options.model), RelaxSettings(potential=options.potential)
    structures = samples(model, options.relaxed, options.max_atoms)
    calculator, as_made = make_calculator(options.potential), unpacked(options.potential)
    seconds, arms = dict.fromkeys(("bare", "one", "two"), 0.0), dict[str, list[Relaxation]](bare=[], one=[], two=[])
    fire: dict[str, list[tuple[bool, float, float]]] = {"as_made": [], "packed": []}
    with Workers(1) as one, Workers(2) as two:
        for started_now in (one, two):
            relax_many(structures[:1], settings, workers=started_now)  # calculators are made
        for start in range(0, len(structures), BLOCK):
            block = structures[start : start + BLOCK]
            for name, workers in (("bare", None), ("one", one), ("two", two)):
                started = time.perf_counter()
                arms[name] += (
                    [relax(structure, settings, calculator=calculator) for structure in block]
                    if workers is None
                    else relax_many(block, settings, workers=workers)
                )
                seconds[name] += time.perf_counter() - started
            for name, peer in (("as_made", as_made), ("packed", calculator)):
                left = block[: options.fire - len(fire[name])]
                fire[name] += [plain_fire(structure, settings, peer) for structure in left]
            print(f"{start + len(block)} of {len(structures)}:", seconds, flush=True)
    found = {
        "relaxations": len(structures),
        "potential": options.potential,
        "max_atoms": options.max_atoms,
        "seconds": seconds,
        "overhead": seconds["one"] / seconds["bare"] - 1,
        "two_workers": seconds["one"] / seconds["two"],
        "same": same(arms["bare"], arms["one"]) and same(arms["one"], arms["two"]),
        "lengths": sorted(round(r.seconds, 3) for r in arms["one"]),
        "optimisers": {name: compare(arms["bare"][: len(ended)], ended) for name, ended in fire.items()},
    }
    write_result(options.out, record_head("engine", arguments, model) | found)
    print(table(found))
    return 0
