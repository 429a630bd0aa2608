"""Powder patterns on the page: lines with any radiation, and crystals found by a measured pattern; in Chromium."""

import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import WAVELENGTHS, XRDCalculator

from crystalgraph.crystals.powder_similarity import PowderPattern
from crystalgraph.crystals.reflections import reflections
from crystalgraph.known.phases import known_phases
from crystalgraph.report.crystal_data import Crystal, Version
from crystalgraph.report.drawing import conventional
from crystalgraph.report.page import Column, FunnelLine, Page, write_page

pytestmark = pytest.mark.slow

N_CRYSTALS, N_TARGETS = 100, 4


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A page with a hundred different crystals of niobium, titanium and oxygen."""
    phases = [*known_phases("Nb-O").structures, *known_phases("Ti-O").structures]
    structures = [structure for structure in phases if 2 <= len(structure) <= 30]
    structures = (structures + [s.copy().scale_lattice(1.3 * s.volume) for s in structures])[:N_CRYSTALS]
    assert len(structures) == N_CRYSTALS
    names = [f"crystal {k}" for k in range(N_CRYSTALS)]
    page = Page(
        title="Nb–Ti–O",
        kind="crystals",
        lead="",
        figures=[],
        unit="crystal",
        funnel=[FunnelLine(name="crystals", count=N_CRYSTALS)],
        columns=[Column(key="place", label="#"), Column(key="name", label="name", kind="text")],
        rows=[{"place": k, "name": name} for k, name in enumerate(names)],
        n_rows=N_CRYSTALS,
        rows_file="none",
        crystals=[
            Crystal(
                name=name,
                formula=structure.composition.reduced_formula,
                facts=[],
                versions=[Version(label="", structure=structure)],
            )
            for name, structure in zip(names, structures, strict=True)
        ],
    )
    return write_page(tmp_path_factory.mktemp("hundred"), page), structures


def measured(structure, rng, *, radiation="CuKa", width=0.2, strain=0.0):
    """A pattern as a diffractometer gives it: Gaussian lines, a background that falls, and counting noise."""
    cell = structure.copy().scale_lattice(structure.volume * (1 + strain) ** 3)
    lines = XRDCalculator(radiation).get_pattern(cell, two_theta_range=(8, 92))
    angles = np.arange(10, 90, 0.02)
    sigma = width / np.sqrt(8 * np.log(2))
    counts = sum(part * np.exp(-0.5 * ((angles - at) / sigma) ** 2) for at, part in zip(lines.x, lines.y, strict=True))
    noisy = rng.poisson(20 * (counts + 5 + 20 * np.exp(-angles / 30)))
    return "\n".join(f"{angle:.3f} {count}" for angle, count in zip(angles, noisy, strict=True))


@pytest.mark.parametrize("strain", [0.0, 0.015, -0.02])
def test_a_measured_pattern_finds_its_crystal_first_among_a_hundred(browser, hundred, tmp_path, strain):
    page, structures = hundred
    rng = np.random.default_rng(round(1000 * strain) + 100)
    browser.open(page)
    for target in rng.choice(N_CRYSTALS, N_TARGETS, replace=False):
        file = tmp_path / f"{target}.xy"
        file.write_text(f"# 2theta counts\n{measured(structures[target], rng, strain=strain)}\n")
        browser.driver.find_element("id", "measured-file").send_keys(str(file))
        browser.wait(f"return document.getElementById('pattern-said').textContent.startsWith('{file.name}')")
        equal = [k for k, other in enumerate(structures) if structures[target].matches(other)]  # in any scale
        assert int(browser.column("name")[0].split()[1]) in equal, f"target {target}, strain {strain}"
        assert browser.selected() in map(str, equal)
        values = [float(text) for text in browser.column("match") if text]
        assert values == sorted(values, reverse=True)
        assert values[0] > 0.95
    browser.click("#unmeasure")
    assert browser.run("return document.querySelector('#table th[data-key=match]').hidden")


@pytest.mark.parametrize("strange", ["", "a b\n" * 50, "1 2\n" * 50, "\n".join(f"{k} 0" for k in range(10, 90))])
def test_a_file_that_is_no_pattern_is_said(browser, hundred, tmp_path, strange):
    browser.open(hundred[0])
    file = tmp_path / "<b>none.xy"
    file.write_text(strange)
    browser.driver.find_element("id", "measured-file").send_keys(str(file))
    browser.wait("return document.getElementById('pattern-said').textContent !== ''")
    assert browser.text("pattern-said").startswith("<b>none.xy is no pattern: ")
    assert browser.run("return document.querySelector('#table th[data-key=match]').hidden")


@pytest.mark.parametrize("separator", ["\t", ",", ";", " , "])
@pytest.mark.parametrize("head", ["", "2theta,counts\n", "! made on a Tuesday\n"])
def test_patterns_are_read_however_they_are_written(browser, hundred, separator, head):
    browser.open(hundred[0])
    text = head + "\r\n".join(f"{10 + k / 10:.1f}{separator}{100 + k}{separator}3" for k in range(200))
    found = browser.run("const p = readPattern(arguments[0]); return [p.angles, p.counts]", text)
    assert found[0] == pytest.approx([10 + k / 10 for k in range(200)])
    assert found[1] == [100 + k for k in range(200)]


def test_decimal_commas_are_read(browser, hundred):
    browser.open(hundred[0])
    text = "\n".join(f"{10 + k / 10:.1f} {k},5".replace(".", ",") for k in range(100))
    found = browser.run("const p = readPattern(arguments[0]); return [p.angles, p.counts]", text)
    assert found == [pytest.approx([10 + k / 10 for k in range(100)]), [k + 0.5 for k in range(100)]]


@pytest.mark.parametrize(("name", "radiation"), [("Mo", "MoKa"), ("Co", "CoKa"), ("Cu Kα1", "CuKa1")])
def test_lines_lie_where_pymatgen_puts_them_with_any_radiation(browser, hundred, name, radiation):
    page, structures = hundred
    browser.open(page)
    browser.write(str(WAVELENGTHS[radiation]), into="radiation")
    shown = "return document.getElementById('radiation').selectedOptions[0].textContent"
    assert browser.run(shown).startswith(name)
    angles, parts = browser.run("const {x, y} = document.getElementById('pattern').data.at(-1); return [x, y]")
    expected = XRDCalculator(radiation).get_pattern(structures[0], two_theta_range=(0, max(angles) + 0.01))
    strong = expected.y > 1
    for angle, part in zip(expected.x[strong], expected.y[strong], strict=True):
        nearest = int(np.abs(np.array(angles) - angle).argmin())
        assert angles[nearest] == pytest.approx(angle, abs=0.01)
        assert parts[nearest] == pytest.approx(part, abs=0.1)


def test_a_crystal_is_as_similar_to_itself_as_can_be_and_to_others_less(browser, hundred):
    page, structures = hundred
    browser.open(page)
    lines = [reflections(structure, conventional(structure)[1]) for structure in structures[:12]]
    script = """
    const match = patternMatcher(simulatedPattern(arguments[0], 1.54184, 0.15), 1.54184, 0.15);
    return arguments[1].map((other) => match.fine(other, match.rough(other).scale).similarity);
    """
    for k in (0, 5, 11):
        values = browser.run(script, lines[k], lines)
        assert values[k] == pytest.approx(1, abs=0.01)
        assert max(values) <= 1


def test_page_and_library_say_the_same_similarity(browser, hundred):
    page, structures = hundred
    browser.open(page)
    rng = np.random.default_rng(7)
    script = """
    const pattern = preparedPattern(readPattern(arguments[0]));
    const rough = patternMatcher(pattern, 1.54184, 0.15).rough;
    const found = arguments[1].map((lines) => [lines, rough(lines)]);
    const [[lines, { scale }]] = [...found].sort((one, other) => other[1].similarity - one[1].similarity);
    const width = fittedWidth(pattern, 1.54184, lines, scale);
    const { fine } = patternMatcher(pattern, 1.54184, width);
    return [width, found.map(([own, match]) => fine(own, match.scale).similarity)];
    """
    few = structures[3:40:3]
    for target, strain in ((0, 0.01), (5, -0.02)):
        text = measured(few[target], rng, strain=strain, width=0.3)
        lines = [reflections(structure, conventional(structure)[1]) for structure in few]
        width, expected = browser.run(script, text, lines)
        angles, counts = np.array([line.split() for line in text.splitlines()], float).T
        found, own = PowderPattern.of(angles.tolist(), counts.tolist(), 1.54184).similarities(few)
        assert own == width
        assert found == pytest.approx(expected, abs=2e-4)
        assert max(range(len(few)), key=lambda k: found[k]) == target
