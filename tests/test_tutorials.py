"""The notebooks under docs/tutorials run from the first cell to the last, and are stored without what they printed."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_there_are_three_and_the_docs_name_each():
    named = re.findall(r"tutorials/([\w-]+)\.ipynb", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert sorted(named) == [path.stem for path in NOTEBOOKS]
    assert len(NOTEBOOKS) == 3


def test_a_notebook_is_valid_and_holds_no_output(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)
            assert cell.outputs == []
            assert cell.execution_count is None


def test_its_links_lead_somewhere(notebook):
    for cell in notebook.cells:
        for target in re.findall(r"\]\(([^)#]+)", cell.source) if cell.cell_type == "markdown" else []:
            assert (ROOT / "docs" / "tutorials" / target).exists(), target


@pytest.mark.slow
def test_a_notebook_runs(notebook, tmp_path):
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("text/html" in output.get("data", {}) for output in shown), "tables are shown as such"
