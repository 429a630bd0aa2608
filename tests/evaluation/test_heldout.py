"""The ruler for held-out templates, on draws whose outcome is known."""

import torch

from crystalgraph.crystals.batch import Crystals
from crystalgraph.evaluation.heldout import evaluate_heldout
from crystalgraph.io.datasets import load_dataset

DATASET = load_dataset("nbo")
KNOWN = DATASET.crystals[torch.from_numpy(DATASET.columns["kind"] == "oxide").nonzero()[:12, 0]]


def crushed(crystals: Crystals) -> Crystals:
    return crystals.replace(lattice=0.4 * crystals.lattice)


def test_truth_is_found_at_once() -> None:
    result = evaluate_heldout(lambda _: KNOWN, KNOWN, 2)
    assert result.match_rate(1) == result.match_rate(2) == 1
    assert result.strict == 1
    assert result.volume_error < 1e-12


def test_late_and_partial_finds_are_counted_where_they_belong() -> None:
    order = torch.arange(len(KNOWN)).roll(1)

    def draw(number: int) -> Crystals:
        return KNOWN[order] if number < 3 else KNOWN

    result = evaluate_heldout(draw, KNOWN, 4)
    assert result.match_rate(2) < 0.5
    assert result.match_rate(3) == result.match_rate(4) == 1
    assert result.first_match.max() == 3


def test_crushed_crystals_are_invalid_and_never_match() -> None:
    result = evaluate_heldout(lambda _: crushed(KNOWN), KNOWN, 3)
    assert result.strict == 0
    assert result.volume_error > 0.9
