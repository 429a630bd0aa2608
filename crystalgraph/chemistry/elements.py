"""Elements as numbers: radii and the descriptors from which the networks know an element."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

MAX_ATOMIC_NUMBER = 118

DESCRIPTORS = (
    "electronegativity",
    "covalent_radius",
    "atomic_radius",
    "ionic_radius",
    "group",
    "row",
    "max_oxidation_state",
    "min_oxidation_state",
    "is_metal",
    "mendeleev_number",
    "is_transition_metal",
)


@lru_cache(maxsize=1)
def covalent_radii() -> Tensor:
    """Covalent radii in Å, (119,), float64, indexed by atomic number; 0.2 where none is known.

    Reference:
        B. Cordero et al., Dalton Trans. 2832 (2008), as tabulated by ASE.
    """
    from ase.data import covalent_radii as table

    return torch.from_numpy(np.asarray(table, dtype=np.float64)[: MAX_ATOMIC_NUMBER + 1].copy())


@lru_cache(maxsize=1)
def electronegativities() -> Tensor:
    """Pauling electronegativities, (119,), float64, indexed by atomic number; 0 where none is known."""
    return _raw_descriptors()[:, 0]


@lru_cache(maxsize=1)
def mendeleev_numbers() -> Tensor:
    """Pettifor's Mendeleev numbers, (119,), float64, indexed by atomic number; 0 where none is known."""
    return _raw_descriptors()[:, DESCRIPTORS.index("mendeleev_number")]


@lru_cache(maxsize=1)
def element_descriptors() -> Tensor:
    """Standardised descriptors, (119, len(DESCRIPTORS)), float64, indexed by atomic number; row 0 is zero."""
    raw = _raw_descriptors()
    real = raw[1:]
    table = (raw - real.mean(0)) / real.std(0)
    table[0] = 0
    return table


def _finite(value: float | None) -> float:
    return 0.0 if value is None or not np.isfinite(value) else float(value)


@lru_cache(maxsize=1)
def _raw_descriptors() -> Tensor:
    import warnings

    from pymatgen.core import Element

    table = torch.zeros(MAX_ATOMIC_NUMBER + 1, len(DESCRIPTORS), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns for each element without a tabulated value
        for number in range(1, MAX_ATOMIC_NUMBER + 1):
            element = Element.from_Z(number)
            states = element.common_oxidation_states or element.oxidation_states or (0,)
            values = [
                element.X,
                float(covalent_radii()[number]),
                element.atomic_radius,
                element.average_ionic_radius,
                element.group,
                element.row,
                max(states),
                min(states),
                element.is_metal,
                element.mendeleev_no,
                element.is_transition_metal,
            ]
            table[number] = torch.tensor([_finite(v) for v in values], dtype=torch.float64)
    return table


@lru_cache(maxsize=1)
def max_common_oxidation_state() -> Tensor:
    """Highest common oxidation state, (119,), float64, indexed by atomic number; -2 for oxygen, 5 for niobium."""
    return _raw_descriptors()[:, 6]
