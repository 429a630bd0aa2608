"""Is a crystal physically possible at all? Distances, volume and density, for a whole batch at once.

Two definitions are kept apart. *CDVAE valid* asks only that all atoms are more than 0.5 Å apart and that the cell has
at least 0.1 Å³. *Strictly valid* also asks that no two atoms, periodic images of one atom included, come closer than
0.7 of the sum of their covalent radii, and that the density is that of a solid.

Reference:
    T. Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022, section 5.2 (the first definition).
    B. Cordero et al., Dalton Trans. 2832 (2008) (covalent radii).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER, covalent_radii
from crystalgraph.crystals.batch import Crystals
from crystalgraph.geometry.neighbors import neighbor_list, searchable_cells

MIN_DISTANCE = 0.5
"""Å; the shortest distance of a CDVAE-valid crystal is above it."""

MIN_VOLUME = 0.1
"""Å³; the smallest cell of a CDVAE-valid crystal."""

MIN_REDUCED_DISTANCE = 0.7
"""Smallest allowed distance over the sum of covalent radii."""

MIN_DENSITY, MAX_DENSITY = 1.5, 20.0
"""g/cm³; range of a strictly valid crystal."""

REASONS = (
    "lattice or coordinates not finite",
    f"cell volume below {MIN_VOLUME} Å³",
    "cell too flat or too crowded to search",
    "not a chemical element",
    f"atoms within {MIN_DISTANCE} Å",
    f"atoms closer than {MIN_REDUCED_DISTANCE} of their covalent radii",
    f"density below {MIN_DENSITY} g/cm³",
    f"density above {MAX_DENSITY:g} g/cm³",
)
"""Everything that can make a crystal strictly invalid, in the order in which reasons are joined."""

_GRAM_PER_CM3 = 1.66053906660  # one dalton per Å³ (CODATA 2018)
_CDVAE_FAILURES = [0, 1, 2, 4]  # the members of REASONS that the CDVAE definition knows


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Verdict on each crystal of a batch; every tensor is (n_crystals,).

    Attributes:
        valid: strictly valid, bool.
        cdvae_valid: valid by the weaker definition of CDVAE, bool.
        min_distance: shortest distance, own images included, Å. Infinite when it is longer than ``reach`` times the
            largest covalent diameter in the crystal; NaN when the cell could not be searched.
        min_reduced_distance: smallest distance over the sum of covalent radii. Exact up to ``reach``, an upper bound
            beyond; same two special values.
        density: g/cm³; NaN without a finite, non-zero volume.
        volume_per_atom: Å³; NaN without a finite cell.
        failures: which of ``REASONS`` apply, (n_crystals, len(REASONS)), bool.
        reasons: why a crystal is not strictly valid, joined by "; "; empty when it is.
    """

    valid: Tensor
    cdvae_valid: Tensor
    min_distance: Tensor
    min_reduced_distance: Tensor
    density: Tensor
    volume_per_atom: Tensor
    failures: Tensor
    reasons: list[str]


def strict_validity(crystals: Crystals, *, reach: float = 1.0) -> Validity:
    """Judge every crystal of a batch.

    Args:
        crystals: any batch; cells may be flat and values may be NaN.
        reach: up to which distance over the sum of covalent radii neighbours are searched, at least 0.7. It changes
            what is reported for sparse crystals, never the verdict.

    Returns:
        Verdicts, measures and reasons, on the device of the crystals.

    Raises:
        ValueError: if ``reach`` is below the 0.7 that the verdict needs.
    """
    if reach < MIN_REDUCED_DISTANCE:
        raise ValueError(f"reach is {reach}, but the verdict needs at least {MIN_REDUCED_DISTANCE}")
    crystals = crystals.to(dtype=torch.float64)
    batch, n_crystals = crystals.batch, len(crystals)
    device = crystals.num_atoms.device

    known = (crystals.atomic_numbers >= 1) & (crystals.atomic_numbers <= MAX_ATOMIC_NUMBER)
    numbers = torch.where(known, crystals.atomic_numbers, 0)
    finite = crystals.lattice.isfinite().flatten(1).all(1)
    finite &= _all_in(crystals.frac_coords.isfinite().all(1), batch, n_crystals) & crystals.volume.isfinite()
    elements = _all_in(known, batch, n_crystals)

    nan = torch.full((n_crystals,), torch.nan, dtype=torch.float64, device=device)
    volume = torch.where(finite, crystals.volume, nan)
    density = _density(volume, numbers, batch)
    roomy = finite & (volume >= MIN_VOLUME)
    radius = covalent_radii().to(device)[numbers]
    # Each crystal has its own horizon, so that a verdict never depends on the others in the batch.
    horizon = torch.zeros_like(volume).scatter_reduce(0, batch, reach * 2 * radius, "amax").clamp(min=MIN_DISTANCE)
    searchable = roomy & searchable_cells(crystals.lattice, crystals.frac_coords, crystals.num_atoms, horizon)
    distance, reduced = _shortest(crystals, radius, horizon, searchable)

    failures = torch.stack(
        [
            ~finite,
            finite & ~roomy,
            roomy & ~searchable,
            ~elements,
            distance <= MIN_DISTANCE,
            reduced < MIN_REDUCED_DISTANCE,
            density < MIN_DENSITY,
            density > MAX_DENSITY,
        ],
        1,
    )
    return Validity(
        valid=~failures.any(1),
        cdvae_valid=~failures[:, _CDVAE_FAILURES].any(1),
        min_distance=distance,
        min_reduced_distance=reduced,
        density=density,
        volume_per_atom=volume / crystals.num_atoms,
        failures=failures,
        reasons=["; ".join(r for r, hit in zip(REASONS, row, strict=True) if hit) for row in failures.tolist()],
    )


def densities(crystals: Crystals) -> Tensor:
    """Density of each crystal, (n_crystals,), g/cm³, float64; NaN without a finite, non-zero volume."""
    return _density(crystals.volume.double(), crystals.atomic_numbers, crystals.batch)


def _density(volume: Tensor, atomic_numbers: Tensor, batch: Tensor) -> Tensor:
    mass = torch.zeros_like(volume).index_add_(0, batch, _atomic_masses().to(volume.device)[atomic_numbers])
    return torch.where(volume > 0, mass * _GRAM_PER_CM3 / volume, torch.nan)


def _all_in(flags: Tensor, batch: Tensor, n_crystals: int) -> Tensor:
    """Whether a flag is set for every atom of each crystal, (n_crystals,), bool."""
    misses = torch.zeros(n_crystals, dtype=torch.int64, device=flags.device)
    return misses.index_add_(0, batch, (~flags).long()) == 0


def _shortest(crystals: Crystals, radius: Tensor, horizon: Tensor, searchable: Tensor) -> tuple[Tensor, Tensor]:
    """Shortest distance (Å) and shortest distance over the sum of radii; NaN where not searchable, (n_crystals,)."""
    i, j, shift = neighbor_list(
        crystals.lattice, crystals.frac_coords, crystals.num_atoms, horizon, searchable=searchable
    )
    owner = crystals.batch[i]
    vectors = crystals.frac_coords[j] - crystals.frac_coords[i] + shift
    lengths = torch.einsum("nk,nkl->nl", vectors, crystals.lattice[owner]).norm(dim=1)
    start = torch.where(searchable, torch.inf, torch.nan).to(lengths)
    distance = start.scatter_reduce(0, owner, lengths, "amin")
    return distance, start.scatter_reduce(0, owner, lengths / (radius[i] + radius[j]), "amin")


@lru_cache(maxsize=1)
def _atomic_masses() -> Tensor:
    """Standard atomic masses in dalton, (119,), float64, indexed by atomic number."""
    from ase.data import atomic_masses

    return torch.from_numpy(np.asarray(atomic_masses, dtype=np.float64)[: MAX_ATOMIC_NUMBER + 1].copy())
