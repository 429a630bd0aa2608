import numpy as np

from crystalgraph.report.distributions import MAX_BARS, MAX_BINS, bars, histogram


def test_every_number_is_in_one_bin():
    values = np.random.default_rng(1).normal(10, 3, 500).tolist()
    found = histogram("v", "Volume", "Å³", {"as drawn": [*values, float("nan"), None], "relaxed": values[:20]})
    assert found is not None
    assert sum(found.counts["as drawn"]) == 500
    assert sum(found.counts["relaxed"]) == 20
    assert found.counts["as drawn"] == np.histogram(values, found.edges)[0].tolist()
    assert len(found.edges) - 1 <= MAX_BINS + 2
    assert len(set(np.diff(found.edges).round(9))) == 1


def test_what_is_cut_off_is_counted_in_the_note():
    found = histogram("e", "Energy", "eV/atom", {"as drawn": [0.1, 0.2, 5.0, 7.0]}, widest=2)
    assert found is not None
    assert sum(found.counts["as drawn"]) == 2
    assert found.note == "Not shown: 2 as drawn above 2."


def test_equal_numbers_have_a_bin_too():
    found = histogram("e", "Energy", "eV/atom", {"relaxed": [0.3, 0.3]})
    assert found is not None
    assert sum(found.counts["relaxed"]) == 2


def test_nothing_to_count_is_nothing():
    assert histogram("e", "Energy", "eV/atom", {"relaxed": [float("nan")], "as drawn": []}) is None
    assert histogram("e", "Energy", "eV/atom", {"as drawn": [9.0]}, widest=2) is None
    assert bars("g", "Groups", "number", {"as drawn": [None]}) is None


def test_labels_come_most_frequent_first_and_the_rest_is_counted():
    labels = ["225"] * 3 + ["12"] * 3 + ["62"] * 4 + [str(k) for k in range(100, 120)]
    found = bars("g", "Groups", "number", {"as drawn": labels, "relaxed": ["12"]})
    assert found is not None
    assert found.labels[:4] == ["62", "12", "225", "100"]
    assert len(found.labels) == MAX_BARS
    n_left = 23 - MAX_BARS
    assert found.note == f"And {n_left} others with {n_left} crystals."
    assert found.counts == {"as drawn": [4, 3, 3, *[1] * 13], "relaxed": [0, 1, *[0] * 14]}
