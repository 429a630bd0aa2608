"""What is installed is what the checkout holds: doors lead somewhere, data travel, pins satisfy the requirements."""

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    rooms = {f"crystalgraph.{file.parent.name}" for file in (ROOT / "crystalgraph").glob("*/__init__.py")}
    assert set(lines(setup["options"]["packages"])) == rooms | {"crystalgraph", "crystalgraph.datasets"}


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


@pytest.mark.parametrize("script", ["tools/install", "tools/test", "tools/quickstart", ".ci/run"])
def test_scripts_parse_and_stop_at_the_first_error(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)
    assert "set -euo pipefail" in (ROOT / script).read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy: setuptools leaves build/ behind, and would take stale files from an earlier one.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for name in ("crystalgraph", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source]
    subprocess.run(command, check=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_code_data_and_weights(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "crystalgraph").rglob("*.py")}
    tables = {str(path.relative_to(ROOT)) for path in (ROOT / "crystalgraph" / "symmetry").glob("*.npz")}
    tables |= {str(path.relative_to(ROOT)) for path in (ROOT / "crystalgraph" / "known").glob("*.json")}
    tables |= {
        str(path.relative_to(ROOT))
        for end in ("css", "html", "js")
        for path in (ROOT / "crystalgraph" / "report").glob(f"*.{end}")
    }
    weights = {str(path.relative_to(ROOT)) for path in (ROOT / "crystalgraph" / "weights").glob("*/*")}
    data = {f"crystalgraph/{path.relative_to(ROOT)}" for path in (ROOT / "datasets").glob("*/*")}
    assert inside == code | tables | weights | data | {"crystalgraph/py.typed"}
    assert "crystalgraph/datasets/corpus/crystals.npz" in inside
    assert "crystalgraph/weights/nbo/model.safetensors" in inside
    assert "crystalgraph/known/nbo.json" in inside
    assert "crystalgraph/report/report.js" in inside


def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    program = (
        "import crystalgraph; print(crystalgraph.__file__)\n"
        "from crystalgraph.io.datasets import load_dataset; print(len(load_dataset('nbo').crystals))\n"
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
