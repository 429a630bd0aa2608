import json

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.io.writing import write_structures
from crystalgraph.report.evaluation import evaluation_page, write_evaluation_report
from crystalgraph.runs.evaluate import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(judged):
    return evaluation_page(judged.folder, judged.evaluation)


def test_metrics_are_those_of_the_file(page, judged):
    written = json.loads((judged.folder / "metrics.json").read_text())["metrics"]
    assert [group for group, _, _ in page.metrics] == list(written)
    for group, _, lines in page.metrics:
        for line in lines:
            if line.name == "all":
                assert {metric["absent"] for metric in written[group].values()} == {line.absent}
                continue
            metric = written[group][line.name.replace(" ", "_")]
            if "interval" in metric:
                assert line.value == f"{metric['value']:.3f}"
                assert line.interval == pytest.approx(metric["interval"])
                assert line.counts.endswith(f"/{metric['denominator']}")
            elif "absent" in metric:
                assert line.absent == metric["absent"]
    rates = {line.name: line for _, _, lines in page.metrics for line in lines}
    assert rates["read"].counts == "4/5"


def test_inputs_keep_their_own_bytes(page, judged):
    texts = {crystal.name: crystal.versions[0].text.encode() for crystal in page.crystals if crystal.versions}
    assert texts[judged.hostile.stem] == judged.hostile.read_bytes()
    assert texts["rock salt"] == (judged.cifs / "rock salt.cif").read_bytes()
    assert [crystal.name for crystal in page.crystals if not crystal.versions] == ["broken"]


def test_the_funnel_ends_at_what_was_compared(page):
    counts = {line.name: line.count for line in page.funnel}
    assert counts == {"inputs": 5, "not read": 1, "compared": 4}
    assert page.missing == ["No energies and no convex hull: nothing was relaxed. --relax 10 would relax ten."]


def test_known_phases_are_named(page):
    named = {row["name"]: row["known_phase"] for row in page.rows}
    assert named["rock salt"]
    assert {row["novel"] for row in page.rows if row["name"] == "rock salt"} == {False}


def test_a_hostile_name_stays_text(judged):
    text = (judged.folder / "report.html").read_text()
    assert "<img" not in text
    assert "window.hacked" in text
    assert "<script>window.hacked" not in text


@pytest.mark.slow
def test_relaxed_crystals_have_their_files_and_energies(tmp_path):
    metals = [Structure.from_spacegroup(225, Lattice.cubic(a), ["Cu"], [[0, 0, 0]]) for a in (3.6, 3.9)]
    alloy = Structure.from_spacegroup(221, Lattice.cubic(3.75), ["Cu", "Au"], [[0, 0.5, 0.5], [0, 0, 0]])
    gold = Structure.from_spacegroup(225, Lattice.cubic(4.08), ["Au"], [[0, 0, 0]])
    write_structures([*metals, alloy], ["one", "two", "alloy"], tmp_path / "in", "cif")
    write_structures([metals[0], gold], ["Cu", "Au"], tmp_path / "known", "cif")
    folder = tmp_path / "out"
    evaluation = evaluate(
        tmp_path / "in", reference=tmp_path / "known", relax=3, potential="ase.calculators.emt:EMT", out=folder
    )
    page = evaluation_page(folder, evaluation)
    assert page.hull["elements"] == ["Cu", "Au"]
    energies = {row.name: row.e_above_hull for row in evaluation.judgement.rows}
    assert [row["e_above_hull"] for row in page.rows] == sorted(energies.values())
    for point in page.hull["candidates"]:
        assert page.rows[point["row"]]["name"] == point["name"]
    for crystal in page.crystals:
        first = crystal.versions[0]
        assert first.label == "relaxed"
        assert first.text.encode() == (folder / first.file).read_bytes()
    assert page.caveats[0].startswith("Energies are those of ase.calculators.emt:EMT")
    written = write_evaluation_report(folder, evaluation).read_bytes()
    assert write_evaluation_report(folder, evaluation).read_bytes() == written
