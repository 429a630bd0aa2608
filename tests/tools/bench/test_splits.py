"""Splits differ in what they hold out and in nothing else; a run of another split is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crystalgraph.errors import InputError
from crystalgraph.training.config import parse_config
from crystalgraph.training.corpus import is_held_out
from tools.bench import splits, tables


def test_configs_of_splits_differ_in_the_split_alone() -> None:
    first, second = (parse_config(splits.config_text(split), "text") for split in (1, 2))
    assert (first.data.seed, second.data.seed) == (1, 2)
    assert first == second.model_copy(update={"data": second.data.model_copy(update={"seed": 1})})
    names = [f"225 prototype {k}" for k in range(2000)]
    held = [{name for name in names if is_held_out(name, 0.1, seed)} for seed in (1, 2)]
    assert all(len(own) == pytest.approx(200, abs=50) for own in held)
    assert len(held[0] & held[1]) < 50  # a tenth of a tenth, were it chance


def test_another_split_is_refused(monkeypatch, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    model = SimpleNamespace(record={"held_out": "of another split"})
    monkeypatch.setattr(splits, "load_model", lambda _folder: model)
    monkeypatch.setattr(splits, "prepare", lambda *_args, **_settings: None)
    monkeypatch.setattr(splits, "held_out_checksum", lambda _corpus: "of this split")
    with pytest.raises(InputError, match="another split"):
        splits.measure(1, tmp_path, 2)


def test_mean_and_deviation_over_splits() -> None:
    rates = torch.tensor([[0.3, 0.5], [0.4, 0.6], [0.2, 0.9]])
    rows = [
        {"split": k, "strict": 0.97, "timed_out": 0}
        | {g: {"n": 400, "match_1": {"value": one}, "match_20": {"value": many}} for g in tables.GROUPS}
        for k, (one, many) in enumerate(rates.tolist(), start=1)
    ]
    last = tables.splits(rows, 20).splitlines()[-1]
    one, many = (f"{np.mean(v):.2f} ± {np.std(v, ddof=1):.2f}" for v in rates.numpy().T)
    assert last.count(one) == last.count(many) == 3
