"""Headless Chromium with what the tests of pages look at."""

import json
import os
import shutil
import time

import pytest

WIDE, NARROW = (1400, 900), (390, 844)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1400,900"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

COLUMN = """
const k = [...document.querySelectorAll("#table thead th")].findIndex((th) => th.dataset.key === arguments[0]);
return [...document.querySelectorAll("#table tbody tr")].filter((tr) => !tr.hidden)
  .map((tr) => tr.cells[k].textContent.trim());
"""


class Browser:
    """Chromium with what the tests look at."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, path, size=WIDE, *, dark=False, crystal=None):
        """Load a page anew, at a width and a preference of colours, and with a crystal in its address."""
        width, height = size
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.said(), self.sent()
        self.driver.get(path.as_uri() + (f"#crystal={crystal}" if crystal else ""))
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

    def write(self, text, into="filter"):
        """Put a text into a field, as if it were typed or chosen."""
        self.run(
            "const box = document.getElementById(arguments[1]); box.value = arguments[0];"
            "for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind, {bubbles: true}))",
            text,
            into,
        )

    def text(self, name):
        """What an element says."""
        return self.run("return document.getElementById(arguments[0]).textContent.trim()", name)

    def selected(self):
        return self.run("return document.querySelector('tr[aria-selected=true]').dataset.row")

    def download(self, selector):
        """The file that one gets by a button."""
        before = set(self.downloads.iterdir())
        self.click(selector)
        end = time.monotonic() + 10

        def finished(path):
            return path.suffix not in (".crdownload", ".tmp") and not path.name.startswith(".")

        while not (new := set(filter(finished, self.downloads.iterdir())) - before):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.02)
        return new.pop()


def chromium(downloads, profile):
    """A browser that saves into a folder; skips the test where there is none, which fails in CI."""
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        reason = "chromium and chromedriver are not here; apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_argument("about:blank")  # not the page of a new tab, which is large
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Browser(webdriver.Chrome(options=options, service=Service(programs[1])), downloads)
