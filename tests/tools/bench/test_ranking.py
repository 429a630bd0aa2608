"""How well a number orders crystals by energy."""

import numpy as np
import pytest

from tools.bench.ranking import ranking_figures


def test_a_perfect_and_a_reversed_order():
    energy = np.linspace(0.0, 0.99, 100)
    found = ranking_figures(-energy, energy, ["NbO"] * 100)
    assert found["spearman"] == found["spearman_within_formulas"] == pytest.approx(1)
    assert (found["metastable"]["numerator"], found["metastable"]["denominator"]) == (11, 100)
    assert (found["metastable_of_top_tenth"]["numerator"], found["metastable_of_top_tenth"]["denominator"]) == (10, 10)
    assert ranking_figures(energy, energy, ["NbO"] * 100)["spearman"] == pytest.approx(-1)


def test_a_score_that_only_knows_the_formula_says_nothing_within():
    formulas = ["NbO"] * 40 + ["NbO2"] * 40
    rng = np.random.default_rng(0)
    energy = np.r_[rng.random(40), 1 + rng.random(40)]
    score = np.r_[np.ones(40), np.zeros(40)] + 1e-3 * rng.random(80)
    found = ranking_figures(score, energy, formulas)
    assert found["spearman"] > 0.7
    assert abs(found["spearman_within_formulas"]) < 0.4


def test_what_has_no_number_is_left_out_and_counted():
    found = ranking_figures([1.0, np.nan, 2.0, 3.0], [0.3, 0.1, np.inf, 0.05], ["NbO"] * 4)
    assert (found["crystals"], found["left_out"]) == (2, 2)
    assert found["spearman"] == pytest.approx(1)
    assert found["spearman_within_formulas"] is None  # too few of one formula
    assert ranking_figures([1.0, 1.0], [0.1, 0.2], ["NbO"] * 2)["spearman"] is None
    assert ranking_figures([], [], [])["metastable"] is None
