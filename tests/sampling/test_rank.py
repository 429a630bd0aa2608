from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from crystalgraph.sampling.rank import rank


def test_best_first_ties_in_order_missing_last():
    assert rank([0.1, nan, 0.9, 0.1, -inf, nan]) == [2, 0, 3, 4, 1, 5]
    assert rank([]) == []


@given(st.lists(st.floats(allow_nan=False)))
def test_scores_fall_along_the_order(scores):
    order = rank(scores)
    assert sorted(order) == list(range(len(scores)))
    ranked = [scores[k] for k in order]
    assert ranked == sorted(scores, reverse=True)
