"""The batch of crystals: selection and joining keep atoms with their crystal; the numbers are pymatgen's."""

import pytest
import torch

from crystalgraph.crystals.batch import Crystals, ranges
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.io.datasets import load_dataset

CRYSTALS = load_dataset("nbo").crystals[:9]


def test_numbers_equal_pymatgen() -> None:
    for k, structure in enumerate(to_structures(CRYSTALS)):
        one = CRYSTALS[k]
        assert one.volume.item() == pytest.approx(structure.volume)
        torch.testing.assert_close(one.cart_coords, torch.from_numpy(structure.cart_coords))
        assert one.atomic_numbers.tolist() == list(structure.atomic_numbers)


@pytest.mark.parametrize("index", [slice(2, 7, 2), [5, 0, 0, 8], torch.tensor([1, 3]), torch.arange(9) > 6, -1])
def test_selection_is_that_of_a_list(index) -> None:
    chosen = torch.arange(9)[index].reshape(-1).tolist()
    part = CRYSTALS[index]
    again = Crystals.concatenate([CRYSTALS[k] for k in chosen])
    assert len(part) == len(chosen)
    for name in ("lattice", "frac_coords", "atomic_numbers", "num_atoms"):
        assert torch.equal(getattr(part, name), getattr(again, name))


def test_nothing_selected_is_an_empty_batch() -> None:
    assert len(CRYSTALS[[]]) == 0
    assert CRYSTALS[torch.zeros(9, dtype=torch.bool)].frac_coords.shape == (0, 3)


def test_pointers_and_owners() -> None:
    assert CRYSTALS.ptr[-1] == len(CRYSTALS.batch)
    assert torch.equal(torch.bincount(CRYSTALS.batch), CRYSTALS.num_atoms)
    assert ranges(torch.tensor([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="lattice has shape"):
        CRYSTALS.replace(lattice=CRYSTALS.lattice[:2])
    with pytest.raises(ValueError, match="num_atoms sums to"):
        CRYSTALS.replace(num_atoms=CRYSTALS.num_atoms + 1)
    with pytest.raises(ValueError, match="frac_coords has shape"):
        CRYSTALS.replace(frac_coords=CRYSTALS.frac_coords[:, :2])
    with pytest.raises(ValueError, match="empty"):
        Crystals.concatenate([])


def test_dtype_changes_the_floats_alone() -> None:
    single = CRYSTALS.to(dtype=torch.float32)
    assert single.lattice.dtype == single.frac_coords.dtype == torch.float32
    assert single.atomic_numbers.dtype == torch.int64
