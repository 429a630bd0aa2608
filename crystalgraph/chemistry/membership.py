"""Which crystals of a batch belong to a chemical system."""

from __future__ import annotations

import torch
from torch import Tensor

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER
from crystalgraph.chemistry.system import ChemicalSystem


def is_within(atomic_numbers: Tensor, batch: Tensor, n: int, system: ChemicalSystem) -> Tensor:
    """Whether each of n crystals has elements of the system only, (n,), bool; arguments as in ``Crystals``."""
    allowed = torch.zeros(MAX_ATOMIC_NUMBER + 1, dtype=torch.bool)
    allowed[list(system.atomic_numbers)] = True
    return torch.zeros(n, dtype=torch.long).index_add(0, batch, (~allowed[atomic_numbers]).long()) == 0
