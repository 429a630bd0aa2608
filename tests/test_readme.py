"""What the README tells a user to do works."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crystalgraph.models.bundle import load_model

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("cg-")]
    for kind, block in BLOCKS
    if kind == "sh" and "cg-" in block
]
"""A list for each block: what a block's later lines need, its earlier ones leave behind."""

RUNNABLE = [block for block in COMMANDS if any(command[0] != "cg-train" for command in block)]

JOBS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines() if line.startswith("cg-")]
"""Lines of job scripts, too long to run; their options are ones that there are."""

TRAINING = [command for block in COMMANDS for command in block if command[0] == "cg-train"]
SCRIPTS = [block for kind, block in BLOCKS if kind == "python"]


def test_the_readme_shows_every_command() -> None:
    shown = {command[0] for block in COMMANDS for command in block}
    assert shown == {"cg-generate", "cg-evaluate", "cg-train", "cg-data"}
    assert len(SCRIPTS) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws")
@pytest.mark.parametrize("block", range(len(RUNNABLE)))
def test_commands_run(block: int, cg: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for command in RUNNABLE[block]:
        if command[0] == "cg-train":
            continue
        before = set(tmp_path.glob("runs/*"))
        code, _, err = cg(*command)
        assert code == 0, err
        new = set(tmp_path.glob("runs/*")) - before
        assert len(new) == (command[0] != "cg-data")
        for folder in new:
            files = "structures/*" if command[0] == "cg-generate" else "metrics.json"
            assert list(folder.glob(files)), f"{command} left nothing in {folder}"


@pytest.mark.parametrize("line", JOBS)
def test_options_in_job_scripts_exist(line: str, cg: Callable[..., tuple[int, str, str]]) -> None:
    name, *options = shlex.split(line)
    shown = cg(name, "--help")[1]
    for option in (word for word in options if re.match("--?[a-z]", word)):
        assert f" {option} " in shown


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("command", TRAINING, ids=" ".join)
def test_training_commands_run(command: list[str], cg: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = cg(*command)
    assert code == 0, err
    folder = tmp_path / command[command.index("--out") + 1]
    assert load_model(folder / "model").record["config"]["data"]["max_atoms"] == 3
    assert "model" in out


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_python_examples_run(script: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_tool_and_script_named_exists() -> None:
    for path in re.findall(r"(?:tools|configs|datasets)/[\w./-]+", README):
        assert (ROOT / path.rstrip(".")).exists(), path
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / image).is_file(), image
