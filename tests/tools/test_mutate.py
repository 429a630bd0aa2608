"""Damaged files and arguments never end in a traceback or a hang; `python -m tools.mutate` tries many more."""

import random

import pytest

from tools.mutate import damaged, mutate_arguments, mutate_files, outcome, seeds

FAILED = {"traceback", "hang"}


def test_undamaged_files_are_read(tmp_path):
    from crystalgraph.io.reading import read_structures

    for kind, files in seeds().items():
        for number, (name, content) in enumerate(files):
            place = tmp_path / f"{kind}{number}"
            place.mkdir()
            (place / name).write_bytes(content)
            assert len(read_structures(place)) or name == "a.xyz", (kind, number)


def test_damage_depends_on_the_seed_alone():
    content = seeds()["cif"][0][1]
    one, same, other = (damaged(content, random.Random(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_what_fails_is_seen():
    kept = []
    assert outcome(lambda: 1 / 0, kept.append) == "traceback"
    assert "ZeroDivisionError" in kept[0]


def test_damaged_files_give_crystals_or_a_reason(tmp_path):
    counts = mutate_files(60, 26, tmp_path / "kept")
    assert not FAILED & {what for _, what in counts}
    assert counts.total() == 60


@pytest.mark.slow
def test_many_damaged_files_give_crystals_or_a_reason(tmp_path):
    assert not FAILED & {what for _, what in mutate_files(1_000, 27, tmp_path / "kept")}


@pytest.mark.slow
def test_damaged_arguments_give_one_line(tmp_path):
    assert not FAILED & {what for _, what in mutate_arguments(200, 28, tmp_path / "kept")}
