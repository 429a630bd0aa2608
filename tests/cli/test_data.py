import csv
import json
import shlex
import shutil
import subprocess
import sys
from functools import partial

import pytest
import typer
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystalgraph.cli import data
from crystalgraph.cli.errors import run
from crystalgraph.errors import InputError, RunError
from crystalgraph.io.datasets import dataset_folder, load_dataset
from crystalgraph.io.reading import read_structures
from crystalgraph.io.writing import write_structures
from crystalgraph.runs.folder import write_run


def test_help_imports_nothing_heavy_and_shows_examples():
    code = (
        "import sys; from crystalgraph.cli import data; sys.argv = ['cg-data', '--help']\n"
        "try: data.main()\n"
        "finally: print([m for m in ('torch', 'chgnet', 'matminer', 'pymatgen', 'numpy', 'ase', 'requests')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("[]")
    assert "cg-data info corpus" in done.stdout


def test_without_a_command_it_explains_itself(cg):
    code, out, _ = cg("cg-data")
    assert code == 0
    assert "list" in out
    assert "info" in out


def test_list(cg):
    code, out, _ = cg("cg-data", "list")
    assert code == 0
    assert "37,855" in out
    assert "\x1b" not in out
    assert json.loads(cg("cg-data", "list", "--json")[1])["nbo"]["crystals"] == 64


def test_info_agrees_with_the_card_and_fits_a_pipe(cg):
    code, out, err = cg("cg-data", "info", "corpus")
    assert code == 0
    assert not err
    assert "\x1b" not in out
    for figure in ("37,855", "29,215", "8,350", "20,472", "8,774", "1,049", "30,366"):
        assert figure in out
    assert "The card agrees with the data" in out


def test_info_as_json(cg):
    report = json.loads(cg("cg-data", "info", "nbo", "--json")[1])
    assert report["agrees_with_card"] is True
    assert report["counts"]["experimentally known"]["oxide"] == 12
    assert set(report["sha256"]) == {"crystals.npz", "dft_hull.json"}


def test_info_notices_a_card_that_says_something_else(cg, tmp_path):
    folder = shutil.copytree(dataset_folder("nbo"), tmp_path / "copy")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["counts"]["size"]["all"] = 65
    (folder / "card.json").write_text(json.dumps(card))
    code, out, _ = cg("cg-data", "info", folder)
    assert code == 1
    assert "size, all: data 64, card 65" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nothing"], "shipped are corpus, nbo"),
        (["info"], "Missing argument"),
        (["infos", "nbo"], "No such command"),
        (["info", "nbo", "--xml"], "--xml"),
    ],
)
def test_mistakes_end_in_one_line(cg, arguments, message):
    code, out, err = cg("cg-data", *arguments)
    assert code == 2
    assert not out
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f"'{sys.executable}' -m crystalgraph.cli.data info nbo --json | head -n 1",
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
        (KeyboardInterrupt(), 130, "interrupted; repeat it\n"),
        (RunError("a worker failed: why"), 1, "error: a worker failed: why; repeat it\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "error: No space left on device: a/b; repeat it\n"),
        (MemoryError(), 1, "error: there is not enough memory; repeat it\n"),
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
        run(app, go_on="repeat it")
    assert end.value.code == code
    assert capsys.readouterr().err == message


def test_a_bug_stays_a_traceback(monkeypatch):
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["cg-test"])
    with pytest.raises(ZeroDivisionError):
        run(app, go_on="repeat it")


ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure.from_spacegroup(221, Lattice.cubic(2.8), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
REO3 = Structure.from_spacegroup(221, Lattice.cubic(3.9), ["Nb", "O"], [[0, 0, 0], [0.5, 0, 0]])


@pytest.fixture
def cg_data(cg, tmp_path):
    """Run the command in a folder with CIFs, a CSV and a run; gives exit code, stdout and stderr."""
    structures, names = [ROCK_SALT, ROCK_SALT * (2, 1, 1), CSCL, REO3], ["0001_a", "0002_b", "0003_c", "0004_d"]
    write_structures(structures, names, tmp_path / "cifs", "cif")
    (tmp_path / "cifs" / "broken.cif").write_text("not a CIF")
    rows = [{"rank": k + 1, "file": name, "score": 1 - k / 8} for k, name in enumerate(names)]
    write_run(
        tmp_path / "runs" / "Nb-O-n100-seed0",
        structures=structures,
        names=names,
        rows=rows,
        columns=("rank", "file", "score"),
        record={},
        formats=("cif", "extxyz"),
    )
    with (tmp_path / "mp20.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "formation_energy_per_atom", "cif"])
        writer.writerows([f"mp-{k}", -k, str(CifWriter(structure))] for k, structure in enumerate(structures))
    return partial(cg, "cg-data")


def examples(*commands):
    """The examples of the help, without those that need a server; tests/cli/test_data_server.py runs these."""
    return [line for command in commands for line in data.EXAMPLES[command] if "--optimade" not in line]


@pytest.mark.slow
def test_every_example_of_the_help_runs(cg_data, tmp_path):
    for line in examples("import", "info", "list", "export"):
        words = shlex.split(line)
        assert words[0] == "cg-data"
        code, out, err = cg_data(*words[1:])
        assert code == 0, f"{line}: {err}"
        assert out, line
    assert load_dataset(tmp_path / "mine").ids == ["0001_a", "0003_c", "0004_d"]
    assert load_dataset(tmp_path / "mp20").columns["formation_energy_per_atom"].tolist() == [0, -1, -2, -3]
    assert len(list((tmp_path / "poscars").glob("*.vasp"))) == 4
    assert read_structures(tmp_path / "nbo.db").ids == ["nbo#mp-2311", "nbo#mp-1470"]
    assert len(list((tmp_path / "vasp").glob("*/POTCAR.spec"))) == 4


@pytest.mark.parametrize("command", ["import", "export", "info", "list"])
def test_help_shows_the_examples(cg, command):
    shown = " ".join(cg("cg-data", command, "--help")[1].split())
    for line in data.EXAMPLES[command]:
        assert line in shown


def test_an_import_tells_what_was_lost(cg_data, tmp_path):
    code, out, _ = cg_data("import", "cifs", "--out", "mine", "--name", "Mine", "--licence", "CC0")
    assert code == 0
    words = " ".join(out.split())
    for part in (
        "entries 5",
        "lost: it holds no crystal 1",
        "lost: copy of one kept 1",
        "crystals 3",
        "written to mine",
    ):
        assert part in words
    assert "\x1b" not in out
    assert (tmp_path / "mine" / "rejected.csv").read_text() == "id,reason\nbroken,it holds no crystal\n"
    code, out, _ = cg_data("info", "mine")
    assert code == 0
    assert "mine: Mine" in out
    assert "The card agrees with the data" in out


def test_an_import_as_json_and_quiet(cg_data):
    code, out, err = cg_data("import", "cifs", "--out", "mine", "--json")
    assert code == 0
    assert json.loads(out) == {
        "out": "mine",
        "n_entries": 5,
        "n_crystals": 3,
        "n_copies": 1,
        "rejected": {"broken": "it holds no crystal"},
    }
    assert not err
    assert cg_data("import", "cifs", "--out", "quiet", "--quiet") == (0, "", "")


def test_what_is_done_at_once_shows_no_progress_in_a_pipe(cg_data):
    assert not cg_data("import", "cifs", "--out", "piped")[2]


def test_an_export_as_json(cg_data):
    (run_folder,) = shlex.split("runs/Nb-O-n100-seed0")
    code, out, _ = cg_data("export", run_folder, "--ids", "0003_c", "--format", "extxyz", "--out", "c.extxyz", "--json")
    assert code == 0
    assert json.loads(out) == {
        "out": "c.extxyz",
        "what": "1 crystal in its own cell",
        "written": 1,
        "left_out": {},
        "remarks": {},
    }
    found = read_structures("c.extxyz")
    assert found.columns["rank"].tolist() == [3]
    assert found.columns["score"].tolist() == [0.75]


def test_any_structures_can_be_converted(cg_data):
    code, out, _ = cg_data("export", "cifs", "--format", "json", "--out", "all.json")
    assert code == 0
    assert "left out: broken: it holds no crystal" in out
    assert "4 crystals in their own cells, written to all.json" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import"], "name one source"),
        (["import", "cifs", "--optimade", "http://x.org", "--out", "a"], "name one source"),
        (["import", "cifs"], "Name a new folder with --out"),
        (["import", "cifs", "--out", "a", "--resume"], "are for a server"),
        (["import", "cifs", "--out", "a", "--filter", "nelements=2"], "are for a server"),
        (["import", "cifs", "--out", "cifs"], "already exists"),
        (["import", "cifs", "--out", "nbo"], "name of a shipped dataset"),
        (["import", "nowhere", "--out", "a"], "does not exist"),
        (["import", "empty", "--out", "a"], "holds no structure file"),
        (["import", "cifs/broken.cif", "--out", "a"], "none of 1 entries of 'broken' can be used"),
        (["import", "--optimade", "x.org", "--out", "a"], "is no address"),
        (["import", "--optimade", "http://127.0.0.1:9", "--out", "a", "--resume"], "nothing to resume"),
        (["export", "nbo", "--out", "a"], "either --format or --vasp"),
        (["export", "nbo", "--out", "a", "--vasp", "--format", "cif"], "either --format or --vasp"),
        (["export", "nbo", "--format", "cif"], "Name a new file or folder with --out"),
        (["export", "nbo", "--format", "xyz", "--out", "a"], "--format 'xyz' is not known"),
        (["export", "nbo", "--format", "cif", "--out", "cifs"], "already exists"),
        (["export", "nbo", "--ids", "mp-0", "--format", "cif", "--out", "a"], "no crystal 'mp-0'"),
        (["export", "nbo", "--vasp", "--set", "My", "--out", "a", "--top", "1"], "--set 'My' is not known"),
        (["export", "cifs", "--as-drawn", "--format", "cif", "--out", "a"], "run folders with relaxed crystals"),
        (["export", "nbo", "--top", "0", "--format", "cif", "--out", "a"], "1 or more"),
    ],
)
def test_wrong_imports_and_exports_end_in_one_line(cg_data, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    code, out, err = cg_data(*arguments)
    assert code == 2
    assert not out
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "a.partial").exists()
