"""What all commands share: the shell completes their options, and their help's examples are ones that run."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.cli import evaluate, generate, train

OPTIONS = {"generate": "--space-group", "evaluate": "--reference", "train": "--system", "data": "import"}


@pytest.mark.parametrize("module", OPTIONS)
def test_the_shell_completes_options(module):
    command = str(Path(sys.executable).parent / f"cg-{module}")
    wanted = OPTIONS[module]
    asked = {
        f"_CG_{module.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": f"cg-{module} {wanted[:4]}",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([command], env=os.environ | asked, capture_output=True, text=True, check=True)
    assert wanted in done.stdout.split()


@pytest.mark.parametrize("module", [evaluate, generate, train], ids=["evaluate", "generate", "train"])
def test_help_shows_the_examples_and_every_option_in_them_exists(module, cg, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = cg(f"cg-{module.__name__.rpartition('.')[2]}", "--help")
    for example in module.EXAMPLES:
        assert example in shown
        for word in example.split():
            assert not word.startswith("--") or shown.count(word) > 1, word


def test_every_command_is_looked_at():
    rooms = Path(importlib.import_module("crystalgraph.cli").__file__).parent
    commands = {path.stem for path in rooms.glob("*.py") if "typer.Typer(" in path.read_text()}
    assert commands == set(OPTIONS)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws")
def test_examples_of_generation_and_evaluation_run(cg, tmp_path, toy_calculator):
    """One after another in one folder, numbers a hundredth of those shown, with a pair potential as the judge."""

    def call(line):
        words = shlex.split(line)
        code, _, err = cg(*words, *(["--potential", toy_calculator] if {"--relax", "--minutes"} & set(words) else []))
        assert code == 0, f"{line}: {err}"

    call("cg-data export nbo --ids mp-2311,mp-1470 --format cif --out known")
    call("cg-data export nbo --ids mp-2311,mp-1470 --format extxyz --out generated.extxyz")
    (tmp_path / "cifs").mkdir()
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
    rutile.to(str(tmp_path / "cifs" / "rutile.cif"))
    for line in (*generate.EXAMPLES, *evaluate.EXAMPLES):
        call(re.sub(r"(?<=--minutes )\d+", "0.02", re.sub(r"00\b", "", line)))
    assert len(list((tmp_path / "runs" / "Nb2O5-sg15" / "structures").glob("*.cif"))) == 20
    assert (tmp_path / "judged" / "metrics.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
def test_examples_of_training_run(cg, tmp_path):
    for line in train.EXAMPLES:
        words = shlex.split(line)
        if "--resume" in words:
            (tmp_path / "runs" / "train-nbo").rename(tmp_path / words[words.index("--out") + 1])
        code, _, err = cg(*words)
        assert code == 0, f"{line}: {err}"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"nbo", "V-O"}
    assert len(list(tmp_path.glob("runs/*/model/model.safetensors"))) == 2
