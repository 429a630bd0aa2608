"""A whole run in small: what it writes, and that a killed run ends as if nothing had happened."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from crystalgraph.errors import InputError
from crystalgraph.io.claim import claimed
from crystalgraph.models.bundle import load_model
from crystalgraph.progress import Progress
from crystalgraph.runs.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prepared_once")]

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
n_passes = 2
[prior]
steps = 12
batch_size = 8
width = 16
[warm_start]
steps = 24
batch_size = 8
n_draws = 2
[adversarial]
steps = 16
batch_size = 6
width = 16
head_start = 4
[energies]
systems = 8
rounds = 2
samples = 4
calculator = "toy_potential:make"
steps = 8
batch_size = 4
width = 16
"""


class Killed(Exception):
    """Stands for a signal that nothing can catch."""


def killer(steps: int) -> Progress:
    """Stops a run after some steps, wherever it is."""
    left = steps

    def count(_stage: str, done: int, _total: int, state: str = "") -> None:
        nonlocal left
        left -= bool(state) and done > 0
        if left == 0:
            raise Killed

    return count


FEEDBACK = CONFIG.replace("FORM", "feedback")


def test_killed_and_resumed_run_ends_the_same(tmp_path: Path, toy_calculator: str) -> None:
    assert toy_calculator in FEEDBACK
    whole = train(FEEDBACK, tmp_path / "whole").model
    for part, steps in enumerate((11, 17, 18, 15, 13, 13, 11)):  # killed in each phase once
        with pytest.raises(Killed):
            train(FEEDBACK, tmp_path / "parts", resume=part > 0, progress=killer(steps))
    parts = train(FEEDBACK, tmp_path / "parts", resume=True).model
    assert parts.checksum == whole.checksum
    assert (tmp_path / "parts" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


SHORT = "\n".join(
    [
        FEEDBACK.split("[adversarial]")[0].replace("steps = 24", "steps = 20"),
        "[adversarial]\nsteps = 0\n[energies]\nsystems = 0\n",
    ]
)


def test_a_run_goes_on_from_between_any_two_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed behind, and before, every file that it writes, in turn."""
    whole = train(SHORT, tmp_path / "whole").model
    real, written = Path.replace, 0
    left: int | None = None

    def replace(self: Path, target: Path) -> Path:
        nonlocal written, left
        if left == 0:
            raise Killed
        moved = real(self, target)
        written += 1
        left = None if left is None else left - 1
        return moved

    monkeypatch.setattr(Path, "replace", replace)
    train(SHORT, tmp_path / "counted")
    assert written > 10
    for left in range(1, written, 4):  # a quarter of them, for each takes seconds
        folder = tmp_path / f"after {left}"
        with pytest.raises(Killed):
            train(SHORT, folder)
        left = None
        again = train(SHORT, folder, resume=folder.exists())
        assert again.model.checksum == whole.checksum
        assert (folder / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def test_a_finished_model_learns_its_energies_anew(tmp_path: Path, toy_calculator: str) -> None:
    assert toy_calculator in FEEDBACK
    first = train(SHORT, tmp_path / "first").model
    anew = f"start = {str(tmp_path / 'first' / 'model')!r}\n{FEEDBACK}"
    second = train(anew, tmp_path / "second").model
    for kept in ("generator", "prior"):
        earlier, later = getattr(first, kept).state_dict(), getattr(second, kept).state_dict()
        assert all(torch.equal(earlier[name], later[name]) for name in earlier), kept
    assert second.knows_energies > first.knows_energies
    assert second.record["start"]["sha256"] == first.checksum != second.checksum
    for wrong, reason in {
        "systems = 8": "set energies.systems above 0",
        "max_atoms = 3": "learned from other crystals; give its",
    }.items():
        assert wrong in anew
        with pytest.raises(InputError, match=reason):
            train(anew.replace(wrong, wrong[:-1] + ("0" if "systems" in wrong else "4")), tmp_path / "third")


def test_a_training_without_crystals_is_refused(tmp_path: Path) -> None:
    nothing = SHORT.replace('system = "Nb-O"', 'system = "Nb-O"\ndataset = "nbo"')
    with pytest.raises(InputError, match="no crystal of 'nbo' is left to learn from; left out: 64 in the asked system"):
        train(nothing, tmp_path / "run")


def test_a_damaged_checkpoint_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(SHORT)
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"checkpoint.safetensors is damaged \(.*\); .* remove it to begin"):
        train(SHORT, tmp_path / "run", resume=True)


def test_a_second_training_on_the_folder_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"), pytest.raises(InputError, match="another run is writing to"):
        train(SHORT, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("toy_calculator")
def test_files_and_record_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/cg-train", "a b.toml", "--resume", "--out", "run"])
    run = train(FEEDBACK, tmp_path / "run")
    folder = tmp_path / "run" / "model"
    assert run.folder == folder
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert log["step"].tolist() == [10, 12, 10, 20, 24, 10, 16, 8, 8, 8, 8]
    assert log["phase"].tolist()[7:] == ["labels", "energies"] * 2
    assert log["prior"].notna().tolist() == [True, True, *[False] * 9]
    assert log["validity"][2:7].between(0, 1).all()
    assert log["fooled"].notna().sum() == 2
    assert log["labelled"][[7, 9]].gt(1).all()
    assert log[["energy", "force", "strain"]].notna().sum().tolist() == [2, 2, 2]
    models = {name: load_model(tmp_path / "run" / name) for name in ("adversarial", "model")}
    assert [model.knows_energies for model in models.values()] == [False, True]
    for part in ("generator", "prior"):
        before, after = (getattr(model, part) for model in models.values())
        for one, other in zip(before.parameters(), after.parameters(), strict=True):
            assert torch.equal(one, other)
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "run" / "heldout.json").read_text())
    assert json.loads(json.dumps(run.heldout)) == figures
    assert run.to_dataframe()["phase"].tolist() == log["phase"].tolist()
    assert figures["templates"] > 3
    assert 0 <= figures["match_1"]["value"] <= figures["match_20"]["value"] <= 1
    record = json.loads((folder / "model.json").read_text())
    assert record["left_out"]["in the asked system Nb-O"] > 20
    assert {"config", "dataset", "minutes", "versions"} <= set(record)
    assert record["command"] == "cg-train 'a b.toml' --out run"  # which makes the model from the beginning
    model = load_model(folder)
    assert len(set(model.pool.names())) == len(model.pool) > 100


@pytest.mark.parametrize("form", ["plain", "raw"])
def test_controls_train_too(tmp_path: Path, form: str) -> None:
    alone = CONFIG.replace("FORM", form).split("[adversarial]")[0]
    alone += "[adversarial]\nsteps = 0\n[energies]\nsystems = 0\n"
    alone = alone.replace("steps = 12", "steps = 0", 1)
    run = train(alone)
    model = run.model
    assert run.folder is None
    assert not list(tmp_path.iterdir())
    assert len(model.generator.stages) == 0
    assert model.prior.log_weights(model.pool).std() < 0.2  # untrained: all nearly as likely


def test_bad_requests(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="exists already"):
        train(FEEDBACK, tmp_path / "taken")
    with pytest.raises(InputError, match="nothing to resume"):
        train(FEEDBACK, tmp_path / "taken", resume=True)
    (tmp_path / "taken" / "config.toml").write_text("other")
    with pytest.raises(InputError, match="another config"):
        train(FEEDBACK, tmp_path / "taken", resume=True)
    with pytest.raises(InputError, match="no_such_module"):
        train(FEEDBACK.replace("toy_potential:make", "no_such_module:make"), tmp_path / "new")
    with pytest.raises(InputError, match=r"generator\.width"):
        train(FEEDBACK.replace("width = 16", "width = -1", 1), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("toy_calculator")
def test_redecorated_prototypes_are_a_second_stage(tmp_path: Path) -> None:
    stage = "[redecorated]\nsteps = 6\nbatch_size = 4\n[adversarial]"
    text = FEEDBACK.replace("[adversarial]", stage).replace("max_atoms = 3", 'max_atoms = 2\nknown = "nbo"')
    folder = train(text, tmp_path / "run").folder
    phases = pd.read_csv(tmp_path / "run" / "log.csv")["phase"].unique().tolist()
    assert phases == ["prior", "warm start", "re-decorated", "adversarial", "labels", "energies"]
    left_out = json.loads((folder / "model.json").read_text())["left_out"]
    assert left_out["re-decorated: equal to a known phase"] >= 1
