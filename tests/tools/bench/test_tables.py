"""Cells and tables by hand."""

import pytest

from crystalgraph.evaluation.rates import Rate
from tools.bench import tables


def test_cells():
    found = Rate(numerator=12, denominator=40).record()
    assert tables.rate(found) == "0.30 (0.18–0.45)"
    assert tables.interval(found, 3) == "0.181–0.454"
    assert tables.rate(None) == tables.rate({"absent": "nothing relaxed"}) == tables.number(None) == "–"
    assert tables.number(1633.4, 0) == "1,633"
    assert tables.percent(0.0451, 1) == "4.5 %"
    assert tables.rate(tables.flat({"match": 0.3, "match_interval": [0.2, 0.4]}, "match")) == "0.30 (0.20–0.40)"


def test_a_table_has_a_cell_for_each_title():
    assert tables.markdown(["", "n"], [["a", "1"]]) == "|  | n |\n| --- | --- |\n| a | 1 |\n"
    with pytest.raises(ValueError, match="cells under 2 titles"):
        tables.markdown(["", "n"], [["a"]])


def test_what_was_chosen_is_told_from_what_was_drawn():
    seeds = {"0": {"remarks": {"samples drawn": 1280}}, "1": {"remarks": {"samples drawn": 1024}}}
    assert tables.drawn({"samples": 600, "per_seed": seeds}) == 2304
    assert tables.drawn({"samples": 600, "per_seed": {"0": {"remarks": {"templates": 7}}}}) == 600


def test_no_better_is_said_unless_the_intervals_are_apart():
    low, middle, high = ({"interval": pair} for pair in ([0.1, 0.2], [0.15, 0.3], [0.4, 0.5]))
    assert tables.is_no_better(low, high)
    assert tables.is_no_better(middle, low)
    assert not tables.is_no_better(high, middle)


def test_phases_are_listed_by_rank_and_only_if_relaxed():
    phase = {"formula": "NbO", "space_group_number": 221, "origin": "computed", "template_seen": None}
    phases = [
        phase | {"id": "late", "relaxed": ["0120_NbO_sg221"]},
        phase | {"id": "never", "relaxed": []},
        phase | {"id": "early", "relaxed": ["0007_NbO_sg221", "0300_NbO_sg221"], "template_seen": False},
    ]
    rows = tables.rediscovery(phases).splitlines()[2:]
    assert rows == [
        "| NbO | early | 221 | computed | unseen | 7 |",
        "| NbO | late | 221 | computed | – | 120 |",
    ]


def test_missed_phases_say_whether_they_were_drawn():
    phase = {"formula": "NbO", "space_group_number": 221, "atoms": 6, "template_seen": True}
    phases = [
        phase | {"id": "high", "dft_e_above_hull": 0.0504, "kept": []},
        phase | {"id": "found", "dft_e_above_hull": 0.0, "kept": []},
        phase | {"id": "low", "dft_e_above_hull": 0.01, "kept": ["0007_NbO_sg221"], "template_seen": False},
    ]
    assert tables.missed(phases, ["high", "low"]).splitlines()[2:] == [
        "| NbO | low | 221 | 6 | 0.010 | unseen | drawn, but became another |",
        "| NbO | high | 221 | 6 | 0.050 | learned from | not among what was kept |",
    ]
