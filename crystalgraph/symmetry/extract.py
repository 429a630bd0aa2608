"""From a crystal to its template and parameters, by moyopy's symmetry search."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import moyopy
import numpy as np
import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.errors import CrystalgraphError
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import wyckoff_table

#: Largest accepted difference between an atom and its Wyckoff position, fractional.
FIT_TOLERANCE = 0.01

_Extracted = tuple[int, list[int], list[int], np.ndarray, np.ndarray]

CRYSTALS_IN_HAND = 500
"""Crystals that a process is given at once."""

_SHIFTS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)), dtype=float)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What became of crystals whose symmetry was looked for.

    Attributes:
        parametrised: those whose template was found; float64, site parameters in [0, 1) and 0 where not free.
        source: position in the input of each of them, (n,).
        failures: why an input crystal is missing, by its position in the input.
    """

    parametrised: ParametrisedTemplates
    source: Tensor
    failures: dict[int, str]

    @property
    def templates(self) -> Templates:
        """The templates without their parameters."""
        return self.parametrised.templates


class ExtractionError(CrystalgraphError):
    """A crystal whose symmetry could not be turned into a template."""


def _solve_orbit(x: np.ndarray, rows: Sequence[int], centring: np.ndarray) -> tuple[int, np.ndarray, float]:
    """Find the position among ``rows`` and the u that put an atom of the orbit where it is."""
    table = wyckoff_table()
    targets = (x[:, None] + (_SHIFTS @ centring)[None]).reshape(-1, 3)
    best: tuple[int, np.ndarray, float] = (-1, np.zeros(3), np.inf)
    for row in rows:
        rotation, inverse = table.rotation[row].numpy(), table.pseudo_inverse[row].numpy()
        offset = targets - table.translation[row].numpy()
        u = offset @ inverse.T
        residual = np.abs(u @ rotation.T - offset).max(1)
        index = int(residual.argmin())
        if residual[index] < best[2] - 1e-6:
            best = (row, u[index] % 1.0, float(residual[index]))
        if best[2] < FIT_TOLERANCE / 4:
            break
    return best


def extract_one(lattice: np.ndarray, frac_coords: np.ndarray, atomic_numbers: np.ndarray, symprec: float) -> _Extracted:
    """Template and parameters of one crystal.

    Args:
        lattice: rows, (3, 3), Å.
        frac_coords: (n_atoms, 3).
        atomic_numbers: (n_atoms,).
        symprec: symmetry tolerance, Å.

    Returns:
        Space group number, Wyckoff table rows, elements, conventional lattice (3, 3), u (n_sites, 3).

    Raises:
        ExtractionError: if the symmetry search fails or an orbit fits no position.
    """
    # moyo warns, in passing, of each input cell that is larger than primitive; the result is that of the primitive one.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    cell = moyopy.Cell(basis=lattice.tolist(), positions=frac_coords.tolist(), numbers=atomic_numbers.tolist())
    try:
        symmetry = moyopy.MoyoDataset(cell, symprec=symprec, setting=moyopy.Setting.standard())
    except Exception as error:  # moyopy raises bare exceptions of several kinds from Rust
        raise ExtractionError(f"symmetry search failed: {error}") from error
    table = wyckoff_table()
    first, conventional = table.first_position(symmetry.number), np.array(symmetry.std_cell.basis)
    to_conventional = np.array(symmetry.prim_std_cell.basis) @ np.linalg.inv(conventional)
    x = np.array(symmetry.prim_std_cell.positions) @ to_conventional
    orbit_of = np.full(len(x), -1)
    letter_of = [""] * len(x)
    for atom, target in enumerate(symmetry.mapping_std_prim):
        if orbit_of[target] < 0:
            orbit_of[target], letter_of[target] = symmetry.orbits[atom], symmetry.wyckoffs[atom]
    # Two input orbits that are one in the primitive cell share the standard atoms, so number orbits by those.
    rows, species, parameters = [], [], []
    centring = table.centring[symmetry.number].numpy()
    for orbit in np.unique(orbit_of):
        atoms = np.flatnonzero(orbit_of == orbit)
        letter = letter_of[atoms[0]]
        index = table.letter.index(letter, first)
        same_size = [r for r in table.positions(symmetry.number) if table.multiplicity[r] == len(atoms) and r != index]
        row, u, residual = _solve_orbit(x[atoms] % 1.0, [index, *same_size], centring)
        if residual > FIT_TOLERANCE or int(table.multiplicity[row]) != len(atoms):
            raise ExtractionError(f"orbit {letter} of group {symmetry.number} fits no position (off by {residual:.3f})")
        rows.append(row)
        species.append(int(symmetry.prim_std_cell.numbers[atoms[0]]))
        parameters.append(u * table.free[row].numpy())
    return symmetry.number, rows, species, conventional, np.array(parameters)


def extract(crystals: Crystals, symprec: float = 0.02, workers: int | Workers = 1) -> Extraction:
    """Templates and parameters of many crystals; those that fail are listed with the reason.

    Args:
        crystals: any cells; the result describes their primitive cells.
        symprec: symmetry tolerance, Å.
        workers: processes; the result does not depend on them.
    """
    jobs = [(crystals[k : k + CRYSTALS_IN_HAND], symprec) for k in range(0, len(crystals), CRYSTALS_IN_HAND)]
    with at_work(workers) as running:
        outcomes = [outcome for part in running.map(_extract_each, jobs) for outcome in part]
    good = [(i, r) for i, r in enumerate(outcomes) if not isinstance(r, str)]
    templates = Templates(
        space_group_number=torch.tensor([r[0] for _, r in good], dtype=torch.long),
        num_sites=torch.tensor([len(r[1]) for _, r in good], dtype=torch.long),
        position=torch.tensor([p for _, r in good for p in r[1]], dtype=torch.long),
        atomic_numbers=torch.tensor([z for _, r in good for z in r[2]], dtype=torch.long),
    )
    return Extraction(
        parametrised=ParametrisedTemplates.from_lattice(
            templates,
            torch.from_numpy(np.array([r[3] for _, r in good]).reshape(-1, 3, 3)),
            torch.from_numpy(np.concatenate([r[4] for _, r in good]) if good else np.zeros((0, 3))),
        ),
        source=torch.tensor([i for i, _ in good], dtype=torch.long),
        failures={i: r for i, r in enumerate(outcomes) if isinstance(r, str)},
    )


def _extract_each(crystals: Crystals, symprec: float) -> list[_Extracted | str]:
    """What `extract_one` gives for each crystal, or why it gives nothing."""
    lattice, coords = crystals.lattice.double().numpy(), crystals.frac_coords.double().numpy()
    numbers, ptr = crystals.atomic_numbers.numpy(), crystals.ptr.numpy()
    outcomes: list[_Extracted | str] = []
    for k in range(len(crystals)):
        atoms = slice(ptr[k], ptr[k + 1])
        try:
            outcomes.append(extract_one(lattice[k], coords[atoms], numbers[atoms], symprec))
        except ExtractionError as error:
            outcomes.append(str(error))
    return outcomes
