import csv
import json
import subprocess
import sys
from functools import partial

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.io.writing import write_structures

HEAVY = ("torch", "torch_geometric", "chgnet", "matminer", "pymatgen", "sklearn", "pandas", "scipy", "ase")
ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure.from_spacegroup(221, Lattice.cubic(2.8), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
COPPER = Structure.from_spacegroup(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])


@pytest.fixture
def cg_evaluate(cg, monkeypatch, tmp_path):
    """Run the command in a folder with a few CIFs; gives exit code, stdout and stderr."""
    write_structures([ROCK_SALT, ROCK_SALT * (2, 1, 1), CSCL], ["a", "b", "c"], tmp_path / "cifs", "cif")
    (tmp_path / "cifs" / "d.cif").write_text("not a CIF")
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path / "cache"))
    return partial(cg, "cg-evaluate")


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_a_folder_is_judged_with_a_table_and_files(cg_evaluate, tmp_path):
    code, out, err = cg_evaluate("cifs", "--out", "judged")
    assert code == 0
    assert {p.name for p in (tmp_path / "judged").iterdir()} == {
        "metrics.json",
        "plots",
        "report.html",
        "request.json",
        "structures.csv",
        "timings.json",
    }
    with (tmp_path / "judged" / "structures.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a", "b", "c", "d"]
    assert rows["b"]["copy_of"] == "a"
    assert rows["d"]["reason"] == "it holds no crystal"
    record = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert record["metrics"]["as given"]["unique"]["numerator"] == 2
    assert "system Nb-O; known phases from nbo (64 crystals)" in out
    assert "3/4" in out
    assert "what the generator learned from is not known; name it with --training" in out
    assert "1 × it holds no crystal" in out
    assert "written to judged" in out
    assert "\x1b" not in out + err


@pytest.mark.slow
def test_one_file_of_any_kind(cg_evaluate, tmp_path):
    write_structures([ROCK_SALT, CSCL], ["a", "b"], tmp_path / "frames", "extxyz")
    (tmp_path / "list.json").write_text(json.dumps([ROCK_SALT.as_dict(), CSCL.as_dict()]))
    (tmp_path / "many.cif").write_text("".join((tmp_path / "cifs" / f"{name}.cif").read_text() for name in "abc"))
    for path, n in {"frames/candidates.extxyz": 2, "list.json": 2, "many.cif": 3, "cifs/a.cif": 1}.items():
        code, out, _ = cg_evaluate(path, "--json", "--out", f"out-{n}-{path.partition('.')[2]}")
        assert code == 0
        assert json.loads(out)["counts"]["read"] == n


@pytest.mark.slow
def test_relaxes_and_says_what_it_cost(cg_evaluate, tmp_path):
    write_structures([COPPER], ["cu"], tmp_path / "copper", "cif")
    code, out, _ = cg_evaluate(
        "copper", "--reference", "copper", "--relax", 1, "--potential", "ase.calculators.emt:EMT", "--out", "out"
    )
    assert code == 0
    assert "msun_per_cpu_hour" in out
    assert [p.name for p in (tmp_path / "out" / "relaxed").iterdir()] == ["1_cu.cif"]


@pytest.mark.slow
def test_json_is_all_there_is_on_stdout(cg_evaluate, tmp_path):
    code, out, err = cg_evaluate("cifs", "--json", "--out", "judged")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "judged" / "metrics.json").read_text())


@pytest.mark.slow
def test_quiet_is_quiet_and_the_default_folder_is_never_in_the_way(cg_evaluate, tmp_path):
    for _ in range(2):
        assert cg_evaluate("cifs", "--quiet") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["evaluate-cifs", "evaluate-cifs-2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        (["empty"], "holds no structure file"),
        (["taken/mine.txt"], "not a known kind"),
        (["cifs/d.cif"], "it holds no crystal"),
        (["cifs", "--system", "Nb-Qq"], "Qq"),
        (["cifs", "--reference", "mp-2025"], "mp-2025"),
        (["cifs", "--training", "nowhere"], "nowhere"),
        (["cifs", "--relax", "-1"], "-1"),
        (["cifs", "--relax", "few"], "--relax"),
        (["cifs", "--relax", "1", "--potential", "abacus"], "abacus"),
        (["cifs", "--relax", "1", "--device", "cuda:99"], "device 'cuda:99' is not usable here"),
        (["cifs", "--pick", "best"], "best"),
        (["cifs", "--seed", "-1"], "-1"),
        (["cifs", "--workers", "0"], "workers 0"),
        (["cifs", "--out", "taken"], "taken"),
        (["cifs", "--resume"], "--out"),
        (["cifs", "--resume", "--out", "taken"], "nothing to resume"),
        (["--nonsense"], "--nonsense"),
        ([], "path"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_code_2(cg_evaluate, tmp_path, arguments, says):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = content(tmp_path)
    code, out, err = cg_evaluate(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
    assert content(tmp_path) == before


def test_help_shows_every_option(cg_evaluate):
    code, out, _ = cg_evaluate("--help")
    assert code == 0
    for option in ("--system", "--reference", "--training", "--relax", "--pick", "--seed", "--workers", "--out"):
        assert option in out
    for option in ("--resume", "--coverage", "--potential", "--quiet", "--json"):
        assert option in out


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from crystalgraph.cli.evaluate import main\n"
        "sys.argv = ['cg', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('loaded', sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in ran.stdout
    assert ran.stderr.strip() == "loaded []"
