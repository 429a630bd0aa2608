from math import sqrt

import pytest

from crystalgraph.evaluation.rates import Absent, BudgetRate, Number, Rate, rate, records

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(k, n):
    """The closed formula (Wilson 1927, equation as in Brown, Cai and DasGupta 2001)."""
    p = k / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 40), (15, 40), (40, 40), (102, 300), (1, 1000)])
def test_interval_is_wilsons(k, n):
    found = Rate(numerator=k, denominator=n)
    assert found.interval == pytest.approx(wilson(k, n), abs=1e-12)
    low, high = found.interval
    assert low <= found.value <= high
    assert found.record() == {"numerator": k, "denominator": n, "value": k / n, "interval": [low, high]}


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_share_is_refused(k, n):
    with pytest.raises(ValueError, match="no share"):
        Rate(numerator=k, denominator=n)


def test_nothing_to_count_is_absent_with_its_reason():
    assert rate(0, 0, "nobody came") == Absent("nobody came")
    assert rate(0, 2, "nobody came") == Rate(numerator=0, denominator=2)
    assert Absent("nobody came").record() == {"absent": "nobody came"}


def test_budget_is_the_rate_of_the_part_times_the_eligible_share():
    # The table of peers: 15 of 40 relaxed, 273 of 300 strictly valid: .375 and .34.
    budget = BudgetRate(of_sample=Rate(numerator=15, denominator=40), eligible=Rate(numerator=273, denominator=300))
    assert budget.value == pytest.approx(0.375 * 0.91)
    assert budget.interval == pytest.approx([0.91 * bound for bound in wilson(15, 40)])
    record = budget.record()
    assert record["numerator"] / record["denominator"] == pytest.approx(record["value"])
    assert record["estimated"]
    assert budget.counts == "15/40 × 273/300"


def test_budget_is_a_plain_rate_when_all_eligible_were_looked_at():
    budget = BudgetRate(of_sample=Rate(numerator=3, denominator=8), eligible=Rate(numerator=8, denominator=20))
    assert budget.value == pytest.approx(3 / 20)
    assert budget.interval == pytest.approx(wilson(3, 20))
    assert (budget.record()["numerator"], budget.record()["estimated"]) == (3, False)


def test_numbers_are_finite():
    with pytest.raises(ValueError, match="no metric"):
        Number(value=float("nan"), n=3)


def test_records_keep_groups_names_and_order():
    metrics = {"b": {"x": Absent("why"), "a": Number(value=1.5, unit="Å", n=2)}, "a": {}}
    found = records(metrics)
    assert list(found) == ["b", "a"]
    assert list(found["b"]) == ["x", "a"]
    assert found["b"]["a"] == {"value": 1.5, "unit": "Å", "n": 2}
