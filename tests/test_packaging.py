"""What is installed is what the checkout holds: doors lead somewhere, data travel, pins satisfy the requirements."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import rattler_build
import yaml
from packaging.requirements import Requirement

import crystalgraph

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_every_door_leads_somewhere(setup):
    doors = dict(line.split(" = ") for line in lines(setup["options.entry_points"]["console_scripts"]))
    assert set(doors) == {"cg-generate", "cg-evaluate", "cg-train", "cg-data"}
    for target in doors.values():
        module, name = target.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_every_room_is_listed(setup):
    rooms = {file.parent for file in (ROOT / "crystalgraph").glob("*/*.py")}
    assert [room.name for room in rooms if not (room / "__init__.py").is_file()] == []
    listed = lines(setup["options"]["packages"])
    assert set(listed) == {f"crystalgraph.{room.name}" for room in rooms} | {"crystalgraph", "crystalgraph.datasets"}
    assert listed == sorted(listed)


def test_every_file_of_the_package_is_under_version_control():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "-C", ROOT, "ls-files", "--others", "--ignored", "--exclude-standard", "crystalgraph", "tests"]
    ignored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [path for path in ignored if path.endswith(".py")] == []


def test_the_version_is_the_same_everywhere(setup):
    version = crystalgraph.__version__
    assert setup["metadata"]["version"] == "attr: crystalgraph.__version__"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest, date = re.findall(r"^## (\S+) - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert (version, version) == (citation["version"], newest)
    assert str(citation["date-released"]) == date


def test_pins_satisfy_the_requirements(setup):
    pins = dict(line.split("==") for line in lines((ROOT / "constraints.txt").read_text()))
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    extras = setup["options.extras_require"]
    wanted = [
        Requirement(line) for text in (setup["options"]["install_requires"], *extras.values()) for line in lines(text)
    ]
    for requirement in wanted:
        if requirement.name == "crystalgraph":
            assert requirement.extras <= set(extras)
        else:
            assert requirement.specifier.contains(pins[requirement.name]), requirement


CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch", "torch-geometric": "pytorch_geometric"}


def test_the_conda_recipe_says_what_setup_cfg_says(setup):
    path = ROOT / "packaging" / "recipe.yaml"
    assert type(rattler_build.Stage0Recipe.from_file(path)).__name__ == "SingleOutputRecipe"
    recipe = yaml.safe_load(path.read_text())
    assert recipe["context"]["version"] == crystalgraph.__version__
    assert setup["options"]["python_requires"] == f">={recipe['context']['python_min']}"
    wanted = [Requirement(line) for line in lines(setup["options"]["install_requires"])]
    names = {f"{CONDA_NAMES.get(requirement.name, requirement.name)} {requirement.specifier}" for requirement in wanted}
    assert set(recipe["requirements"]["run"][1:]) == names
    doors = lines(setup["options.entry_points"]["console_scripts"])
    assert recipe["build"]["python"]["entry_points"] == doors


def test_a_broken_recipe_would_be_noticed():
    with pytest.raises(rattler_build.RattlerBuildError):
        rattler_build.Stage0Recipe.from_yaml("schema_version: 1\npackage:\n  title: x\n")


def test_the_image_copies_what_there_is():
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()


@pytest.mark.parametrize("script", ["tools/install", "tools/check", "tools/test", "tools/quickstart", ".ci/run"])
def test_scripts_parse_and_stop_at_the_first_error(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)
    assert "set -euo pipefail" in (ROOT / script).read_text()


def test_a_commit_fetches_nothing():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["language"] for hook in repository["hooks"]] == ["system"]
    assert [hook["entry"] for hook in repository["hooks"]] == ["bash tools/check"]
    assert "bash tools/check" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory):
    # A copy: setuptools leaves build/ behind, and would take stale files from an earlier one.
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for name in ("crystalgraph", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.fixture(scope="module")
def wheel(source_tree, tmp_path_factory):
    source, out = source_tree, tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source]
    subprocess.run(command, check=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_code_data_and_weights(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {
        path for path in (ROOT / "crystalgraph").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    datasets = (ROOT / "datasets").glob("*/*")
    expected = {path.relative_to(ROOT).as_posix() for path in package}
    assert inside == expected | {f"crystalgraph/{path.relative_to(ROOT).as_posix()}" for path in datasets}
    assert inside >= {
        "crystalgraph/datasets/corpus/crystals.npz",
        "crystalgraph/crystals/prototypes.json",
        "crystalgraph/known/energies/sevennet-0.json",
        "crystalgraph/py.typed",
        "crystalgraph/report/report.js",
        "crystalgraph/symmetry/wyckoff.npz",
        "crystalgraph/weights/nbo/model.safetensors",
    }


@pytest.mark.slow
def test_an_index_would_take_wheel_and_sdist(wheel, source_tree):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", source_tree]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,) = (source_tree / "dist").glob("*.tar.gz")
    command = [sys.executable, "-m", "twine", "check", "--strict", wheel, sdist]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"crystalgraph/weights/nbo/model.safetensors", "datasets/corpus/crystals.npz", "LICENSE"} <= names


@pytest.mark.slow
def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    program = (
        "import crystalgraph; print(crystalgraph.__file__)\n"
        "print(len(crystalgraph.load('nbo')))\n"
        "from crystalgraph.symmetry.wyckoff import wyckoff_table; print(len(wyckoff_table().letter))\n"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    where, n_known, n_positions = ran.stdout.splitlines()
    assert Path(where).is_relative_to(target)
    assert (int(n_known), int(n_positions)) == (64, 1731)
    helped = subprocess.run(
        [target / "bin" / "cg-generate", "--help"], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert helped.returncode == 0, helped.stderr
    assert "--space-group" in helped.stdout
