"""How many atoms of each element: of many crystals at once, as counts and per formula unit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER


def element_counts(atomic_numbers: Tensor, batch: Tensor, n: int, weights: Tensor | None = None) -> Tensor:
    """Count the atoms of each element.

    Args:
        atomic_numbers: element of each atom or site, (n_atoms,), int64, 1 to 118.
        batch: which crystal each belongs to, (n_atoms,), int64, below ``n``.
        n: number of crystals.
        weights: how many atoms each entry stands for, such as a multiplicity, (n_atoms,), int64; one each if None.

    Returns:
        (n, 119), int64; column Z is element Z.
    """
    counts = torch.zeros(n, MAX_ATOMIC_NUMBER + 1, dtype=torch.long, device=atomic_numbers.device)
    each = torch.ones_like(batch) if weights is None else weights
    return counts.index_put_((batch, atomic_numbers), each, accumulate=True)


def reduced(counts: Tensor) -> Tensor:
    """Divide each row by its greatest common divisor: the atoms of one formula unit.

    Args:
        counts: atoms of each element, (n, n_elements), int64, not negative.

    Returns:
        Of the same shape; a row of zeros stays as it is.
    """
    divisors = torch.from_numpy(np.gcd.reduce(counts.cpu().numpy(), axis=1, keepdims=True))
    return counts // divisors.clamp_min(1).to(counts.device)
