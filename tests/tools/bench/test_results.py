"""A result of other weights than the shipped ones, or one that does not say, marks itself."""

import hashlib

import pytest

from tools.bench.record import RESULTS, ROOT
from tools.bench.results import is_of_shipped, load, provenance, shipped_weights, weights

SHIPPED, OTHER = "a" * 64, "b" * 64
NOT_RECORDED, OTHERS = "not recorded", "other weights than those shipped"


def test_the_shipped_weights_are_those_in_the_package():
    file = ROOT / "crystalgraph" / "weights" / "nbo" / "model.safetensors"
    assert shipped_weights() == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("record", "mark"),
    [
        ({}, NOT_RECORDED),
        ({"model": {"sha256": OTHER}}, OTHERS),
        ({"model": {"sha256": SHIPPED}}, None),
        ({"models": {"one": SHIPPED, "two": SHIPPED}}, None),
        ({"models": {"one": SHIPPED, "two": OTHER}}, OTHERS),
        ({"model_sha256": SHIPPED}, None),
    ],
)
def test_marks_are_by_checksum_alone(record, mark):
    text = provenance("peers", record, SHIPPED)
    assert is_of_shipped("peers", record, SHIPPED) is (mark is None)
    assert [m for m in (NOT_RECORDED, OTHERS) if m in text] == ([mark] if mark else [])
    assert all(checksum[:12] in text for checksum in weights(record))


def test_what_has_no_model_is_not_marked():
    text = provenance("judge", {"command": "python tools/earlier.py"}, SHIPPED)
    assert "no weights" in text
    assert NOT_RECORDED not in text
    assert "written by `python tools/earlier.py`" in text


def test_a_training_of_its_own_says_so():
    assert "`configs/prediction.toml`" in provenance("prediction", {"model": {"sha256": OTHER}}, SHIPPED)


def test_its_own_date_and_command_count_more_than_the_registry():
    record = {"model": {"sha256": SHIPPED}, "date": "2030-01-02", "command": "python -m tools.bench peers --seeds 5"}
    text = provenance("peers", record, SHIPPED)
    assert "`peers.json`, 2030-01-02, written by `python -m tools.bench peers --seeds 5`" in text


def test_new_weights_make_every_committed_result_stale():
    with_model = ["peers", "peers_tio", "rediscovery", "funnel", "raw", "heldout_shipped"]
    assert not any(is_of_shipped(name, load(RESULTS, name), SHIPPED) for name in with_model)
