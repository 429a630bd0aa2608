"""The page and the README's table are what the committed results give, and every figure in them comes from these."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tools.bench import docs, tables
from tools.bench.record import RESULTS, ROOT
from tools.bench.results import MEASUREMENTS, load, shipped_weights
from tools.bench.sections import SECTIONS, WORDS

FIGURE = re.compile(r"\d+\.\d+")
PAGE = docs.page(RESULTS, shipped_weights())
WITH_PLACE = f"# Title\n\n{docs.BEGIN}\nold\n{docs.END}\n\nmore\n"


@pytest.fixture
def copied(tmp_path):
    """A copy of the results, and the page and a README that they give."""
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png"))
    (tmp_path / "README.md").write_text(WITH_PLACE)
    assert docs.main(options(tmp_path)) == 0
    return tmp_path


def options(folder: Path, *more: str) -> list[str]:
    places = {"--results": "results", "--page": "docs/benchmarks.md", "--readme": "README.md"}
    return [*(word for option, name in places.items() for word in (option, str(folder / name))), *more]


def changed(content, change):
    """A result with another number in each place; of counts in those from which rates are worked out for the page."""
    if isinstance(content, dict):
        counts = {key: content[key] // 2 for key in ("matched", "found_relaxed") if key in content}
        return {key: changed(value, change) for key, value in content.items()} | counts
    if isinstance(content, list):
        return [changed(value, change) for value in content]
    return change(content) if isinstance(content, float) else content


def test_committed_page_and_readme_are_what_the_results_give(capsys):
    assert docs.main(["--check"]) == 0, capsys.readouterr().err


def test_written_pages_pass_the_check_and_stay(copied, capsys):
    written = (copied / "docs" / "benchmarks.md").read_text()
    assert written == PAGE
    readme = (copied / "README.md").read_text()
    assert readme.startswith("# Title\n\n")
    assert readme.endswith("\n\nmore\n")
    assert "old" not in readme
    assert tables.five_rows(copied / "results") in readme
    assert docs.main(options(copied, "--check")) == 0
    capsys.readouterr()
    assert docs.main(options(copied)) == 0
    assert "wrote" not in capsys.readouterr().out


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_changed_number_fails_the_check_in_one_line(copied, capsys, name):
    path = copied / "results" / f"{name}.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), lambda value: value * 0.9 + 0.02)))
    capsys.readouterr()
    assert docs.main(options(copied, "--check")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(copied / "docs" / "benchmarks.md") in line
    assert "python -m tools.bench docs" in line


def test_a_changed_page_fails_the_check(copied):
    page = copied / "docs" / "benchmarks.md"
    page.write_text(page.read_text().replace("0.75 (", "0.76 (", 1))
    assert docs.main(options(copied, "--check")) == 1
    page.unlink()
    assert docs.main(options(copied, "--check")) == 1


def test_a_changed_table_of_the_readme_fails_the_check(copied):
    readme = copied / "README.md"
    text = readme.read_text()
    assert "n = 1,000" in text
    readme.write_text(text.replace("n = 1,000", "n = 1,001"))
    assert docs.main(options(copied, "--check")) == 1


def test_a_readme_without_a_place_is_left_alone_and_said(copied, capsys):
    (copied / "README.md").write_text("# Title\n")
    capsys.readouterr()
    assert docs.main(options(copied, "--check")) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert docs.BEGIN in line
    assert docs.main(options(copied)) == 0
    assert (copied / "README.md").read_text() == "# Title\n"


def test_every_figure_comes_from_the_results(copied):
    """If all numbers of all results are others, no line of figures stays as it was."""
    for name in MEASUREMENTS:
        path = copied / "results" / f"{name}.json"
        path.write_text(json.dumps(changed(json.loads(path.read_text()), lambda value: value * 0.7 + 0.11)))
    others = set(docs.page(copied / "results", shipped_weights()).splitlines())
    others |= set(tables.five_rows(copied / "results").splitlines())
    lines = [*PAGE.replace(WORDS, "").splitlines(), *tables.five_rows(RESULTS).splitlines()]
    figures = [line for line in lines if FIGURE.search(line)]
    assert len(figures) > 80
    same = [line for line in figures if line in others]
    constants = ("(0.3, 0.5, 10°)", "DiffCSP reports")  # others' settings and figures
    assert [line for line in same if not any(text in line for text in constants)] == []


def test_every_result_is_shown_with_its_command_and_date():
    assert {path.stem for path in RESULTS.glob("*.json")} == set(MEASUREMENTS)
    assert {name for section in SECTIONS for name in section.results} == set(MEASUREMENTS)
    for name, measurement in MEASUREMENTS.items():
        assert "\n".join(measurement.commands) in PAGE
        assert f"`{name}.json`, {load(RESULTS, name).get('date', measurement.date)}" in PAGE


def test_links_lead_to_sections_and_pictures():
    text = PAGE + tables.five_rows(RESULTS)
    anchors = set(re.findall(r'<a id="([^"]+)">', PAGE))
    assert set(re.findall(r"\]\([^)]*#([^)]+)\)", text)) == anchors
    for image in re.findall(r"!\[.*?\]\((.*?)\)", PAGE):
        assert (ROOT / "docs" / image).resolve().is_file(), image
