from dataclasses import replace
from math import nan

import pytest

from crystalgraph.chemistry.system import Formula
from crystalgraph.report.generation import generation_page, write_generation_report
from crystalgraph.report.ladder import Polymorph, polymorph_ladder


def candidate(row, energy=nan, score=0.0, volume=12.0, **more):
    fields = {"name": f"crystal {row}", "group": 136, "is_relaxed": True}
    return Polymorph(**fields | more, row=row, energy=energy, score=score, volume=volume)


def phase(energy):
    return Polymorph(name="mp-1", volume=11.0, energy=energy, score=nan, group=None, is_relaxed=True)


def test_energies_are_drawn_where_any_is_known():
    ladder = polymorph_ladder("NbO2", [candidate(0, 0.1), candidate(1), phase(0.0), phase(nan)])
    assert ladder["is_energy"]
    assert [(point["row"], point["y"]) for point in ladder["points"]] == [(0, 0.1), (None, 0.0)]


def test_scores_are_drawn_where_no_candidate_has_an_energy():
    ladder = polymorph_ladder("NbO2", [candidate(0, score=-1.5), candidate(1, score=2.0), phase(0.0)])
    assert not ladder["is_energy"]
    assert [point["y"] for point in ladder["points"]] == [-1.5, 2.0]


def test_nothing_to_draw_is_no_ladder():
    assert polymorph_ladder("NbO2", [phase(0.0), candidate(0, score=nan)]) is None
    assert polymorph_ladder("NbO2", []) is None


@pytest.fixture(scope="module")
def of_one_formula(finished_run, tmp_path_factory):
    """The finished run as if only NbO had been asked for: its two formulas besides are left out of the hull of NbO."""
    request = replace(finished_run.result.request, formula=Formula.parse("NbO"))
    return replace(finished_run.result, request=request), tmp_path_factory.mktemp("ladder")


@pytest.mark.slow
def test_a_page_has_a_ladder_where_one_formula_was_asked_for(finished_run, of_one_formula):
    result, _ = of_one_formula
    run = finished_run
    page = generation_page(run.folder, run.record, result, run.hull, run.known)
    by_row = {point["row"]: point for point in page.ladder["points"] if point["row"] is not None}
    for row, structure in enumerate(result.relaxed):
        assert by_row[row]["volume"] == pytest.approx(structure.volume / len(structure), abs=1e-3)
        assert by_row[row]["y"] == pytest.approx(run.energies[row])
        assert by_row[row]["is_relaxed"]
    assert not by_row[5]["is_relaxed"]
    known = [point for point in page.ladder["points"] if point["row"] is None]
    assert {point["name"] for point in known} <= {one.name for one in run.hull.phases}
    assert generation_page(run.folder, run.record, run.result, run.hull, run.known).ladder is None


PIXEL_OF_ROW = """
const plot = document.getElementById("ladder-plot");
plot.scrollIntoView({block: "center", behavior: "instant"});
for (const trace of plot.data) {
  const k = (trace.customdata || []).findIndex((_, n) => trace.text[n].startsWith(`<b>${arguments[0]}</b>`));
  if (k < 0) continue;
  const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.d2p(trace.x[k]), box.y + yaxis._offset + yaxis.d2p(trace.y[k])];
}
"""


@pytest.mark.slow
def test_a_click_on_the_ladder_selects(browser, finished_run, of_one_formula):
    result, folder = of_one_formula
    browser.open(write_generation_report(folder, finished_run.record, result, finished_run.hull, finished_run.known))
    for row in (2, 1, 5):
        x, y = browser.run(PIXEL_OF_ROW, result.names[row])
        browser.mouse("move_to_location", round(x), round(y))
        browser.wait("return document.querySelector('#ladder-plot .hovertext') !== null")
        browser.mouse("click")
        browser.wait(f"return document.querySelector('tr[aria-selected=true]').dataset.row === '{row}'")
        assert browser.text("structure-name") == result.names[row]
    browser.click("#energies button:nth-child(2)")
    assert browser.run("return document.getElementById('hull-plot').offsetParent !== null")
    assert browser.run("return document.getElementById('ladder-plot').offsetParent === null")
