"""The simulation of many workers does every task, and says what they cost."""

import json

import pytest

from crystalgraph.relax.relaxation import Relaxation
from tools.bench.thousand_workers import answer, main


def test_the_answer_of_a_task_is_that_of_a_relaxation():
    assert Relaxation.from_dict(answer()).status == "converged"


@pytest.mark.slow
def test_a_few_workers_as_a_command(tmp_path, capsys):
    lengths, out = tmp_path / "lengths.json", tmp_path / "out.json"
    lengths.write_text(json.dumps({"lengths": [1.0, 2.0, 3.0]}))
    options = ["--workers", "6", "--each", "3", "--means", "0.4,0.1", "--lengths-from", str(lengths), "--out", str(out)]
    assert main(options) == 0
    assert "workers at work" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert [one["mean_seconds"] for one in record["means"]] == [0.4, 0.1]
    for one in record["means"]:
        assert (one["tasks"], one["lost"]) == (18, 0)
        assert one["wall"] > 3 * one["mean_seconds"] * 0.5
        assert 0 < one["workers_at_work"] <= 1
        assert one["scheduler_busy"] > 0
