from collections import Counter
from math import inf, nan

import numpy as np
import pytest

from crystalgraph.screening.choice import choose


class TestChoose:
    def test_best_third_of_each_composition(self):
        e_hull = [0.3, 0.1, 0.2, 5.0, 6.0, 4.0]
        assert sorted(choose(e_hull, ["NbO"] * 3 + ["NbO2"] * 3)) == [1, 5]

    def test_a_lone_composition_is_chosen_whatever_its_energy(self):
        assert choose([9.0, 0.1, 0.2, 0.3], ["Nb2O", "NbO", "NbO", "NbO"]) == [1, 0]

    def test_a_tenth_of_the_rest_is_drawn(self):
        rng = np.random.default_rng(3)
        e_hull = rng.random(90).tolist()
        chosen = choose(e_hull, ["NbO"] * 90, seed=1)
        assert len(chosen) == len(set(chosen)) == 30 + 6
        best = sorted(range(90), key=lambda k: e_hull[k])[:30]
        assert chosen[:30] == best
        assert not set(chosen[30:]) & set(best)
        others = {tuple(choose(e_hull, ["NbO"] * 90, seed=seed)[30:]) for seed in range(5)}
        assert len(others) == 5

    def test_what_has_no_energy_is_never_chosen(self):
        assert choose([nan, inf, 1.0], ["NbO"] * 3) == [2]
        assert choose([nan], ["NbO"]) == []
        assert choose([], []) == []

    @pytest.mark.parametrize("limit", [1, 2, 5, 12, 36, 1000])
    def test_a_limit_keeps_both_kinds_and_serves_every_composition_first(self, limit):
        rng = np.random.default_rng(0)
        e_hull = rng.random(90).tolist()
        formulas = ["NbO", "NbO2", "Nb2O5"] * 30
        free, limited = choose(e_hull, formulas, seed=2), choose(e_hull, formulas, seed=2, limit=limit)
        assert len(limited) == min(limit, len(free))
        n_random = round(6 * len(limited) / 36)
        best = limited[: len(limited) - n_random]
        counts = Counter(formulas[k] for k in best)
        assert max(counts.values(), default=0) - min(counts.get(f, 0) for f in set(formulas)) <= 1
        assert set(best) <= set(free[:30])

    def test_order_of_the_crystals_changes_nothing(self):
        rng = np.random.default_rng(5)
        e_hull, formulas = rng.random(40), np.array(["NbO", "NbO2"] * 20)
        order = rng.permutation(40)
        best = set(choose(e_hull.tolist(), formulas.tolist(), limit=14)[:12])
        again = choose(e_hull[order].tolist(), formulas[order].tolist(), limit=14)[:12]
        assert {int(order[k]) for k in again} == best
