from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from crystalgraph.screening.rank import rank, rank_by_formula


def test_best_first_ties_in_order_missing_last():
    assert rank([0.1, nan, 0.9, 0.1, -inf, nan]) == [2, 0, 3, 4, 1, 5]
    assert rank([]) == []


@given(st.lists(st.floats(allow_nan=False)))
def test_scores_fall_along_the_order(scores):
    order = rank(scores)
    assert sorted(order) == list(range(len(scores)))
    ranked = [scores[k] for k in order]
    assert ranked == sorted(scores, reverse=True)


def test_the_best_of_each_formula_come_first():
    scores = [5.0, 4.0, 3.0, 2.0, 1.0, 9.0, nan]
    formulas = ["NbO", "NbO", "NbO", "NbO", "NbO2", "NbO2", "NbO3"]
    # shares ahead: 0, 1/4, 2/4, 3/4 of NbO; 0 and 1/2 of NbO2, in order 5, 4; 0 of NbO3, without a score
    assert rank_by_formula(scores, formulas) == [5, 0, 6, 1, 2, 4, 3]
    assert rank_by_formula([], []) == []


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.sampled_from("ABC"))))
def test_within_a_formula_scores_fall_along_the_order(candidates):
    scores, formulas = [score for score, _ in candidates], [formula for _, formula in candidates]
    order = rank_by_formula(scores, formulas)
    assert sorted(order) == list(range(len(candidates)))
    for formula in set(formulas):
        own = [scores[k] for k in order if formulas[k] == formula]
        assert own == sorted(own, reverse=True)
    assert rank_by_formula(scores, ["A"] * len(scores)) == rank(scores)
