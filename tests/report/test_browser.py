"""The page in headless Chromium; one browser for all tests."""

import json
import os
import shutil
import time

import pytest

pytestmark = pytest.mark.slow

WIDE, NARROW = (1400, 900), (390, 844)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1400,900"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

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

COLUMN = """
const k = [...document.querySelectorAll("#table thead th")].findIndex((th) => th.dataset.key === arguments[0]);
return [...document.querySelectorAll("#table tbody tr")].filter((tr) => !tr.hidden)
  .map((tr) => tr.cells[k].textContent.trim());
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


class Browser:
    """Chromium with what the tests look at."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, path, size=WIDE, *, dark=False):
        """Load a page anew, at a width and a preference of colours."""
        width, height = size
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.said(), self.sent()
        self.driver.get(path.as_uri())
        self.wait("return document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, seconds=10.0):
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.02)
        return found

    def click(self, selector):
        """As a mouse does it."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def mouse(self, what, *where):
        """Move it or press it."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        actions = ActionBuilder(self.driver)
        getattr(actions.pointer_action, what)(*where)
        actions.perform()

    def said(self):
        """What the console got since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def sent(self):
        """Addresses requested since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def column(self, key):
        """Texts of the rows that are shown, in order."""
        return self.run(COLUMN, key)

    def write(self, text):
        """Type into the filter."""
        self.run(
            "const box = document.getElementById('filter'); box.value = arguments[0];"
            "box.dispatchEvent(new Event('input', {bubbles: true}))",
            text,
        )

    def selected(self):
        return self.run("return document.querySelector('tr[aria-selected=true]').dataset.row")

    def download(self):
        """What one gets by the button."""
        before = set(self.downloads.iterdir())
        self.click("#download")
        end = time.monotonic() + 10
        while not (new := {path for path in self.downloads.iterdir() if path.suffix == ".cif"} - before):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.02)
        return new.pop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        reason = "chromium and chromedriver are not here; apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_argument("about:blank")  # not the page of a new tab, which is large
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield Browser(driver, downloads)
    driver.quit()


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
    found = browser.download()
    assert found.name == name
    assert found.read_bytes() == (finished_run.folder / "relaxed" / name).read_bytes()

    browser.open(judged.folder / "report.html")
    row = browser.column("name").index(judged.hostile.stem)
    browser.click(f"tr[data-row='{row}'] td")
    assert browser.download().read_bytes() == judged.hostile.read_bytes()


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
