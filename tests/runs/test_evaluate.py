"""Whole evaluations, relaxed with ASE's effective-medium potential: fast, and exact in what it says."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.io import read as ase_read
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.errors import InputError
from crystalgraph.evaluation.rates import Absent
from crystalgraph.io.reading import read_structures
from crystalgraph.io.writing import write_structures
from crystalgraph.runs.evaluate import evaluate

pytestmark = pytest.mark.slow

EMT = "ase.calculators.emt:EMT"
STAND_INS = Path(__file__).parents[1] / "relax"


def cubic(number, a, species, sites):
    return Structure.from_spacegroup(number, Lattice.cubic(a), species, sites)


COPPER = cubic(225, 3.6, ["Cu"], [[0, 0, 0]])
GOLD = cubic(225, 4.06, ["Au"], [[0, 0, 0]])
CU3AU = cubic(221, 3.75, ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]])
AU3CU = cubic(221, 3.97, ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0]])
B2 = cubic(221, 3.05, ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SPHALERITE = cubic(216, 5.8, ["Au", "Cu"], [[0, 0, 0], [0.25, 0.25, 0.25]])
KNOWN = {"copper": COPPER, "gold": GOLD, "Cu3Au": CU3AU}
INPUTS = {
    "a": CU3AU * (1, 1, 2),
    "b": AU3CU,
    "c": AU3CU * (1, 2, 1),
    "d": B2,
    "e": SPHALERITE,
    "f": COPPER,
    "g": Structure(Lattice.cubic(2), ["Au", "Cu"], [[0, 0, 0], [0.1, 0, 0]]),
}


def files(folder, structures):
    write_structures(list(structures.values()), list(structures), folder, "cif")
    return str(folder)


def content(folder):
    """All that must not depend on times and machines."""
    varying = {"timings.json"}
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.name != "relaxations"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name not in varying}


def rows_of(folder):
    with (folder / "structures.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with inputs and known phases, and a cache of its own."""
    place = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTALGRAPH_CACHE", str(place / "cache"))
        files(place / "known", KNOWN)
        files(place / "inputs", INPUTS)
        (place / "inputs" / "h.cif").write_text("not a CIF")
        yield place


@pytest.fixture(scope="module")
def request_(place):
    known, inputs = str(place / "known"), str(place / "inputs")
    return {"source": inputs, "reference": known, "training": known, "relax": 10, "potential": EMT}


@pytest.fixture(scope="module")
def evaluation(place, request_):
    return evaluate(**request_, out=place / "one")


def test_the_folder_holds_everything(evaluation, place):
    folder = place / "one"
    record = json.loads((folder / "metrics.json").read_text())
    assert record == json.loads(json.dumps(evaluation.record))
    assert record["system"] == "Cu-Au"
    assert record["counts"] == {
        "inputs": 8,
        "read": 7,
        "in_system": 7,
        "strictly_valid": 6,
        "compared": 6,
        "relaxed": 6,
    }
    assert record["reference"]["crystals"] == 3
    assert len(record["input"]["sha256"]) == len(record["reference"]["sha256"]) == 64
    assert record["request"]["seed"] == 0
    assert set(record["versions"]) >= {"crystalgraph", "python", "pymatgen", "scipy", "matminer"}
    assert record["potential"]["name"] == EMT
    assert record["metrics"]["validity"]["strictly_valid"]["numerator"] == 6
    assert record["metrics"]["validity"]["strictly_valid"]["denominator"] == 8
    assert [row["name"] for row in rows_of(folder)] == list("abcdefgh")


@pytest.mark.usefixtures("evaluation")
def test_relaxed_files_are_in_the_order_of_the_inputs(place):
    folder = place / "one"
    rows = [row for row in rows_of(folder) if row["file"]]
    assert [row["name"] for row in rows] == list("abcdef")
    cifs = read_structures(folder / "relaxed")
    assert cifs.ids == [row["file"] for row in rows]
    frames = ase_read(folder / "relaxed.extxyz", ":")
    assert [atoms.info["name"] for atoms in frames] == cifs.ids
    assert [atoms.info["input"] for atoms in frames] == list("abcdef")
    for atoms, structure, row in zip(frames, to_structures(cifs.crystals), rows, strict=True):
        assert atoms.get_volume() / len(atoms) == pytest.approx(structure.volume / len(structure), rel=1e-5)
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(float(row["energy"]), abs=1e-5)
        assert f"_crystalgraph_input {row['name']}\n" in (folder / "relaxed" / f"{row['file']}.cif").read_text()
        assert atoms.info["e_above_hull"] == pytest.approx(float(row["e_above_hull"]), abs=1e-5)


def test_verdicts_after_relaxation(evaluation):
    rows = {row.name: row for row in evaluation.judgement.rows}
    assert rows["a"].relaxed_known_phase == "Cu3Au"
    assert rows["f"].relaxed_known_phase == "copper"
    assert abs(rows["a"].e_above_hull) < 0.005
    assert rows["b"].e_above_hull < 0.1 < rows["e"].e_above_hull
    assert {rows["b"].relaxed_copy_of, rows["c"].relaxed_copy_of} in ({"", "b"}, {"", "c"})
    assert sum(bool(rows[name].msun) for name in "bc") == 1
    assert not rows["a"].msun
    assert rows["g"].relax_status == rows["h"].relax_status == ""
    metrics = evaluation.judgement.metrics
    assert metrics["discovery"]["msun_of_budget"].is_exact
    assert metrics["rediscovery"]["known_after"].value == 1
    assert metrics["rediscovery"]["template_seen_after"].value == 1


def test_times_are_in_one_file_only(evaluation, place):
    timings = json.loads((place / "one" / "timings.json").read_text())
    spent = timings["relaxation_cpu_seconds"]
    assert set(spent) == set("abcdef")
    assert timings["device"] == "cpu"
    hours = sum(spent.values()) / 3600
    assert timings["relaxation_cpu_hours"] == pytest.approx(hours)
    n_msun = sum(row.msun is True for row in evaluation.judgement.rows)
    assert timings["per_cpu_hour"]["msun"]["count"] == n_msun
    assert timings["per_cpu_hour"]["msun"]["value"] == pytest.approx(n_msun / hours)
    assert "seconds" not in (place / "one" / "metrics.json").read_text()


@pytest.mark.usefixtures("evaluation")
def test_two_workers_give_the_same_bytes(request_, place):
    evaluate(**request_, out=place / "two", workers=2)
    assert content(place / "two") == content(place / "one")


@pytest.mark.usefixtures("evaluation")
def test_a_random_part_is_relaxed_by_seed(request_, place):
    few = evaluate(**request_ | {"relax": 2, "seed": 3}, out=place / "few")
    assert len(few.relaxations) == 2
    budget = few.judgement.metrics["discovery"]["msun_of_budget"]
    assert not budget.is_exact
    assert budget.eligible.counts == "6/8"
    first = evaluate(**request_ | {"relax": 2, "pick": "first"}, out=place / "first")
    assert list(first.relaxations) == ["a", "b"]
    assert any("not random" in caveat for caveat in first.record["caveats"])


def test_resuming_a_finished_run_changes_nothing(evaluation, request_, place):
    before = content(place / "one")
    stamps = {p: p.stat().st_mtime_ns for p in (place / "one" / "relaxations").iterdir()}
    again = evaluate(**request_, out=place / "one", resume=True)
    assert content(place / "one") == before
    assert {p: p.stat().st_mtime_ns for p in (place / "one" / "relaxations").iterdir()} == stamps
    assert again.timings["per_cpu_hour"] == evaluation.timings["per_cpu_hour"]


@pytest.mark.usefixtures("evaluation")
def test_a_folder_in_the_way_is_refused(request_, place):
    before = content(place / "one")
    with pytest.raises(InputError, match="holds an evaluation; go on with it with --resume"):
        evaluate(**request_, out=place / "one")
    with pytest.raises(InputError, match="already exists"):
        evaluate(**request_, out=place / "inputs")
    with pytest.raises(InputError, match=r"request\.seed differ"):
        evaluate(**request_ | {"seed": 5}, out=place / "one", resume=True)
    with pytest.raises(InputError, match="nothing to resume"):
        evaluate(**request_, out=place / "nowhere", resume=True)
    assert content(place / "one") == before
    assert not (place / "nowhere").exists()


@pytest.mark.slow
def test_killed_while_relaxing_and_resumed(place, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(STAND_INS), "COUNT": str(tmp_path / "count")}
    inputs, known = str(place / "inputs"), str(place / "known")

    def command(out, *more):
        arguments = ["--reference", known, "--relax", "6", "--potential", "stand_ins:Slow", "--quiet"]
        program = [sys.executable, "-c", "from crystalgraph.cli.evaluate import main; main()"]
        return [*program, inputs, *arguments, "--out", str(out), *more]

    killed = subprocess.Popen(command(tmp_path / "out"), env=environment, start_new_session=True)
    relaxations = tmp_path / "out" / "relaxations"
    deadline = time.monotonic() + 300
    while len(list(relaxations.glob("*.json"))) < 2:
        assert time.monotonic() < deadline
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "out" / "metrics.json").exists()
    done = {p: p.stat().st_mtime_ns for p in relaxations.glob("*.json")}
    assert 2 <= len(done) < 5

    (tmp_path / "count").unlink()
    subprocess.run(command(tmp_path / "out", "--resume"), env=environment, check=True)
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert len(list(relaxations.glob("*.json"))) == 5  # b and c have the same cell in their files
    resumed = len((tmp_path / "count").read_text().splitlines())

    (tmp_path / "count").unlink()
    subprocess.run(command(tmp_path / "whole"), env=environment, check=True)
    assert content(tmp_path / "whole") == content(tmp_path / "out")
    assert resumed < len((tmp_path / "count").read_text().splitlines()), "what was relaxed was relaxed again"


@pytest.mark.usefixtures("place")
def test_system_is_the_union_or_the_run_folders_or_the_users(tmp_path):
    path = files(tmp_path / "mixed", {"a": CU3AU, "b": COPPER})
    assert evaluate(path, out=tmp_path / "1").record["system"] == "Cu-Au"
    found = evaluate(path, system="Cu", out=tmp_path / "2")
    assert found.record["system"] == "Cu"
    assert [row.reason for row in found.judgement.rows] == ["outside the system Cu: Au has no reference", ""]
    run = tmp_path / "run"
    files(run / "structures", {"a": COPPER})
    (run / "run.json").write_text(json.dumps({"request": {"system": "Cu-Au"}}))
    assert evaluate(str(run), out=tmp_path / "3").record["system"] == "Cu-Au"
    (run / "run.json").write_text("[]")
    assert evaluate(str(run), out=tmp_path / "4").record["system"] == "Cu"


@pytest.mark.usefixtures("place")
def test_mixed_chemistries_are_judged_but_not_put_on_one_hull(tmp_path):
    many = {s: cubic(225, a, [s, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for s, a in zip("CV", (3.6, 4.1), strict=True)}
    many |= {"Mg": cubic(225, 4.2, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "Cu": COPPER, "Au": GOLD}
    path = files(tmp_path / "many", many)
    found = evaluate(path, out=tmp_path / "out")
    rows = {row.name: row for row in found.judgement.rows}
    assert rows["Mg"].novel is False
    assert rows["Cu"].novel is False
    with pytest.raises(InputError, match="too many for one hull"):
        evaluate(path, relax=1, potential=EMT, out=tmp_path / "relaxed")
    assert not (tmp_path / "relaxed").exists()


@pytest.mark.usefixtures("place")
def test_an_element_without_a_reference_stops_at_once(tmp_path):
    path = files(tmp_path / "in", {"a": cubic(225, 5, ["Og", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])})
    with pytest.raises(InputError, match="Og"):
        evaluate(path, relax=1, potential=EMT, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    found = evaluate(path, system="Og", out=tmp_path / "out")
    assert "no known phase of Og" in found.judgement.metrics["as given"]["novel"].reason


@pytest.mark.usefixtures("place")
def test_bad_crystals_each_have_their_reason(tmp_path):
    good = {
        "one": Structure(Lattice.cubic(2.3), ["Cu"], [[0, 0, 0]]),
        "many": COPPER * (5, 5, 4),
        "overlapping": INPUTS["g"],
        "disordered": Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]),
    }
    folder = tmp_path / "in"
    folder.mkdir()
    for name, structure in good.items():
        structure.to(filename=str(folder / f"{name}.cif"))
    whole = (folder / "one.cif").read_text()
    for name, value in {"nan": "nan", "flat": "0.0"}.items():
        (folder / f"{name}.cif").write_text(re.sub(r"(_cell_length_a +)\S+", rf"\g<1>{value}", whole))
    (folder / "cut.cif").write_text(whole[:200])
    found = evaluate(str(folder), relax=5, potential=EMT, out=tmp_path / "out")
    reasons = {row.name: row.reason for row in found.judgement.rows}
    expected = {
        "one": "",
        "many": "not relaxed: 400 atoms, at most 200 are",
        "overlapping": "atoms within 0.5 Å",
        "disordered": "disordered",
        "nan": "not given in six numbers",
        "flat": "no volume",
        "cut": "cannot be read",
    }
    assert set(reasons) == set(expected)
    for name, reason in expected.items():
        assert reason in reasons[name], name
    assert list(found.relaxations) == ["one"]


@pytest.mark.usefixtures("place")
def test_nothing_that_can_be_read_stops_at_once(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no structure file"):
        evaluate(str(tmp_path / "in"), out=tmp_path / "out")
    for name in "ab":
        (tmp_path / "in" / f"{name}.cif").write_text("")
    with pytest.raises(InputError, match=r"a: it holds no crystal \(1 more could not be read either\)"):
        evaluate(str(tmp_path / "in"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_coverage_by_a_reference_folder(tmp_path, place):
    path = files(tmp_path / "in", {"a": CU3AU, "b": B2})
    known = str(place / "known")
    found = evaluate(path, reference=known, coverage=True, out=tmp_path / "out")
    cdvae = found.judgement.metrics["cdvae"]
    assert cdvae["cov_recall"].counts == "1/1"
    assert cdvae["cov_precision"].denominator == 2
    assert len(list((place / "cache" / "fingerprints").iterdir())) == 2, "two of the three crystals are the same"
    without = evaluate(path, reference=known, out=tmp_path / "without")
    assert isinstance(without.judgement.metrics["cdvae"]["cov_recall"], Absent)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"potential": "chgnet"}, "a potential .chgnet. but nothing to relax"),
        ({"relax": -1}, "-1"),
        ({"pick": "best"}, "'best'"),
        ({"seed": -1}, "-1"),
        ({"workers": 0}, "workers 0"),
    ],
)
def test_bad_requests_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        evaluate(COPPER, **change)


@pytest.mark.slow
@pytest.mark.parametrize(("package", "folder"), [("ase", "test/testdata/minerals"), ("pyxtal", "database/cifs")])
def test_cifs_of_other_tools_are_judged(package, folder, tmp_path):
    # Minerals of the Crystallography Open Database, and molecular crystals and prototypes that PyXtal ships.
    source = Path(find_spec(package).submodule_search_locations[0]) / folder
    evaluation = evaluate(str(source), out=tmp_path / "out")
    named = {re.split(r"#|\.(?:cif|vasp)", row.name)[0] for row in evaluation.judgement.rows}
    assert named == {file.stem for kind in ("*.cif", "*.vasp") for file in source.glob(kind)}
    assert all(row.reason or row.strictly_valid for row in evaluation.judgement.rows)
    assert evaluation.record["counts"]["read"] > 0


@pytest.mark.usefixtures("place")
def test_a_run_did_not_learn_from_the_systems_that_its_training_left_out(tmp_path):
    run = files(tmp_path / "run", {"a": CU3AU})
    learned = files(
        tmp_path / "learned",
        {"alloy": CU3AU, "copper": COPPER, "elsewhere": cubic(225, 4.2, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])},
    )
    data = {"dataset": learned, "system": "Cu-Au", "holdout_systems": ["Nb-O"]}
    (tmp_path / "run" / "run.json").write_text(json.dumps({"model": {"record": {"config": {"data": data}}}}))
    found = evaluate(run, training=learned)
    assert found.record["training"]["crystals"] == 1
    assert found.record["training"]["without_systems"] == ["Cu-Au", "Nb-O"]
    assert found.judgement.rows[0].training_crystal == ""
    others = files(tmp_path / "others", {"alloy": CU3AU})
    assert evaluate(run, training=others).record["training"]["without_systems"] == []
    assert evaluate(run, training=others).judgement.rows[0].training_crystal == "alloy"
