from math import inf

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge

from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.choice import (
    PRIOR_WEIGHT,
    SLOPE,
    SPREAD,
    WORTH_BELOW,
    Expectation,
    choose,
)


def chosen(energies, formulas, n, *, seed=0, **options):
    options = {"expectation": Expectation(), "lowest": {}, "random_share": 0.0} | options
    return choose(energies, formulas, n, rng=np.random.default_rng(seed), **options)


class TestExpectation:
    def test_before_anything_is_known(self):
        assert Expectation.of([], []) == Expectation(slope=SLOPE, intercept=0.0, spread=SPREAD)

    def test_many_relaxations_outweigh_what_was_expected(self):
        rng = np.random.default_rng(0)
        drawn = rng.uniform(0, 2, 5000)
        found = Expectation.of(drawn, 0.2 + 0.8 * drawn + rng.normal(scale=0.03, size=5000))
        assert found.slope == pytest.approx(0.8, abs=0.01)
        assert found.intercept == pytest.approx(0.2, abs=0.01)
        assert found.spread == pytest.approx(0.03, abs=0.003)

    def test_it_is_a_ridge_regression(self):
        """Both columns scaled so that one penalty is the two; scikit-learn's is the oracle."""
        rng = np.random.default_rng(1)
        drawn, relaxed = rng.uniform(0, 2, 7), rng.uniform(-0.1, 1, 7)
        ridge = Ridge(alpha=PRIOR_WEIGHT, fit_intercept=False)
        ridge.fit(np.stack([drawn / 0.5, np.ones(7)], 1), relaxed - SLOPE * drawn)
        found = Expectation.of(drawn, relaxed)
        assert found.slope == pytest.approx(SLOPE + ridge.coef_[0] / 0.5)
        assert found.intercept == pytest.approx(ridge.coef_[1])

    def test_chance_is_that_of_a_normal_distribution(self):
        expectation = Expectation(slope=0.5, intercept=0.1, spread=0.2)
        found = expectation.chance_below(np.array([0.0, 1.0]), METASTABLE)
        assert found == pytest.approx(norm(loc=[0.1, 0.6], scale=0.2).cdf(METASTABLE))


class TestChoose:
    def test_the_lowest_of_one_formula_come_first(self):
        rng = np.random.default_rng(3)
        energies = rng.uniform(0, 2, 40)
        assert set(chosen(energies, ["NbO"] * 40, 5)) == set(np.argsort(energies)[:5].tolist())

    def test_the_lowest_of_each_formula_goes_before_a_second_that_is_little_lower(self):
        energies = [0.1, 0.12, 0.14, 0.24, 0.26, 0.22]
        formulas = ["NbO", "NbO", "NbO", "NbO2", "NbO2", "Nb2O5"]
        assert sorted(chosen(energies, formulas, 3)) == [0, 3, 5]

    def test_a_formula_whose_lowest_is_known_to_be_low_is_worth_less(self):
        """Neither is likely to be metastable; one could still become the lowest of its formula."""
        found = {"NbO": -0.4, "NbO2": WORTH_BELOW}
        assert chosen([0.5, 0.51], ["NbO", "NbO2"], 1, lowest=found) == [1]
        assert chosen([0.5, 0.51], ["NbO", "NbO2"], 1, lowest=dict.fromkeys(found, inf)) == [0]

    def test_what_is_never_likely_is_still_ordered_by_its_energy(self):
        assert chosen([90.0, 70.0, 80.0], ["NbO"] * 3, 2) == [1, 2]

    def test_a_share_is_random(self):
        energies = np.random.default_rng(4).uniform(0, 2, 100)
        picks = [chosen(energies, ["NbO"] * 100, 20, random_share=0.2, seed=seed) for seed in range(5)]
        assert all(len(set(pick)) == 20 for pick in picks)
        assert len({tuple(pick[:16]) for pick in picks}) == 1
        assert len({tuple(pick[16:]) for pick in picks}) == 5

    @pytest.mark.parametrize("n", [0, 1, 3, 9])
    def test_never_more_than_there_are(self, n):
        assert len(chosen([0.1, 0.2, 0.3], ["NbO"] * 3, n, random_share=0.5)) == min(n, 3)
        assert chosen([], [], n) == []

    def test_order_of_the_crystals_changes_nothing(self):
        rng = np.random.default_rng(5)
        energies, formulas = rng.random(40), np.array(["NbO", "NbO2"] * 20)
        order = rng.permutation(40)
        again = chosen(energies[order], formulas[order].tolist(), 12)
        assert {int(order[k]) for k in again} == set(chosen(energies, formulas.tolist(), 12))
