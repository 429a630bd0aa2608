"""The Wyckoff positions of the 230 space groups as tensors.

A position is the affine map from its free parameters u to the fractional coordinates of its atoms, x = R u + t.
Settings are the standard ones of the International Tables (unique axis b, cell choice 1; origin choice 2;
hexagonal axes). The numbers come from PyXtal (MIT licence, S. Fredericks et al., Comput. Phys. Commun. 261, 107810,
2021) through ``tools/build_wyckoff.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

N_SPACE_GROUPS = 230


@dataclass(frozen=True, kw_only=True)
class WyckoffTable:
    """All 1,731 Wyckoff positions, group after group, letters in order (a, b, …).

    Attributes:
        centring: primitive vectors as rows in the basis of the conventional cell, (231, 3, 3), by group number.
        space_group_number: group of each position, (n_positions,).
        letter: Wyckoff letter of each position, length n_positions.
        multiplicity: atoms in the *primitive* cell, (n_positions,).
        rotation: R of the first operator, conventional cell, (n_positions, 3, 3).
        translation: t of the first operator, conventional cell, (n_positions, 3).
        free: which components of u are free, (n_positions, 3), bool.
        pseudo_inverse: R⁺ of the first operator, (n_positions, 3, 3).
        op_rotation: R of every operator into the primitive cell, (n_ops, 3, 3); position p has the rows
            ``op_start[p]`` to ``op_start[p] + multiplicity[p]``.
        op_translation: t of every operator into the primitive cell, (n_ops, 3).
        op_start: first operator of each position, (n_positions,).
        alternatives: for each group number, the permutations of its positions that the Euclidean normaliser
            allows, as arrays (n_permutations, n_positions_of_group) of letter indices.
    """

    centring: Tensor
    space_group_number: Tensor
    letter: tuple[str, ...]
    multiplicity: Tensor
    rotation: Tensor
    translation: Tensor
    free: Tensor
    pseudo_inverse: Tensor
    op_rotation: Tensor
    op_translation: Tensor
    op_start: Tensor
    alternatives: dict[int, np.ndarray]

    def first_position(self, space_group_number: int) -> int:
        """Row of letter a of a group."""
        return int(torch.searchsorted(self.space_group_number, torch.tensor(space_group_number)))

    def positions(self, space_group_number: int) -> range:
        """Rows of all positions of a group, letter a first."""
        return range(self.first_position(space_group_number), self.first_position(space_group_number + 1))


@lru_cache(maxsize=1)
def wyckoff_table() -> WyckoffTable:
    """Read the table that travels with the package (float64, on the CPU)."""
    with files("crystalgraph.symmetry").joinpath("wyckoff.npz").open("rb") as file:
        data = dict(np.load(file, allow_pickle=False))
    rotation = torch.from_numpy(data["rotation"]).double()
    multiplicity = torch.from_numpy(data["multiplicity"]).long()
    groups = data["alternative_group"]
    n_letters = np.bincount(data["space_group_number"], minlength=N_SPACE_GROUPS + 1)
    return WyckoffTable(
        centring=torch.from_numpy(data["centring"]),
        space_group_number=torch.from_numpy(data["space_group_number"]).long(),
        letter=tuple(data["letter"].tolist()),
        multiplicity=multiplicity,
        rotation=rotation,
        translation=torch.from_numpy(data["translation"]),
        free=(rotation != 0).any(1),
        pseudo_inverse=torch.linalg.pinv(rotation),
        op_rotation=torch.from_numpy(data["op_rotation"]).double(),
        op_translation=torch.from_numpy(data["op_translation"]),
        op_start=torch.cumsum(multiplicity, 0) - multiplicity,
        alternatives={
            number: data["alternative"][groups == number][:, : n_letters[number]].astype(np.int64)
            for number in range(1, N_SPACE_GROUPS + 1)
        },
    )


def point_group_order(space_group_number: Tensor) -> Tensor:
    """Order of the point group of each space group, (n,): 1 for P1, 48 for Fm-3m."""
    table = wyckoff_table()
    general = torch.searchsorted(table.space_group_number, space_group_number, right=True) - 1
    return table.multiplicity[general]
