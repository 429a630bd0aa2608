"""The head of every result: command, date, weights, versions."""

import datetime
import json
from types import SimpleNamespace

from tools.bench.record import record_head, write_result

MODEL = SimpleNamespace(name="nbo", checksum="f" * 64, record={"config": {"data": {"dataset": "corpus"}}})


def test_head_of_one_model():
    head = record_head("peers", ["--out", "my file.json"], MODEL)
    assert list(head) == ["command", "date", "model", "versions"]
    assert head["command"] == "python -m tools.bench peers --out 'my file.json'"
    assert abs(datetime.date.fromisoformat(head["date"]) - datetime.datetime.now(datetime.UTC).date()).days <= 1
    assert head["model"] == {"name": "nbo", "sha256": "f" * 64, "data": {"dataset": "corpus"}}
    assert {"crystalgraph", "torch", "chgnet"} <= set(head["versions"])


def test_head_of_a_run_of_several_models_and_of_none(tmp_path):
    of_run = {"name": "mine", "sha256": "abc", "record": {"config": {}}}
    assert record_head("raw", [], of_run)["model"] == {"name": "mine", "sha256": "abc"}
    assert record_head("splits", [], models={"1": MODEL})["models"] == {"1": "f" * 64}
    head = record_head("hull", [])
    assert not {"model", "models"} & set(head)
    write_result(tmp_path / "new" / "out.json", head)
    assert json.loads((tmp_path / "new" / "out.json").read_text()) == head
