import csv
import json
import subprocess
import sys
from collections import Counter

import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.reading import read_structures
from crystalgraph.screening.outcome import STAGES
from crystalgraph.screening.search import USUAL_SEARCH

pytestmark = pytest.mark.usefixtures("quick_plausibility")

HEAVY = ("torch", "torch_geometric", "chgnet", "matminer", "pymatgen", "sklearn", "pandas", "scipy")


@pytest.fixture
def cg_generate(cg, dealer, monkeypatch):
    """Run the command in an empty folder with a stand-in model; gives exit code, stdout and stderr."""

    def call(*arguments, names=()):
        model = dealer(*names)
        monkeypatch.setattr("crystalgraph.runs.generate.load_model", lambda _: model)
        monkeypatch.setattr("crystalgraph.runs.generate.Sampler", lambda *_, **__: model)
        return cg("cg-generate", *arguments)

    monkeypatch.setitem(vars(USUAL_SEARCH), "round_size", 32)
    return call


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(folder):
    with (folder / "candidates.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_run_folder_tells_the_whole_story(cg_generate, tmp_path):
    code, out, err = cg_generate("-n", 4, "--out", "run", names=("rock salt", "crushed", "rutile", "CsCl", "fluorite"))
    assert code == 0
    folder = tmp_path / "run"
    table, record = rows(folder), json.loads((folder / "run.json").read_text())

    statuses = Counter(row["status"] for row in table)
    assert record["counts"]["drawn"] == len(table)
    assert {name: count for name, count in record["counts"].items() if count and name != "drawn"} == statuses
    selected = sorted((row for row in table if row["rank"]), key=lambda row: int(row["rank"]))
    cifs = read_structures(folder / "structures")
    assert not cifs.failures
    assert cifs.ids == [row["file"] for row in selected]
    frames = read_structures(folder / "candidates.extxyz").ids
    assert [name.split("#")[1] for name in frames] == cifs.ids
    assert record["request"]["num"] == 4
    assert record["model"]["sha256"] == "0" * 64
    assert set(record["versions"]) >= {"crystalgraph", "python", "torch", "pymatgen"}
    assert record["composition"]["plausibility"]["auc"] > 0.7
    assert set(record["composition"]["plausibility"]["sha256"]) == {"crystals.npz"}
    assert record["seconds"]["total"] > 0
    assert f"{statuses['strict']} strict" in out
    assert "P4_2/mnm" in out
    assert "written to run" in out
    assert "samples or more" in err
    assert "\x1b" not in out + err


@pytest.mark.slow
def test_same_command_twice_gives_the_same_bytes(cg_generate, tmp_path):
    for name in ("one", "two"):
        assert cg_generate("-n", 6, "--seed", 1, "--format", "cif,extxyz,poscar", "--out", name)[0] == 0
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert one.pop("run.json")
    assert two.pop("run.json")
    assert len(one) == 6 + 6 + 2 + 3  # structures, tables, and the page with its pictures
    assert one == two


@pytest.mark.slow
def test_raw_selects_every_sample_in_draw_order(cg_generate, tmp_path):
    assert cg_generate("--raw", 10, "--out", "run", names=("rock salt", "crushed"))[0] == 0
    table = rows(tmp_path / "run")
    assert [row["strictly_valid"] for row in table] == ["yes", "no"] * 5
    assert [row["file"] for row in table] == read_structures(tmp_path / "run" / "structures").ids


@pytest.mark.slow
def test_too_small_a_space_gives_what_there_is_and_says_so(cg_generate, tmp_path):
    code, out, _ = cg_generate("-n", 5, "--out", "run", names=("rutile",))
    assert code == 0
    assert "stopped with 1 of 5" in out
    assert len(list((tmp_path / "run" / "structures").iterdir())) == 1


@pytest.mark.slow
def test_nothing_selected_is_a_failure_with_a_record(cg_generate, tmp_path):
    code, out, _ = cg_generate("-n", 5, "--out", "run", names=("crushed",))
    assert code == 1
    assert "stopped with 0 of 5" in out
    assert {row["status"] for row in rows(tmp_path / "run")} == {"strict"}


@pytest.mark.slow
def test_json_is_all_there_is_on_stdout(cg_generate, tmp_path):
    code, out, err = cg_generate("-n", 2, "--json", "--out", "run")
    assert (code, err) == (0, "")
    said = json.loads(out)
    table = sorted((row for row in rows(tmp_path / "run") if row["rank"]), key=lambda row: int(row["rank"]))
    assert [row["file"] for row in said["candidates"]] == [row["file"] for row in table]
    assert [str(row["space_group"]) for row in said["candidates"]] == [row["space_group"] for row in table]
    assert said["n_candidates"] == len(table)


@pytest.mark.slow
def test_quiet_is_quiet(cg_generate):
    assert cg_generate("-n", 2, "--quiet") == (0, "", "")


@pytest.mark.slow
def test_default_folder_says_what_was_asked_and_is_never_in_the_way(cg_generate, tmp_path):
    for _ in range(2):
        assert cg_generate("--formula", "NbO", "-n", 1, "--quiet")[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["NbO-n1-seed0", "NbO-n1-seed0-2"]


@pytest.mark.parametrize("likely", [None, 1.0])
def test_what_ranks_beside_the_score_is_said(likely, cg_generate, monkeypatch):
    from dataclasses import replace

    import torch

    from tests.dealer import Dealer

    draw, column = Dealer.draw, None if likely is None else torch.full((32,), likely)
    monkeypatch.setattr(Dealer, "draw", lambda self, n: replace(draw(self, n), template_score=column))
    code, out, _ = cg_generate("-n", 1)
    assert code == 0
    assert ("ranked by the score and by what known crystals say" in " ".join(out.split())) == (likely is not None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--system", "Nb-Qq"], "Qq"),
        (["--system", "Nb-O", "--formula", "TiO2"], "TiO2"),
        (["--formula", "Nb2O"[::-1] + "x"], "formula"),
        (["--space-group", "0"], "0 is not in 1 to 230"),
        (["--space-group", "231"], "231 is not in 1 to 230"),
        (["--space-group", "P21/q"], "P2_1/c"),
        (["--exclude-group", "R-3d"], "R-3c"),
        (["--atoms", "7", "--formula", "NbO2"], "cannot hold"),
        (["--min-distance", "Nb-O"], "Nb-O=1.8"),
        (["-n", "0"], "0"),
        (["-n", "-3"], "-3"),
        (["-n", "5", "--raw", "5"], "--raw"),
        (["--raw", "0"], "0"),
        (["--seed", "-1"], "seed"),
        (["--max-atoms", "0"], "0"),
        (["--format", "cif,xsf"], "xsf"),
        (["--format", ""], "format ''"),
        (["--device", "abacus"], "abacus"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--out", "taken"], "taken"),
        (["--out", "file/run"], "file"),
        (["--nonsense"], "--nonsense"),
        (["surplus"], "surplus"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_code_2(cg_generate, tmp_path, arguments, says):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = content(tmp_path)
    code, out, err = cg_generate(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
    assert content(tmp_path) == before


def test_a_request_nothing_fits_is_one_line_and_code_2(cg_generate, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise InputError("nothing fits; possible sizes are 21 atoms")

    monkeypatch.setattr("crystalgraph.runs.generate._sampler", refuse)
    assert cg_generate("-n", 5, "--out", "run") == (2, "", "error: nothing fits; possible sizes are 21 atoms\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["absent", "empty folder", "file", "foreign record", "foreign weights", "no weights"])
def test_foreign_weights_are_refused_in_one_line(cg, tmp_path, kind):
    path = tmp_path / "model"
    if kind == "file":
        path.write_text("not a model")
    elif kind != "absent":
        path.mkdir()
    if kind == "foreign record":
        (path / "model.json").write_text('["another", "tool"]')
        (path / "model.safetensors").write_bytes(b"x")
    if kind in ("foreign weights", "no weights"):
        (path / "model.json").write_text('{"format": 1, "sha256": "0"}')
    if kind == "foreign weights":
        (path / "model.safetensors").write_bytes(b"\x00" * 100)
    code, out, err = cg("cg-generate", "--model", path, "-n", 1, "--out", "run")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(path) in err
    assert not (tmp_path / "run").exists()


def test_help_shows_every_option(cg_generate):
    code, out, _ = cg_generate("--help")
    assert code == 0
    for option in ("--num", "--system", "--formula", "--space-group", "--max-atoms", "--model", "--seed", "--out"):
        assert option in out
    for option in ("--format", "--raw", "--device", "--quiet", "--json"):
        assert option in out


@pytest.mark.parametrize("module", ["generate", "train"])
def test_help_imports_nothing_heavy(module):
    program = (
        "import sys\n"
        f"from crystalgraph.cli.{module} import main\n"
        "sys.argv = ['cg', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('loaded', sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in ran.stdout
    assert ran.stderr.strip() == "loaded []"


def test_help_loads_little_more_than_a_command_line_needs():
    def modules(program):
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", program, "--help"], capture_output=True, text=True, check=True
        )
        return ran.stderr.count("import time:")

    assert modules("from crystalgraph.cli.generate import main; main()") <= 3 * modules("import typer, rich")


@pytest.mark.slow
def test_interrupted_command_leaves_nothing(cg_generate, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("crystalgraph.io.writing.write_structures", interrupt)
    assert cg_generate("-n", 2, "--out", "run", "--quiet")[0] == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def relaxing(cg_generate, toy_calculator, flat_hull, monkeypatch):
    """Run the command with a pair potential, in worker processes, and a hull that lies at zero everywhere."""
    monkeypatch.setattr("crystalgraph.screening.funnel.reference_hull", flat_hull)
    return lambda *arguments, **options: cg_generate("--potential", toy_calculator, *arguments, **options)


@pytest.mark.slow
def test_relaxed_run_tells_what_each_stage_cost_and_lost(relaxing, tmp_path):
    code, out, err = relaxing("-n", 6, "--relax", 3, "--format", "cif,extxyz,poscar", "--out", "run")
    assert code == 0
    folder = tmp_path / "run"
    table, record = rows(folder), json.loads((folder / "run.json").read_text())
    stages = {stage["name"]: stage for stage in record["relaxation"]["stages"]}
    assert tuple(stages) == STAGES
    entered = [row for row in table if row["funnel_status"]]
    assert stages["single point"]["entered"] == len(entered) >= 6
    assert 1 <= stages["relaxation"]["entered"] <= 3
    assert all(stage["seconds"] >= 0 for stage in stages.values())
    selected = sorted((row for row in table if row["rank"]), key=lambda row: int(row["rank"]))
    assert len(selected) == 6
    statuses = Counter(row["funnel_status"] for row in entered)
    assert {name: stage["lost"] for name, stage in stages.items() if stage["lost"]} == {
        name: count for name, count in statuses.items() if name != "relaxed"
    }
    relaxed = [row for row in selected if row["funnel_status"] == "relaxed"]
    assert selected[: len(relaxed)] == relaxed
    energies = [float(row["e_above_hull"]) for row in relaxed]
    assert energies == sorted(energies)
    assert {row["status"] for row in entered} <= {"selected", "not selected"}
    names = [row["file"] for row in relaxed]
    relaxed_files = sorted(path.stem for path in (folder / "relaxed").glob("*.cif"))
    assert all(name.endswith(f"_sg{row['relaxed_space_group']}") for name, row in zip(names, relaxed, strict=True))
    assert relaxed_files == names
    assert len(list((folder / "relaxed").glob("*.vasp"))) == len(names)
    frames = read_structures(folder / "relaxed.extxyz").ids
    assert [name.split("#")[1] for name in frames] == names
    assert sorted(path.stem for path in (folder / "structures").glob("*.cif")) == [
        row["drawn_file"] or row["file"] for row in selected
    ]
    assert record["relaxation"]["potentials"][0]["name"] == "toy_potential:make"
    assert "relaxed" in out
    assert "relaxations by" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_relaxed_run_does_not_depend_on_workers_or_on_a_kill(relaxing, monkeypatch, tmp_path):
    def kill(*_, **__):
        raise KeyboardInterrupt

    arguments = ("-n", 6, "--relax", 3, "--quiet")
    assert relaxing(*arguments, "--out", "one")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("crystalgraph.io.writing.write_structures", kill)
        assert relaxing(*arguments, "--workers", 2, "--out", "two")[0] == 130
    finished = sorted((tmp_path / "two.partial" / "relaxations").iterdir())
    assert finished
    before = {path: path.stat().st_mtime_ns for path in finished}
    with monkeypatch.context() as patch:
        patch.setattr("crystalgraph.io.writing.write_structures", kill)
        assert relaxing(*arguments, "--out", "two")[0] == 130
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "two.partial" / "relaxations").iterdir()} == before
    assert relaxing(*arguments, "--out", "two")[0] == 0
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert one.pop("run.json")
    assert two.pop("run.json")
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_foreign_files_in_the_partial_folder_stay(relaxing, tmp_path):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "mine").write_text("mine")
    assert relaxing("-n", 2, "--relax", 1, "--quiet", "--out", "run")[0] == 0
    assert content(tmp_path / "run.partial") == {"mine": b"mine"}


@pytest.mark.slow
def test_three_are_selected_for_each_relaxation(relaxing, tmp_path):
    assert relaxing("--relax", 2, "--quiet")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "Nb-O-n6-seed0-relax2"
    assert json.loads((folder / "run.json").read_text())["counts"]["selected"] == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--relax", "0"], "relax 0"),
        (["--relax", "-1"], "relax -1"),
        (["--relax", "3", "--raw", "5"], "cg-evaluate"),
        (["--relax", "3", "--workers", "0"], "workers 0"),
        (["--relax", "3", "--potential", "abacus"], "abacus"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_relaxed_is_refused_before_any_work(cg_generate, tmp_path, arguments, says):
    code, out, err = cg_generate(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_plain_run_has_no_columns_of_the_funnel(cg_generate, tmp_path):
    assert cg_generate("-n", 2, "--quiet", "--out", "run")[0] == 0
    assert "e_above_hull" not in rows(tmp_path / "run")[0]
    assert "relaxation" not in json.loads((tmp_path / "run" / "run.json").read_text())
