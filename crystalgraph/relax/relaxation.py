"""How a crystal is to be relaxed, how it ended, and what both are written down as.

A relaxation is found again by the checksum of all that it depends on, so the same work is done once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from crystalgraph.errors import InputError
from crystalgraph.relax.potentials import DEFAULT, potential_identity
from crystalgraph.relax.pressure import check_pressure, work

if TYPE_CHECKING:
    from crystalgraph.relax.hull import Hull

Status = Literal["converged", "step limit", "time limit", "aborted", "failed", "unbelievable"]

_FORMERLY = {"hold_symmetry": False, "pressure": 0.0, "curvature": 70.0}
"""Settings that came later: where they are what always was, a relaxation has the key of before they could be chosen."""

_METHOD = 3  # raised when the same settings would give another result, so that caches forget


@dataclass(frozen=True, kw_only=True)
class RelaxSettings:
    """How crystals are relaxed.

    Attributes:
        potential: name, see `crystalgraph.relax.potentials.make_calculator`.
        fmax: converged when no force, the cell's included, is larger, eV/Å.
        fire_above: eV/Å; FIRE descends while the largest force is above this, then L-BFGS; if 0, FIRE alone.
        curvature: eV/Å², what L-BFGS takes for the second derivatives that it has not seen yet; where crystals are
            softer its steps are too short.
        max_steps: optimiser steps.
        max_seconds: CPU seconds of the relaxing thread. A guard against the rare crystal that takes forever: unlike
            the number of steps it depends on the machine, so it should not be what ends ordinary relaxations.
        abort: (step, eV/atom above the hull): give up when the crystal is still higher after that step.
        saddle_check: perturb what ends low above the hull, relax again, and keep the result if it is lower.
        hold_symmetry: keep the space group; where that cannot be done the crystal is relaxed without.
        pressure: hydrostatic, GPa, see `crystalgraph.relax.pressure`; what is lowered is the enthalpy.

    Raises:
        InputError: if ``fmax`` is not positive, a limit is negative, ``fire_above`` is negative or not finite, or the
            pressure is out of range.
    """

    potential: str = DEFAULT
    fmax: float = 0.1
    fire_above: float = 1.0
    curvature: float = 20.0
    max_steps: int = 150
    max_seconds: float = 180.0
    abort: tuple[tuple[int, float], ...] = ()
    saddle_check: bool = False
    hold_symmetry: bool = False
    pressure: float = 0.0

    def __post_init__(self) -> None:
        if not self.fmax > 0:
            raise InputError(f"largest force {self.fmax} eV/Å cannot be reached; give a positive one, such as 0.1")
        if not 0 <= self.fire_above < inf:
            raise InputError(f"FIRE cannot descend above {self.fire_above} eV/Å; give a finite force, 0 or more")
        if not 0 < self.curvature < inf:
            raise InputError(f"a curvature of {self.curvature} eV/Å² is none; give a positive one, such as 20")
        check_pressure(self.pressure)
        if self.max_steps < 0 or not self.max_seconds >= 0:
            raise InputError(f"limits of {self.max_steps} steps and {self.max_seconds} s: give none below zero")


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """How a relaxation ended.

    Attributes:
        status: "converged"; "step limit" or "time limit" (not converged by then); "aborted" (too high above the hull
            for too long); "failed" (the calculator gave no answer); "unbelievable" (exploded, collapsed, or an energy
            that no crystal has).
        reason: one line; empty when converged.
        structure: the last structure whose energy is known; None if there is none.
        initial_energy: eV/atom before the first step; NaN if there is none.
        energy: eV/atom of ``structure``; NaN if there is none.
        n_steps: optimiser steps taken, those of the saddle check included.
        seconds: CPU seconds; not part of a comparison of two relaxations.
        saddle_drop: eV/atom by which the enthalpy fell in the saddle check, negative if it rose; NaN if there was none.
        pressure: GPa that it was relaxed under.
    """

    status: Status
    reason: str = ""
    structure: Structure | None = None
    initial_energy: float = nan
    energy: float = nan
    n_steps: int = 0
    seconds: float = field(default=0.0, compare=False)
    saddle_drop: float = nan
    pressure: float = 0.0

    @property
    def enthalpy(self) -> float:
        """Energy + pV of ``structure``, eV/atom: the energy where there is no pressure; NaN if there is none."""
        if self.structure is None:
            return nan
        return self.energy + work(self.pressure, self.structure.volume, len(self.structure))

    @property
    def usable(self) -> bool:
        """Whether the enthalpy can be placed on a hull: the relaxation converged or ran out of steps."""
        return self.status in {"converged", "step limit"}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None, floats keep all their digits."""
        record = {key: value for key, value in vars(self).items() if key != "structure"}
        record = {
            key: None if isinstance(value, float) and not isfinite(value) else value for key, value in record.items()
        }
        return record | {"structure": None if self.structure is None else structure_record(self.structure)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Relaxation:
        """Read what `to_dict` gave."""
        values: dict[str, Any] = {key: nan if value is None else value for key, value in record.items()}
        content = record["structure"]
        return cls(**values | {"structure": None if content is None else structure_from_record(content)})


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """An energy and how it changes.

    Attributes:
        energy: eV/atom.
        forces: on the atoms, (n_atoms, 3), eV/Å.
        stress: of the cell, (3, 3), eV/Å³, positive where it is stretched.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


def relaxation_key(structure: Structure, settings: RelaxSettings, hull: Hull | None = None) -> str:
    """SHA-256 over all that a relaxation depends on: structure, settings, identity of the potential, hull."""
    content = {
        "method": _METHOD,
        "structure": structure_key(structure),
        "settings": {k: v for k, v in asdict(settings).items() if v != _FORMERLY.get(k)},
        "potential": potential_identity(settings.potential),
        "hull": None if hull is None else hull.identity(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def structure_key(structure: Structure) -> str:
    """SHA-256 over cell, species and coordinates, to the last bit."""
    return hashlib.sha256(json.dumps(structure_record(structure)).encode()).hexdigest()


def structure_record(structure: Structure) -> dict[str, Any]:
    """Lattice rows (Å), species and fractional coordinates as plain lists."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.species_string for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }


def structure_from_record(record: dict[str, Any]) -> Structure:
    """Read what `structure_record` gave."""
    return Structure(Lattice(record["lattice"]), record["species"], record["frac_coords"])
