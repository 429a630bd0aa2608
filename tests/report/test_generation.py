import csv
from dataclasses import replace

import pytest

from crystalgraph.known.likeness import Likeness
from crystalgraph.report.generation import generation_page, write_generation_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(finished_run):
    run = finished_run
    return generation_page(run.folder, run.record, run.result, run.hull, run.known)


def test_rows_say_what_the_csv_says(page, finished_run):
    with (finished_run.folder / "candidates.csv").open() as file:
        selected = [row for row in csv.DictReader(file) if row["file"]]
    for shown, row in zip(page.rows, selected, strict=True):
        assert (shown["name"], shown["formula"], str(shown["place"])) == (row["file"], row["formula"], row["rank"])
        for key, column in (("e_above_hull", "e_above_hull"), ("score", "score"), ("density", "density")):
            assert shown[key] == pytest.approx(float(row[column] or "nan"), rel=1e-5, nan_ok=True)


def test_the_source_of_each_crystal_is_shown(page, finished_run):
    by_file = {sample.file: sample.source for sample in finished_run.result.samples}
    assert [row["source"] for row in page.rows] == [by_file[row["name"]] for row in page.rows]
    assert [dict(crystal.facts)["source"] for crystal in page.crystals] == [row["source"] for row in page.rows]


def test_every_text_is_its_file(page, finished_run):
    for crystal in page.crystals:
        for version in crystal.versions:
            assert version.text.encode() == (finished_run.folder / version.file).read_bytes()
    assert [len(crystal.versions) for crystal in page.crystals] == [2, 2, 2, 2, 1, 1]


def test_the_hull_has_what_was_relaxed(page, finished_run):
    assert [point["row"] for point in page.hull["candidates"]] == [0, 1, 2, 3]
    assert [point["e_above_hull"] for point in page.hull["candidates"]] == pytest.approx(finished_run.energies)
    assert len(page.hull["known"]) == len(finished_run.hull.phases)
    assert ("3", "at most 0.1 eV/atom") in page.figures


def test_distributions_are_before_and_after(page):
    counted = {plot.key: {name: sum(counts) for name, counts in plot.counts.items()} for plot in page.distributions}
    assert counted["e_hull"] == {"as drawn": 6, "relaxed": 4}
    assert counted["volume"] == {"as drawn": 6, "relaxed": 4}
    assert counted["groups"] == {"as drawn": 6, "relaxed": 4}


def test_without_relaxation_the_page_says_so(finished_run):
    result = replace(finished_run.result, relaxed=[], outcomes=None)
    record = {key: value for key, value in finished_run.record.items() if key != "relaxation"}
    page = generation_page(finished_run.folder, record, result)
    assert page.hull is None
    assert page.missing[0].startswith("No energies and no convex hull: nothing was relaxed.")
    assert "score" in page.caveats[0]
    assert not any(caveat.startswith("Energies") for caveat in page.caveats)
    assert "e_hull" not in {plot.key for plot in page.distributions}


def test_nothing_selected_is_a_page_too(finished_run, tmp_path):
    lost = [sample for sample in finished_run.result.samples if sample.status != "selected"]
    result = replace(
        finished_run.result, samples=lost, structures=[], names=[], relaxed=[], outcomes=None, shortfall="stopped"
    )
    record = {key: value for key, value in finished_run.record.items() if key != "relaxation"} | {
        "counts": result.counts
    }
    text = write_generation_report(tmp_path, record, result).read_text()
    assert "No crystal was selected" in text
    assert "stopped" in text


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(finished_run):
    def content():
        found = [finished_run.folder / "report.html", *sorted((finished_run.folder / "plots").iterdir())]
        return {path.name: path.read_bytes() for path in found}

    before = content()
    assert set(before) == {"report.html", "hull.png", "hull.svg", "distributions.png", "distributions.svg"}
    run = finished_run
    write_generation_report(run.folder, run.record, run.result, run.hull, run.known)
    assert content() == before


def test_without_cifs_the_poscar_is_shown(finished_run, tmp_path):
    from crystalgraph.io.writing import write_structures

    write_structures(finished_run.result.structures, finished_run.result.names, tmp_path / "structures", "poscar")
    page = generation_page(tmp_path, finished_run.record, finished_run.result, finished_run.hull)
    drawn = page.crystals[5].versions[0]
    assert (drawn.kind, drawn.file.rpartition(".")[2]) == ("POSCAR", "vasp")
    assert drawn.text.encode() == (tmp_path / drawn.file).read_bytes()


def test_what_all_potentials_agree_on_is_the_headline(finished_run):
    judges = ("sevennet-0", "diep")
    outcomes = {
        draw: replace(
            outcome,
            e_above_hull_by={"sevennet-0": outcome.e_above_hull, "diep": 0.05},
            agreed_metastable=outcome.e_above_hull <= 0.1 if outcome.funnel_status == "relaxed" else None,
        )
        for draw, outcome in finished_run.result.outcomes.items()
    }
    likenesses = {0: Likeness(relaxed_known_phase="mp-2533", relaxed_known_rmsd=0.071)}
    result = replace(finished_run.result, outcomes=outcomes, judges=judges, likenesses=likenesses)
    (one,) = finished_run.record["relaxation"]["potentials"]
    relaxation = finished_run.record["relaxation"] | {"potentials": [one, one | {"name": "diep", "label": "DIEP"}]}
    page = generation_page(finished_run.folder, finished_run.record | {"relaxation": relaxation}, result)
    agreed = sum(energy <= 0.1 for energy in finished_run.energies)
    assert (str(agreed), "at most 0.1 eV/atom by all potentials") in page.figures
    assert page.rows[0]["agreed"] is (finished_run.energies[0] <= 0.1)
    assert page.rows[0]["known_phase"] == "mp-2533"
    facts = dict(page.crystals[0].facts)
    assert facts["by DIEP"] == "+0.050 eV/atom"
    assert facts["known as, relaxed"] == "mp-2533, atoms 0.07 Å apart"
