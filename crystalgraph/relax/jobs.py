"""What a worker does with one crystal: small, pure, and told everything."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from crystalgraph.engine.patience import patience
from crystalgraph.errors import InputError
from crystalgraph.relax.potentials import make_calculator, potential_identity
from crystalgraph.relax.relaxation import Derivatives, RelaxSettings, structure_from_record
from crystalgraph.relax.relaxer import relax
from crystalgraph.relax.single_point import derivatives, single_point

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from crystalgraph.relax.hull import Hull

_KEPT = threading.local()


@dataclass(frozen=True, kw_only=True)
class CalculatorSpec:
    """What a worker needs to know to make a calculator.

    Attributes:
        potential: its name, see `crystalgraph.relax.potentials.make_calculator`.
        identity: what the potential is where the work comes from.
        patience: seconds of wall time to make it.
        device: where it runs.
    """

    potential: str
    identity: dict[str, str]
    patience: float
    device: str = "cpu"

    def calculator(self) -> Calculator:
        """The calculator of this worker, made when it is first needed and kept.

        Raises:
            InputError: if it cannot be made, or is another one here.
        """
        import torch

        kept: dict[str, Calculator] = _KEPT.__dict__
        if self.potential not in kept:
            torch.set_num_threads(1)
            if (here := potential_identity(self.potential)) != self.identity:
                raise InputError(f"{self.potential} is {here} for a worker, and {self.identity} here; install the same")
            with patience(self.patience):
                kept[self.potential] = make_calculator(self.potential, self.device)
        return kept[self.potential]


def prepare(spec: CalculatorSpec) -> None:
    """Make the calculator before there is a crystal for it."""
    spec.calculator()


def relaxation(
    crystal: dict[str, Any], spec: CalculatorSpec, seconds: float, settings: RelaxSettings, hull: Hull | None
) -> dict[str, Any]:
    """The record of a relaxation.

    Args:
        crystal: from `crystalgraph.relax.relaxation.structure_record`.
        spec: of the calculator.
        seconds: wall time after which the worker is ended.
        settings: how.
        hull: see `crystalgraph.relax.relaxer.relax`.
    """
    calculator = spec.calculator()
    with patience(seconds):
        return relax(structure_from_record(crystal), settings, hull=hull, calculator=calculator).to_dict()


def energy(crystal: dict[str, Any], spec: CalculatorSpec, seconds: float) -> float | None:
    """The energy of the crystal as it is, eV/atom; None where there is none. Arguments as for `relaxation`."""
    calculator = spec.calculator()
    with patience(seconds):
        found = single_point(structure_from_record(crystal), calculator)
    return found if isfinite(found) else None


def energy_forces_stress(crystal: dict[str, Any], spec: CalculatorSpec, seconds: float) -> Derivatives | None:
    """With the energy, forces and stress; None where there are none. Arguments as for `relaxation`."""
    calculator = spec.calculator()
    with patience(seconds):
        return derivatives(structure_from_record(crystal), calculator)
