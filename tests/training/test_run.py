"""A whole run in small: what it writes, and that a killed run ends as if nothing had happened."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from crystalgraph.errors import InputError
from crystalgraph.models.bundle import load_model
from crystalgraph.training.run import Silent, train

CONFIG = """
name = "small"
threads = 1
checkpoint_every = 10
[data]
system = "Nb-O"
max_atoms = 3
[generator]
form = "FORM"
width = 16
n_stages = 2
[warm_start]
steps = 24
batch_size = 8
n_draws = 2
[adversarial]
steps = 16
batch_size = 6
width = 16
head_start = 4
"""


class Killed(Exception):
    """Stands for a signal that nothing can catch."""


class Killer(Silent):
    """Stops a run after some steps, wherever it is."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, values: dict[str, float]) -> None:  # noqa: ARG002 - the protocol's
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(CONFIG.replace("FORM", "feedback"))
    return path


@pytest.mark.slow
def test_killed_and_resumed_run_ends_the_same(config: Path, tmp_path: Path) -> None:
    whole = load_model(train(config, tmp_path / "whole"))
    for killed_after in (17, 18):  # once in the warm start, once more in the adversarial phase
        with pytest.raises(Killed):
            train(config, tmp_path / "parts", resume=killed_after == 18, watcher=Killer(killed_after))
    parts = load_model(train(config, tmp_path / "parts", resume=True))
    assert parts.checksum == whole.checksum
    assert (tmp_path / "parts" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def test_files_and_record_of_a_run(config: Path, tmp_path: Path) -> None:
    folder = train(config, tmp_path / "run")
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert log["step"].tolist() == [10, 20, 24, 10, 16]
    assert log["validity"].between(0, 1).all()
    assert log["fooled"].notna().sum() == 2
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / "model.json").read_text())
    assert record["left_out"]["in the asked system Nb-O"] > 20
    assert {"command", "config", "dataset", "minutes", "versions"} <= set(record)
    model = load_model(folder)
    asked = torch.isin(model.pool.atomic_numbers, torch.tensor([8, 41]))
    outside = torch.zeros(len(model.pool), dtype=torch.long).index_add(0, model.pool.batch, (~asked).long())
    assert (outside > 0).all()


@pytest.mark.parametrize("form", ["plain", "raw"])
def test_controls_train_too(config: Path, tmp_path: Path, form: str) -> None:
    config.write_text(CONFIG.replace("FORM", form).split("[adversarial]")[0])
    model = load_model(train(config, tmp_path / "run"))
    assert len(model.generator.stages) == 0


def test_bad_requests(config: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="exists already"):
        train(config, tmp_path / "taken")
    with pytest.raises(InputError, match="nothing to resume"):
        train(config, tmp_path / "taken", resume=True)
    (tmp_path / "taken" / "config.toml").write_text("other")
    with pytest.raises(InputError, match="another config"):
        train(config, tmp_path / "taken", resume=True)
    config.write_text(CONFIG.replace("width = 16", "width = -1", 1).replace("FORM", "feedback"))
    with pytest.raises(InputError, match=r"generator\.width"):
        train(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_redecorated_prototypes_are_a_second_stage(config: Path, tmp_path: Path) -> None:
    stage = "[redecorated]\nsteps = 6\nbatch_size = 4\n[adversarial]"
    text = (
        CONFIG.replace("FORM", "feedback")
        .replace("[adversarial]", stage)
        .replace("max_atoms = 3", 'max_atoms = 2\nknown = "nbo"')
    )
    config.write_text(text)
    folder = train(config, tmp_path / "run")
    phases = pd.read_csv(tmp_path / "run" / "log.csv")["phase"].unique().tolist()
    assert phases == ["warm start", "re-decorated", "adversarial"]
    left_out = json.loads((folder / "model.json").read_text())["left_out"]
    assert left_out["re-decorated: equal to a known phase"] >= 1
