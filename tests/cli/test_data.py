import json
import shutil
import subprocess
import sys

import pytest
import typer

from crystalgraph.cli.errors import run
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import dataset_folder

COMMAND = [sys.executable, "-m", "crystalgraph.cli.data"]


def call(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy_and_shows_examples():
    code = (
        "import sys; from crystalgraph.cli import data; sys.argv = ['cg-data', '--help']\n"
        "try: data.main()\n"
        "finally: print([m for m in ('torch', 'torch_geometric', 'chgnet', 'matminer', 'pymatgen', 'numpy')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("[]")
    assert "cg-data info corpus" in done.stdout


def test_without_a_command_it_explains_itself():
    done = call()
    assert done.returncode == 0
    assert "list" in done.stdout
    assert "info" in done.stdout


def test_list():
    done = call("list")
    assert done.returncode == 0
    assert "37,855" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(call("list", "--json").stdout)["nbo"]["crystals"] == 64


def test_info_agrees_with_the_card_and_fits_a_pipe():
    done = call("info", "corpus")
    assert done.returncode == 0
    assert not done.stderr
    assert "\x1b" not in done.stdout
    for figure in ("37,855", "29,215", "8,350", "20,472", "8,774", "1,049", "30,366"):
        assert figure in done.stdout
    assert "The card agrees with the data" in done.stdout


def test_info_as_json():
    report = json.loads(call("info", "nbo", "--json").stdout)
    assert report["agrees_with_card"] is True
    assert report["counts"]["experimentally known"]["oxide"] == 12
    assert set(report["sha256"]) == {"crystals.npz", "dft_hull.json"}


def test_info_notices_a_card_that_says_something_else(tmp_path):
    folder = shutil.copytree(dataset_folder("nbo"), tmp_path / "copy")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["counts"]["size"]["all"] = 65
    (folder / "card.json").write_text(json.dumps(card))
    done = call("info", str(folder))
    assert done.returncode == 1
    assert "size, all: data 64, card 65" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nothing"], "shipped are corpus, nbo"),
        (["info"], "Missing argument"),
        (["infos", "nbo"], "No such command"),
        (["info", "nbo", "--xml"], "--xml"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message):
    done = call(*arguments)
    assert done.returncode == 2
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f"'{COMMAND[0]}' -m crystalgraph.cli.data info nbo --json | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{\n"
    assert not done.stderr


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (None, 0, ""),
        (InputError("two\nlines"), 2, "error: two lines\n"),
        (typer.Exit(3), 3, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_command_ends(failure, code, message, monkeypatch, capsys):
    app = typer.Typer()

    @app.command()
    def command() -> None:
        if failure is not None:
            raise failure

    monkeypatch.setattr(sys, "argv", ["cg-test"])
    with pytest.raises(SystemExit) as end:
        run(app)
    assert end.value.code == code
    assert capsys.readouterr().err == message


def test_a_bug_stays_a_traceback(monkeypatch):
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["cg-test"])
    with pytest.raises(ZeroDivisionError):
        run(app)
