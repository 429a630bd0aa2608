"""Relaxations whose energy is kept at every step.

A module of its own, so that worker processes import it by name and keep its calculator.
"""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pymatgen.core import Structure

from crystalgraph.io.atomic import write_json
from crystalgraph.relax.potentials import make_calculator
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.relax.relaxer import relax


@lru_cache(maxsize=1)
def _calculator(name: str) -> tuple[Any, list[float]]:
    """The calculator of this process, and the list to which it adds the energy of every evaluation, eV."""
    calculator, energies = make_calculator(name), []
    calculate = calculator.calculate

    def recording(*args: Any, **options: Any) -> None:
        calculate(*args, **options)
        energies.append(float(calculator.results["energy"]))

    calculator.calculate = recording  # type: ignore[method-assign]
    return calculator, energies


def follow(structure: Structure, settings: RelaxSettings, path: Path) -> dict[str, Any]:
    """Relax to the end in this process; energies of all steps in eV/atom, from the file if it is there."""
    if path.is_file():
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    torch.set_num_threads(1)
    calculator, energies = _calculator(settings.potential)
    energies.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = relax(structure, settings, calculator=calculator)
    record = {
        "energies": [energy / len(structure) for energy in energies],
        "status": found.status,
        "seconds": found.seconds,
    }
    write_json(path, record)
    return record
