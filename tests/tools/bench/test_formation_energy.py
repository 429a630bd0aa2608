"""The example of a regression on graphs runs, on few crystals."""

import json

import pytest

from tools.bench import formation_energy


@pytest.mark.slow
def test_both_models_learn_from_the_same_crystals(tmp_path, capsys):
    out = tmp_path / "errors.json"
    formation_energy.main(["--crystals", "200", "--epochs", "20", "--out", str(out)])
    found = json.loads(out.read_text())
    assert "model" not in found
    assert found["training"] + found["test"] == 200
    errors = found["mean_absolute_error"]
    assert errors["matminer features, random forest"] < errors["mean of the training set"]
    assert errors["graph network"] < errors["mean of the training set"]
    assert "epoch 20 of 20" in capsys.readouterr().out
