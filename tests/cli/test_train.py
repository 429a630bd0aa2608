import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from crystalgraph.training.config import config_text, parse_config


@pytest.fixture
def cg_train(cg):
    """Run the command in an empty folder; gives exit code, stdout and stderr."""
    return partial(cg, "cg-train")


@pytest.fixture
def stand_in(monkeypatch):
    """In place of the training: tells a short story; gives what it was called with."""
    called = []

    def train(config, out, *, resume, device, progress):
        called.append({"config": config, "out": out, "resume": resume, "device": device})
        logging.getLogger("crystalgraph.training").info("%d crystals to learn from [in all]", 3)
        if progress is not None:
            progress("warm start", 1, 3)
            progress("warm start", 2, 3, "loss 1.500")
            progress("warm start", 3, 3, "loss 1.250  strictly valid 0.75")
        return SimpleNamespace(folder=out / "model")

    monkeypatch.setattr("crystalgraph.runs.train.train", train)
    return called


@pytest.fixture
def nbo(tmp_path):
    """A config, by name."""
    (tmp_path / "nbo.toml").write_text("name = 'x'")
    return "nbo.toml"


def test_hands_over_what_was_asked_for(cg_train, stand_in, nbo):
    assert cg_train(nbo)[0] == 0
    assert cg_train(nbo, "--out", "there", "--resume")[0] == 0
    assert cg_train("--system", "OV")[0] == 0
    assert stand_in == [
        {"config": Path("nbo.toml"), "out": Path("runs/train-nbo"), "resume": False, "device": "cpu"},
        {"config": Path("nbo.toml"), "out": Path("there"), "resume": True, "device": "cpu"},
        {"config": "V-O", "out": Path("runs/train-V-O"), "resume": False, "device": "cpu"},
    ]
    assert parse_config(config_text("V-O"), "it").data.system == "V-O"


@pytest.mark.usefixtures("stand_in")
def test_a_log_file_gets_lines_without_control_codes(cg_train, nbo):
    _, out, err = cg_train(nbo, "--out", "there")
    assert out == "there/model\n"
    assert "3 crystals to learn from [in all]\n" in err
    assert "\x1b" not in err


@pytest.mark.usefixtures("stand_in")
def test_quiet_shows_the_model_only(cg_train, nbo):
    assert cg_train(nbo, "--quiet") == (0, "runs/train-nbo/model\n", "")


@pytest.mark.parametrize(
    "kind",
    ["absent", "not TOML", "wrong key", "out exists", "nothing to resume", "both", "no such element", "no such device"],
)
def test_bad_input_is_one_line_and_code_2(cg_train, tmp_path, kind):
    config, arguments = tmp_path / "config.toml", ["--out", "there"]
    good = 'name = "x"\n[data]\nsystem = "Nb-O"\n[warm_start]\nsteps = 1\n'
    if kind != "absent":
        config.write_text({"not TOML": "name =", "wrong key": f"nmae = 1\n{good}"}.get(kind, good))
    if kind == "out exists":
        (tmp_path / "there").mkdir()
    if kind == "nothing to resume":
        arguments.append("--resume")
    if kind == "no such device":
        arguments += ["--device", "cuda:99"]
    if kind == "both":
        arguments += ["--system", "V-O"]
    given = ["--system", "Vo-O"] if kind == "no such element" else [config, *arguments]
    code, out, err = cg_train(*given)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
