"""What all commands share: the shell completes their options, and their help's examples are ones that run."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
def test_help_shows_the_examples_and_every_option_in_them_exists(module, monkeypatch, capsys):
    from crystalgraph.cli.errors import run

    monkeypatch.setattr("sys.argv", ["cg", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run(module.app)
    shown = capsys.readouterr().out
    for example in module.EXAMPLES:
        assert example in shown
        for word in example.split():
            assert not word.startswith("--") or shown.count(word) > 1, word


def test_every_command_is_looked_at():
    rooms = Path(importlib.import_module("crystalgraph.cli").__file__).parent
    commands = {path.stem for path in rooms.glob("*.py") if "typer.Typer(" in path.read_text()}
    assert commands == set(OPTIONS)
