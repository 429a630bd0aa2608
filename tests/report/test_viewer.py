"""The crystal viewer in headless Chromium, against pymatgen."""

import re
from io import BytesIO

import numpy as np
import pytest

from crystalgraph.report.drawing import conventional

pytestmark = pytest.mark.slow

ATOMS = """
const view = document.getElementById("view"), box = view.getBoundingClientRect(), found = {};
for (let x = 4; x < box.width; x += 4) for (let y = 4; y < box.height; y += 4) {
  view.dispatchEvent(new PointerEvent("pointermove", {clientX: box.x + x, clientY: box.y + y, pointerId: 9}));
  const label = document.getElementById("atom").textContent.split(",")[0];
  if (label) (found[label] = found[label] || []).push([box.x + x, box.y + y]);
}
return found;
"""


def atoms_on_screen(browser):
    """Label -> a point where that atom is in front."""
    browser.run("document.getElementById('view').scrollIntoView({block: 'center', behavior: 'instant'})")
    found = browser.run(ATOMS)
    middle = {}
    for label, points in found.items():  # the point that most others of the atom surround
        near = [sum(np.hypot(x - a, y - b) < 14 for a, b in points) for x, y in points]
        middle[label] = points[int(np.argmax(near))]
    return middle


def click_at(browser, point):
    browser.mouse("move_to_location", round(point[0]), round(point[1]))
    browser.mouse("click")


@pytest.fixture
def rutile(browser, finished_run):
    """The page with rutile chosen, and pymatgen's cell of it with labels as the page has them."""
    browser.open(finished_run.folder / "report.html", crystal=finished_run.result.names[1])
    cell = conventional(finished_run.result.relaxed[1])[0]
    counts, labels = {}, []
    for site in cell:
        symbol = site.specie.symbol
        counts[symbol] = counts.get(symbol, 0) + 1
        labels.append(f"{symbol}{counts[symbol]}")
    return cell, labels


def distances(rutile, one, other):
    """Of two atoms by pymatgen, each with its images in the cells around."""
    cell, labels = rutile
    grid = np.stack(np.meshgrid(*[range(-3, 4)] * 3), -1).reshape(-1, 3)
    start, end = (cell.frac_coords[labels.index(label)] for label in (one, other))
    return np.linalg.norm(cell.lattice.get_cartesian_coords(end - start + grid), axis=1)


def test_distance_and_angle_of_picked_atoms_are_pymatgens(browser, rutile):
    points = atoms_on_screen(browser)
    assert {label.rstrip("0123456789") for label in points} == {"Nb", "O"}
    picked = [*sorted(label for label in points if label.startswith("Nb"))[:1], *sorted(points)[-2:]]
    for label in picked[:2]:
        click_at(browser, points[label])
    (one, other, length) = re.fullmatch(r"(\w+)–(\w+) ([\d.]+) Å", browser.text("measured")).groups()
    assert [one, other] == picked[:2]
    assert np.abs(distances(rutile, one, other) - float(length)).min() < 6e-4

    click_at(browser, points[picked[2]])
    assert browser.text("measured").count(";") == 2, (picked, points)
    first, second, angle = browser.text("measured").split("; ")
    sides = [float(text.split()[1]) for text in (first, second)]
    assert np.abs(distances(rutile, picked[1], picked[2]) - sides[1]).min() < 6e-4
    cosine = np.cos(np.radians(float(angle.split()[-1].rstrip("°"))))
    third = np.sqrt(sides[0] ** 2 + sides[1] ** 2 - 2 * sides[0] * sides[1] * cosine)
    browser.click("#unpick")
    assert browser.text("measured") == ""
    points = atoms_on_screen(browser)
    for label in (picked[0], picked[2]):
        click_at(browser, points[label])
    assert float(browser.text("measured").split()[1]) == pytest.approx(third, abs=2e-3)


def test_atoms_are_picked_by_keys_too(browser, rutile):
    browser.run("document.getElementById('view').focus()")
    keys = browser.driver.switch_to.active_element
    keys.send_keys(".\ue007..\ue007")  # the first atom, Enter, the third, Enter
    one, other, length = re.fullmatch(r"(\w+)–(\w+) ([\d.]+) Å", browser.text("measured")).groups()
    assert np.abs(distances(rutile, one, other) - float(length)).min() < 6e-4
    keys.send_keys("\ue00c")
    assert browser.text("measured") == ""


def test_neighbours_that_are_named_are_pymatgens(browser, rutile):
    cell, labels = rutile
    browser.run("document.getElementById('view').focus()")
    keys = browser.driver.switch_to.active_element
    said = set()
    for _ in range(30):
        keys.send_keys(".")
        said.add(browser.text("atom"))
    for text in said:
        label, number = re.fullmatch(r"(\w+), (\d+) neighbours", text).groups()
        around = cell.get_neighbors(cell[labels.index(label)], 2.6)
        assert int(number) == sum(n.specie != cell[labels.index(label)].specie for n in around)


def drawn_atoms(browser, structure, cells):
    """Atoms that the page draws of a cell, by its own function."""
    from crystalgraph.report.drawing import scene

    script = """
    const s = repeatedScene(arguments[0], arguments[1]);
    return [s.atoms.map((a) => [a.element[0], ...a.at]), s.bonds];
    """
    atoms, bonds = browser.run(script, scene(structure), cells)
    return [atom[0] for atom in atoms], np.array([atom[1:] for atom in atoms]), bonds


def test_rock_salt_shows_all_corners_and_faces(browser, finished_run, crystals):
    browser.open(finished_run.folder / "report.html")
    symbols, positions, bonds = drawn_atoms(browser, conventional(crystals["rock salt"])[0], [1, 1, 1])
    inside = ((positions > -0.01) & (positions < 4.41)).all(1)
    assert sorted((symbols.count("Nb"), int(inside.sum()))) == [14, 27]
    lengths = [np.linalg.norm(positions[i] - positions[j]) for i, j in bonds]
    assert lengths == pytest.approx([2.2] * len(bonds), abs=1e-4)
    assert len(bonds) == 14 * 6, "each of the 14 niobium atoms has its six oxygens"


@pytest.mark.parametrize("name", ["rutile", "wurtzite", "sphalerite"])
@pytest.mark.parametrize("cells", [(2, 1, 1), (2, 2, 2)])
def test_repeated_cells_are_those_of_the_supercell(browser, finished_run, crystals, name, cells):
    browser.open(finished_run.folder / "report.html")
    cell = conventional(crystals[name])[0]
    symbols, positions, bonds = drawn_atoms(browser, cell, list(cells))
    large_symbols, large, large_bonds = drawn_atoms(browser, cell * cells, [1, 1, 1])
    assert sorted(symbols) == sorted(large_symbols)
    assert len(bonds) == len(large_bonds)
    order, large_order = (np.lexsort(p.round(2).T) for p in (positions, large))
    assert positions[order] == pytest.approx(large[large_order], abs=2e-3)


@pytest.mark.usefixtures("rutile")
def test_the_wheel_and_the_choices_change_the_picture(browser):
    def picture():
        return browser.run("return document.getElementById('view').toDataURL()")

    seen = {picture()}
    browser.run(
        "document.getElementById('view').dispatchEvent(new WheelEvent('wheel', {deltaY: -300, cancelable: true}))"
    )
    seen.add(picture())
    for into, value in (("labels", "site"), ("labels", "coordination"), ("cells", "2 2 1")):
        browser.write(value, into=into)
        seen.add(picture())
    assert len(seen) == 5
    browser.click("#versions button:nth-child(2)")
    assert browser.run("return document.getElementById('cells').value") == "2 2 1"


@pytest.mark.usefixtures("rutile")
def test_the_picture_is_saved_as_png(browser, finished_run):
    from matplotlib.image import imread

    file = browser.download("#picture")
    assert file.name == f"{finished_run.result.names[1]}.png"
    pixels = imread(BytesIO(file.read_bytes()))
    assert pixels.shape[1] == 2400
    assert len(np.unique((pixels[::7, ::7, :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 100
    assert pixels[..., 3].min() == 1, "the ground is painted"


@pytest.mark.usefixtures("rutile")
def test_the_viewer_fills_the_screen_and_leaves_it(browser):
    before = browser.run("return document.getElementById('view').clientHeight")
    browser.click("#whole")
    browser.wait("return document.getElementById('whole').textContent === 'Leave full screen'")
    browser.wait(f"return document.getElementById('view').clientHeight > {before}")
    browser.click("#whole")
    browser.wait(f"return document.getElementById('view').clientHeight === {before}")


def test_what_can_be_used_has_a_name(browser, finished_run, judged):
    nameless = """
    return [...document.querySelectorAll("button, input, select, canvas, [role=region], [role=group]")]
      .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() && e.tagName === "BUTTON" ||
        (e.labels && e.labels.length) || e.hidden || e.getAttribute("aria-labelledby")))
      .map((e) => e.outerHTML.slice(0, 80));
    """
    for run in (finished_run, judged):
        browser.open(run.folder / "report.html")
        assert browser.run(nameless) == []
