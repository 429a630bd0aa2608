"""Element tables against pymatgen and ASE."""

import pytest
import torch
from pymatgen.core import Element

from crystalgraph.chemistry.elements import (
    DESCRIPTORS,
    covalent_radii,
    electronegativities,
    element_descriptors,
    max_common_oxidation_state,
)


@pytest.mark.parametrize("symbol", ["H", "O", "Na", "Ti", "Nb", "W", "U"])
def test_values_equal_pymatgen(symbol: str) -> None:
    element = Element(symbol)
    assert electronegativities()[element.Z].item() == pytest.approx(element.X)
    assert max_common_oxidation_state()[element.Z].item() == max(element.common_oxidation_states)


def test_radii_of_known_bonds() -> None:
    # Cordero et al. 2008: niobium 1.64, oxygen 0.66, hydrogen 0.31 Å.
    assert [covalent_radii()[z].item() for z in (41, 8, 1)] == [1.64, 0.66, 0.31]


def test_descriptors_are_standardised_and_complete() -> None:
    table = element_descriptors()
    assert table.shape == (119, len(DESCRIPTORS))
    assert table.isfinite().all()
    torch.testing.assert_close(table[1:].mean(0), torch.zeros(len(DESCRIPTORS), dtype=torch.float64))
    torch.testing.assert_close(table[1:].std(0), torch.ones(len(DESCRIPTORS), dtype=torch.float64))
