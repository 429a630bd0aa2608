"""The page in headless Chromium; one browser for all tests."""

import pytest

from tests.chromium import NARROW, WIDE

pytestmark = pytest.mark.slow

PIXEL_OF_ROW = """
const plot = document.getElementById("hull-plot");
plot.scrollIntoView({block: "center", behavior: "instant"});
for (const trace of plot.data) {
  const k = (trace.customdata || []).indexOf(arguments[0]);
  if (k < 0) continue;
  const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.d2p(trace.x[k]), box.y + yaxis._offset + yaxis.d2p(trace.y[k])];
}
"""

N_COLORS = """
const view = document.getElementById("view");
const pixels = view.getContext("2d").getImageData(0, 0, view.width, view.height).data, found = new Set();
for (let k = 0; k < pixels.length; k += 4) if (pixels[k + 3]) found.add(pixels.slice(k, k + 3).join());
return found.size;
"""

INK_AND_GROUND = """
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (color.startsWith("rgb(")) return color;
  }
};
const texts = "p, dt, dd, td, th, li, a, button, summary, h1, h2, h3, small, .meaning, .count";
return [...document.querySelectorAll(texts)].filter((e) => e.offsetParent)
  .map((e) => [e.tagName, getComputedStyle(e).color, ground(e)]);
"""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1400", "390"])
@pytest.mark.parametrize("which", ["finished_run", "judged"])
def test_no_word_on_the_console_no_request_no_sideways_scroll(browser, request, which, size):
    page = request.getfixturevalue(which).folder / "report.html"
    browser.open(page, size, dark=size == NARROW)
    for expected in ([page.as_uri()], []):  # as loaded, and in the other colours
        assert browser.said() == []
        assert browser.sent() == expected
        assert browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
        widths = browser.run("const page = document.documentElement; return [page.scrollWidth, page.clientWidth]")
        assert widths[0] == widths[1]
        browser.click("#theme")
    assert browser.run("return window.hacked === undefined")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1400", "390"])
def test_a_click_in_the_hull_selects_the_structure(browser, finished_run, size):
    browser.open(finished_run.folder / "report.html", size)
    assert browser.selected() == "0"
    names = finished_run.result.names
    for row in (3, 1):
        x, y = browser.run(PIXEL_OF_ROW, row)
        browser.mouse("move_to_location", round(x), round(y))
        browser.wait("return document.querySelector('#hull-plot .hovertext') !== null")
        said = browser.run("return document.querySelector('#hull-plot .hovertext').textContent").replace("\u200b", "")
        outcome = finished_run.result.outcomes[row]
        assert finished_run.result.samples[row].formula in said
        assert f"({outcome.relaxed_space_group})" in said
        assert f"+{outcome.e_above_hull:.3f} eV/atom above the hull" in said
        browser.mouse("click")
        browser.wait(f"return document.querySelector('tr[aria-selected=true]').dataset.row === '{row}'")
        assert browser.run("return document.getElementById('structure-name').textContent") == names[row]
        text = (finished_run.folder / "relaxed" / f"{names[row]}.cif").read_text()
        assert browser.run("return document.getElementById('text').textContent") == text


def test_the_crystal_is_drawn_and_turns(browser, finished_run):
    def picture():
        return browser.run("return document.getElementById('view').toDataURL()")

    browser.open(finished_run.folder / "report.html")
    before = picture()
    assert browser.run(N_COLORS) > 100
    browser.run("document.getElementById('view').focus()")
    browser.driver.switch_to.active_element.send_keys("\ue014")  # the right arrow
    turned = picture()
    assert turned != before
    browser.click("#polyhedra")
    assert picture() != turned
    browser.click("#versions button:nth-child(2)")
    name = finished_run.result.names[0]
    assert browser.run("return document.getElementById('file').textContent") == f"structures/{name}.cif"


def test_the_table_sorts_and_filters(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    atoms = [len(structure) for structure in finished_run.result.structures]
    head = "#table th[data-key=atoms] button"
    browser.click(head)
    assert browser.column("atoms") == [str(n) for n in sorted(atoms)]
    browser.click(head)
    assert browser.column("atoms") == [str(n) for n in sorted(atoms, reverse=True)]
    browser.click("#table th[data-key=e_hull] button")
    assert browser.column("e_hull") == [*(f"{energy:.3f}" for energy in finished_run.energies), "", ""]
    browser.click("#table th[data-key=e_hull] button")
    assert browser.column("e_hull") == [*(f"{energy:.3f}" for energy in finished_run.energies[::-1]), "", ""]

    browser.write("e_hull<=0.05")
    assert browser.column("e_hull") == ["0.050", "0.012"]
    browser.write("NbO2")
    assert browser.column("formula") == ["NbO2"]
    browser.write("nbo atoms<=2 group=225")
    assert browser.column("file") == ["0001_NbO_sg225"]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 6"
    browser.write("nonsense<3")
    assert browser.run("return document.getElementById('filter').getAttribute('aria-invalid')") == "true"
    browser.write("")
    assert len(browser.column("formula")) == 6


def test_the_table_is_used_with_the_keyboard(browser, finished_run):
    browser.open(finished_run.folder / "report.html")
    browser.run("document.querySelector('tr[aria-selected=true]').focus()")
    for key, row in (("\ue015", "1"), ("\ue015", "2"), ("\ue013", "1"), ("\ue010", "5"), ("\ue011", "0")):
        browser.driver.switch_to.active_element.send_keys(key)  # down, down, up, end, home
        assert browser.selected() == row
        assert browser.run("return document.activeElement.dataset.row") == row
    assert browser.run("return document.querySelectorAll('tbody tr[tabindex=\"0\"]').length") == 1


def test_what_is_downloaded_is_the_file(browser, finished_run, judged):
    browser.open(finished_run.folder / "report.html", NARROW)
    name = f"{finished_run.result.names[0]}.cif"
    found = browser.download("#download")
    assert found.name == name
    assert found.read_bytes() == (finished_run.folder / "relaxed" / name).read_bytes()

    browser.open(judged.folder / "report.html")
    row = browser.column("name").index(judged.hostile.stem)
    browser.click(f"tr[data-row='{row}'] td:nth-child(2)")
    assert browser.download("#download").read_bytes() == judged.hostile.read_bytes()


def luminance(color):
    """Relative luminance of a CSS colour, as WCAG defines it."""
    parts = [int(part) / 255 for part in color.strip("rgb()").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_colours_follow_the_system_and_the_button_and_text_stands_out(browser, finished_run, dark):
    browser.open(finished_run.folder / "report.html", dark=dark)
    for is_dark in (dark, not dark):
        label = browser.run("return document.getElementById('theme').getAttribute('aria-label')")
        assert label == f"Switch to {'light' if is_dark else 'dark'} colours"
        page, ink = browser.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
        assert (luminance(page) < luminance(ink)) is is_dark
        pairs = browser.run(INK_AND_GROUND)
        assert len(pairs) > 50
        for tag, text, ground in {tuple(pair) for pair in pairs}:
            high, low = sorted((luminance(text), luminance(ground)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (tag, text, ground)
        browser.click("#theme")
