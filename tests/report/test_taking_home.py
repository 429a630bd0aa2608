"""What is ticked in the table, filtered, and found again by its address; in headless Chromium."""

import csv
import io
import zipfile

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Poscar

from tests.chromium import NARROW

pytestmark = pytest.mark.slow


def tick(browser, rows):
    for row in rows:
        browser.click(f"tr[data-row='{row}'] .pick input")


def test_five_ticked_are_one_zip_with_the_files_of_the_run(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    assert not browser.run("return document.getElementById('taken').offsetParent")
    tick(browser, [0, 1, 2, 4, 5])
    assert browser.text("n-taken") == "5 ticked"
    with zipfile.ZipFile(browser.download("#take-cif")) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    names = finished_run.result.names
    folders = {0: "relaxed", 1: "relaxed", 2: "relaxed", 4: "structures", 5: "structures"}
    files = [finished_run.folder / folder / f"{names[row]}.cif" for row, folder in folders.items()]
    assert found == {file.name: file.read_bytes() for file in files}


def test_poscars_are_the_primitive_cells_of_what_is_ticked(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    tick(browser, [1, 5])
    with zipfile.ZipFile(browser.download("#take-poscar")) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    result = finished_run.result
    expected = {f"{result.names[k]}.vasp": s for k, s in ((1, result.relaxed[1]), (5, result.structures[5]))}
    assert set(texts) == set(expected)
    for name, text in texts.items():
        read = Poscar.from_str(text).structure
        assert len(read) == len(expected[name].get_primitive_structure())
        assert read.matches(expected[name], ltol=1e-4, stol=1e-4, angle_tol=0.01)


def test_rows_are_csv_in_the_order_of_the_table(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    browser.click("#table th[data-key=score] button")
    browser.click("#table th[data-key=score] button")  # the worst in front
    browser.click("#pick-all")
    rows = list(csv.DictReader(io.StringIO(browser.download("#take-csv").read_text())))
    samples = finished_run.result.selected
    assert [row["name"] for row in rows] == finished_run.result.names[::-1]
    assert [float(row["score"]) for row in rows] == pytest.approx([sample.score for sample in samples][::-1])
    assert [row["formula"] for row in rows] == [sample.formula for sample in samples][::-1]
    browser.click("#take-none")
    assert not browser.run("return document.getElementById('taken').offsetParent")


def test_all_that_is_shown_is_ticked_and_no_more(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    browser.write("221", into="filter-group")
    browser.click("#pick-all")
    assert browser.text("n-taken") == "2 ticked"
    browser.click("#unfilter")
    assert browser.run("return document.getElementById('pick-all').indeterminate")


def test_a_name_from_outside_cannot_leave_the_folder_of_the_zip(browser, judged):
    browser.open(judged.folder / "report.html")
    browser.click("#pick-all")
    with zipfile.ZipFile(browser.download("#take-cif")) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not any(set('/\\<>"|?*:') & set(name) for name in contents)
    assert judged.hostile.read_bytes() in contents.values()
    assert "no CIF on this page" in browser.text("taken-said"), "of the file that could not be read"


@pytest.mark.parametrize(
    ("into", "text", "expected"),
    [
        ("filter-group", "Fm-3m", [0]),
        ("filter-group", "225", [0]),
        ("filter-group", "p 42/m n m", [1]),
        ("filter-group", "F-43m, 186", [3, 5]),
        ("filter-ratio", "O/Nb>=2", [1, 2]),
        ("filter-ratio", "1 < O/Nb <= 2", [1]),
        ("filter-ratio", "Nb/O=1/2", [1]),
        ("filter-ratio", "O>0.7", [2]),
        ("filter-energy", "0.06", [0, 1]),
        ("filter-source", "prototype", [0]),
        ("filter", "Pm-3m", [2, 4]),
        ("filter", "O/Nb=1 atoms=2 group=Fm-3m", [0]),
    ],
)
def test_filters_leave_what_they_say(browser, finished_run, into, text, expected):
    browser.open(finished_run.folder / "report.html")
    browser.write(text, into=into)
    assert browser.column("file") == [finished_run.result.names[row] for row in expected]
    assert browser.text("count") == f"{len(expected)} of 6"


@pytest.mark.parametrize(
    ("into", "text", "said"),
    [
        ("filter-group", "R-3q", "no such space group"),
        ("filter-group", "231", "no such"),
        ("filter-ratio", "O/Nb", "O/Nb>=2"),
    ],
)
def test_what_a_filter_cannot_understand_is_said(browser, finished_run, into, text, said):
    browser.open(finished_run.folder / "report.html")
    browser.write(text, into=into)
    assert said in browser.text("count")
    assert browser.run(f"return document.getElementById('{into}').getAttribute('aria-invalid')") == "true"


def test_the_first_click_on_a_header_puts_the_best_in_front(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    browser.click("#table th[data-key=score] button")
    scores = [float(text.replace("−", "-")) for text in browser.column("score")]
    assert scores == sorted(scores, reverse=True)
    browser.click("#table th[data-key=e_hull] button")
    energies = [float(text) for text in browser.column("e_hull") if text]
    assert energies == sorted(energies)


def test_an_address_opens_its_crystal_and_follows_the_choice(browser, finished_run):
    names = finished_run.result.names
    browser.open(finished_run.folder / "report.html", crystal=names[3])
    assert browser.selected() == "3"
    assert browser.text("structure-name") == names[3]
    browser.click("tr[data-row='1'] td:nth-child(2)")
    assert browser.run("return window.location.hash") == f"#crystal={names[1]}"
    browser.run(f"window.location.hash = '#crystal={names[5]}'")
    browser.wait("return document.querySelector('tr[aria-selected=true]').dataset.row === '5'")


def test_an_address_of_no_crystal_is_said(browser, finished_run):
    browser.open(finished_run.folder / "report.html", crystal="%3Cimg%20src=x%3E")
    assert "<img src=x>, which is not on this page" in browser.text("link-said")
    assert browser.selected() == "0"


def test_a_name_with_any_signs_has_an_address(browser, judged):
    browser.open(judged.folder / "report.html")
    row = browser.column("name").index(judged.hostile.stem)
    browser.click(f"tr[data-row='{row}'] td:nth-child(2)")
    address = browser.run("return window.location.hash").removeprefix("#crystal=")
    browser.open(judged.folder / "report.html", crystal=address)
    assert browser.selected() == str(row)


@pytest.mark.parametrize("size", [(1400, 900), NARROW], ids=["1400", "390"])
def test_the_columns_that_are_shown_fit(browser, finished_run, size):
    browser.open(finished_run.folder / "report.html", size)
    widths = "const box = document.querySelector('#table .scroll'); return [box.scrollWidth, box.clientWidth]"
    inside, outside = browser.run(widths)
    assert inside <= outside
    assert "more columns" in browser.text("all-columns")
    browser.click("#all-columns")
    assert browser.text("all-columns") == "Fewer columns"
    assert browser.run("return document.querySelector('#table th[data-key=file]').offsetParent !== null")


def test_a_crystal_stands_beside_the_nearest_known_phase(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    browser.click("tr[data-row='1'] td:nth-child(2)")  # rutile
    labels = browser.run("return [...document.querySelectorAll('#versions button')].map((b) => b.textContent)")
    assert labels[:2] == ["relaxed", "as drawn"]
    assert labels[2].startswith("nearest known: ")
    name = labels[2].removeprefix("nearest known: ")
    phase = finished_run.known.structures[finished_run.known.ids.index(name)]
    assert phase.composition.reduced_formula == "NbO2"
    table = browser.run(
        "return [...document.querySelectorAll('#cells-compared tr')]"
        ".map((tr) => [...tr.cells].map((cell) => cell.textContent))"
    )
    values = {label: cells for label, *cells in table}
    for cells, structure in zip(
        zip(*[values[label] for label in ("Å³/atom", "g/cm³")], strict=True),
        (finished_run.result.relaxed[1], finished_run.result.structures[1], phase),
        strict=True,
    ):
        assert float(cells[0]) == pytest.approx(structure.volume / len(structure), abs=0.006)
        assert float(cells[1]) == pytest.approx(structure.density, abs=0.006)
    relaxed = finished_run.result.relaxed[1]
    assert sorted(float(values[f"{axis} (Å)"][0]) for axis in "abc") == pytest.approx(
        sorted(relaxed.lattice.abc), abs=6e-4
    )
    assert np.prod([int(values["neighbours of Nb"][0]), int(values["neighbours of O"][0])]) == 18
