"""What is kept comes back as it was computed, for the same question only, and nothing damaged is believed."""

import logging

import pytest

from crystalgraph.io.kept import kept

RESULT = {"scores": [0.1, -1e-300, None], "name": "Å"}


class Counted:
    """A computation that counts how often it is done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, object]:
        self.times += 1
        return RESULT


def test_the_same_question_is_computed_once(tmp_path):
    compute = Counted()
    answers = [kept(tmp_path, {"seed": 0}, compute) for _ in range(3)]
    assert answers == [RESULT] * 3
    assert compute.times == 1
    kept(tmp_path, {"seed": 1}, compute)
    assert compute.times == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_folder_nothing_is_kept():
    compute = Counted()
    assert kept(None, {}, compute) == kept(None, {}, compute) == RESULT
    assert compute.times == 2


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-9], lambda whole: whole.replace(b"0.1", b"0.2"), lambda _: b""]
)
def test_a_damaged_file_is_said_and_made_anew(tmp_path, caplog, damage):
    compute = Counted()
    kept(tmp_path, {"seed": 0}, compute)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING, "crystalgraph.io"):
        assert kept(tmp_path, {"seed": 0}, compute) == RESULT
    assert f"{file} is not believed" in caplog.text
    assert compute.times == 2
    assert file.read_bytes() == whole


def test_a_file_of_another_question_is_not_believed(tmp_path, caplog):
    compute = Counted()
    kept(tmp_path, {"seed": 0}, compute)
    (first,) = tmp_path.iterdir()
    kept(tmp_path, {"seed": 1}, compute)
    (second,) = set(tmp_path.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    with caplog.at_level(logging.WARNING, "crystalgraph.io"):
        kept(tmp_path, {"seed": 1}, compute)
    assert compute.times == 3
    assert "it depends on something else" in caplog.text


def test_where_nothing_can_be_written_this_is_said(tmp_path, caplog, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crystalgraph.io.kept.write_sealed", full)
    with caplog.at_level(logging.WARNING, "crystalgraph.io"):
        assert kept(tmp_path, {"seed": 0}, Counted()) == RESULT
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())
