"""The crystals whose judging is timed differ, and each size has a row."""

import json

import ase.io
import pytest

from crystalgraph.models.bundle import load_model
from tools.bench.scale import SEEDS, main, write_crystals


@pytest.mark.slow
def test_copies_are_moved(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.bench.scale.SEEDS", 5)
    write_crystals(tmp_path / "some.extxyz", 12, load_model("nbo"))
    frames = ase.io.read(tmp_path / "some.extxyz", ":")
    assert len(frames) == 12 < SEEDS
    assert len({round(frame.get_volume(), 6) for frame in frames[5:]}) == 7
    assert [len(frame) for frame in frames[:5]] == [len(frame) for frame in frames[5:10]]
    assert all(set(frame.get_chemical_symbols()) <= {"Nb", "O"} for frame in frames)


@pytest.mark.slow
def test_runs_as_a_command(tmp_path):
    out = tmp_path / "scale.json"
    assert main(["--evaluated", "10", "--read", "10,20", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["stage"], row["crystals"]) for row in rows] == [
        ("read, strictly valid", 10),
        ("read, strictly valid", 20),
        ("cg-evaluate", 10),
    ]
    assert all(row["cpu_seconds"] > 0 and row["memory_mb"] > 50 for row in rows)
    assert (tmp_path / "scale.png").stat().st_size > 1000
