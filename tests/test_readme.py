"""What README and docs tell a reader to do works, and what they point at is there."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import pytest

from crystalgraph.models.bundle import load_model
from tools.docs_columns import PAGE, page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md")))
}
MAX_LINES, MAX_WORDS = 120, 900

EXAMPLES = [name for name in PAGES if name not in ("CONTRIBUTING.md", "CHANGELOG.md", "docs/benchmarks.md")]
"""Pages whose blocks are run; the commands of the benchmarks take hours."""

BLOCKS = [
    pytest.param(kind, block, id=f"{name}-{number}")
    for name in EXAMPLES
    for number, (kind, block) in enumerate(re.findall(r"^```(\w*)\n(.*?)^```", PAGES[name], re.DOTALL | re.MULTILINE))
]


def blocks(kind: str, *, without: str = "\0") -> list[object]:
    """Blocks of a kind, and of those the ones that do not begin a line with a text."""
    chosen = (param for param in BLOCKS if param.values[0] == kind)
    texts = ((param.values[1], param.id) for param in chosen)
    return [pytest.param(text, id=name) for text, name in texts if not re.search(f"^{without}", text, re.MULTILINE)]


def commands(block: str) -> list[list[str]]:
    """The package's commands in a block; what a later one needs, an earlier one leaves behind."""
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("cg-")]


TRAINING = [
    command
    for param in BLOCKS
    if param.values[0] == "sh"
    for command in commands(param.values[1])
    if command[0] == "cg-train"
]

JOBS = [line for param in BLOCKS if param.values[0] in ("", "bash") for line in param.values[1].splitlines()]
"""Lines that take too long, a cluster or a network; their options are ones that there are."""

NAMES = sorted(set(re.findall(r"`([a-z_.]+):([\w.]+)`", PAGES["docs/architecture.md"])))


def anchors(text: str) -> set[str]:
    """What links can point at in a page: its headings as GitHub names them, and named anchors."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([\w-]+)">', text))


def test_the_readme_is_read_in_a_minute() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= MAX_LINES
    assert len(readme.split()) <= MAX_WORDS
    first = readme.split("\n\n")[1]
    assert len(re.findall(r"\.(\s|$)", first)) == 1, f"the first paragraph is one sentence, not {first!r}"


def test_the_crystals_learned_from_are_those_of_the_shipped_weights() -> None:
    record = json.loads((ROOT / "crystalgraph" / "weights" / "nbo" / "model.json").read_text())
    for name in ("README.md", "docs/how-it-works.md"):
        assert f"{record['n_training']:,} real crystals" in " ".join(PAGES[name].split())


def test_every_command_is_shown() -> None:
    shown = {command[0] for param in BLOCKS if param.values[0] == "sh" for command in commands(param.values[1])}
    assert shown == {"cg-generate", "cg-evaluate", "cg-train", "cg-data"}


def test_the_readme_names_the_scripts_that_there_are() -> None:
    named = set(re.findall(r"bash (tools/\w+)", " ".join((PAGES["README.md"] + PAGES["CONTRIBUTING.md"]).split())))
    assert named == {f"tools/{name}" for name in ("quickstart", "test", "install", "check")}
    assert "bash tools/test -q" in (ROOT / ".ci" / "run").read_text(), "CI runs the tests as the README says"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws")
@pytest.mark.parametrize("block", [param for param in blocks("sh") if commands(param.values[0])])
def test_commands_run(block: str, cg: Callable[..., tuple[int, str, str]], tmp_path: Path, toy_calculator: str) -> None:
    """What relaxes and names no potential has a pair potential, which costs next to nothing."""
    if "runs/quickstart" in block:  # what tools/quickstart leaves, but for the number
        assert cg("cg-generate", "--num", "4", "--seed", "0", "--out", "runs/quickstart")[0] == 0
    for command in commands(block):
        if command[0] == "cg-train":
            continue
        before = set(tmp_path.glob("runs/*"))
        judged = "--relax" in command and not {"--potential", "--confirm"} & set(command)
        code, _, err = cg(*command, *(["--potential", toy_calculator] if judged else []))
        assert code == 0, err
        added = set(tmp_path.glob("runs/*")) - before
        assert len(added) == (command[0] != "cg-data")
        for folder in added:
            files = "structures/*" if command[0] == "cg-generate" else "metrics.json"
            assert list(folder.glob(files)), f"{command} left nothing in {folder}"


@pytest.mark.parametrize("line", [line for line in JOBS if line.startswith("cg-")])
def test_options_in_job_scripts_exist(line: str, cg: Callable[..., tuple[int, str, str]]) -> None:
    name, *options = shlex.split(line, comments=True)
    words = [name, *(options[:1] if name == "cg-data" else []), "--help"]
    shown = cg(*words)[1]
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
@pytest.mark.parametrize("script", blocks("python"))
def test_python_examples_run(script: str, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_or_links_to_exists(name: str) -> None:
    text, folder = PAGES[name], (ROOT / name).parent
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        if "://" in target:
            continue
        path = folder / target if target else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"
    for path in re.findall(r"`((?:crystalgraph|tools|configs|datasets|tests)/[\w./-]*)", text):
        assert name == "CHANGELOG.md" or (ROOT / path.rstrip(".")).exists(), path


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", PAGES["README.md"]))
    assert {name for name in PAGES if name.startswith("docs/")} <= linked


@pytest.mark.parametrize(("module", "name"), NAMES, ids=map(":".join, NAMES))
def test_the_walk_names_what_there_is(module: str, name: str) -> None:
    assert callable(reduce(getattr, name.split("."), importlib.import_module(f"crystalgraph.{module}")))


def test_the_walk_has_ten_steps_and_every_room_is_described() -> None:
    text = PAGES["docs/architecture.md"]
    assert [int(number) for number in re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE)] == list(range(1, 11))
    described = {
        name for line in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    package = ROOT / "crystalgraph"
    rooms = {path.parent.name for path in package.glob("*/*.py")} | {path.stem for path in package.glob("*.py")}
    assert described == rooms - {"__init__"}


def test_the_page_of_columns_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tools.docs_columns"
