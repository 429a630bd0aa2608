"""An evaluation looks at its inputs once, whatever they come in, and writes nothing unless it is told where."""

import json
import sys

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

import crystalgraph.report.evaluation  # noqa: F401 - imported when a page is written; what it imports is counted, too
from crystalgraph.crystals import conversion, validity
from crystalgraph.io.columns import COLUMNS
from crystalgraph.io.load import load
from crystalgraph.io.writing import write_structures
from crystalgraph.runs.evaluate import evaluate

pytestmark = pytest.mark.slow


def cubic(number, a, sites):
    return Structure.from_spacegroup(number, Lattice.cubic(a), ["Nb", "O"], sites)


STRUCTURES = {
    "CsCl": cubic(221, 2.8, [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "rock salt": cubic(225, 4.4, [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "sphalerite": cubic(216, 4.9, [[0, 0, 0], [0.25, 0.25, 0.25]]),
}
KNOWN = {"rs": STRUCTURES["rock salt"]}


@pytest.fixture
def cifs(tmp_path, monkeypatch):
    """A folder of three CIFs, in an empty folder of our own."""
    write_structures(list(STRUCTURES.values()), list(STRUCTURES), tmp_path / "cifs", "cif")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cifs"


@pytest.fixture
def count(monkeypatch):
    """Counts how many crystals go through a function, wherever it has been imported to."""

    def wrapped(module, name, size=len):
        original, sizes = getattr(module, name), []

        def counted(first, *rest, **options):
            sizes.append(size(first))
            return original(first, *rest, **options)

        for place in [place for key, place in sys.modules.items() if key.partition(".")[0] == "crystalgraph"]:
            if vars(place).get(name) is original:
                monkeypatch.setattr(place, name, counted)
        return sizes

    return wrapped


@pytest.mark.parametrize("out", [None, "judged"])
def test_each_input_is_questioned_converted_and_validated_once(cifs, count, out):
    known = load(KNOWN)
    assert known.structures
    questions = count(conversion, "structure_fault", size=lambda _: 1)
    to_tensors = count(conversion, "_crystals")
    back = count(conversion, "to_structures")
    validated = count(validity, "strict_validity")
    evaluation = evaluate(cifs, reference=known, out=None if out is None else str(cifs.parent / out))
    assert evaluation.record["counts"]["compared"] == 3
    assert sum(questions) == 3
    assert to_tensors == [3]
    assert back == []
    assert validated == [3]


def test_nothing_is_written_without_a_folder(cifs):
    before = sorted(cifs.parent.rglob("*"))
    evaluate(cifs)
    assert sorted(cifs.parent.rglob("*")) == before


@pytest.mark.slow
def test_whatever_the_crystals_come_in_the_verdicts_are_the_same(cifs):
    expected = evaluate(cifs, reference=KNOWN)
    for source in (str(cifs), STRUCTURES, load(cifs)):
        evaluation = evaluate(source, reference=KNOWN)
        assert evaluation.record["metrics"] == expected.record["metrics"]
        pd.testing.assert_frame_equal(evaluation.to_dataframe(), expected.to_dataframe(), rtol=1e-5)
    assert evaluate(cifs, reference=KNOWN).record["input"]["files"] == 3
    assert evaluate(STRUCTURES, reference=KNOWN).record["input"]["files"] == 0


@pytest.mark.slow
def test_the_result_shows_itself(cifs):
    evaluation = evaluate({**STRUCTURES, "<b>": "it was never made"}, reference=KNOWN, out=cifs.parent / "judged")
    assert repr(evaluation) == "Evaluation(4 inputs of Nb-O, 0 relaxed)"
    page = evaluation._repr_html_()
    assert "strictly_valid" in page
    assert "0.750" in page
    assert "msun" not in page, "what is absent is left out"
    table = evaluation.to_dataframe()
    assert set(table.columns) <= set(COLUMNS)
    assert table["known_phase"].tolist() == ["", "rs", "", ""]
    assert table["reason"].tolist() == ["", "", "", "it was never made"]
    written = pd.read_csv(cifs.parent / "judged" / "structures.csv", keep_default_na=False)
    assert written.columns.tolist() == table.columns.tolist()
    assert written["name"].tolist() == table["name"].tolist()
    record = json.loads((cifs.parent / "judged" / "metrics.json").read_text())
    assert record["metrics"] == evaluation.record["metrics"]
    assert evaluation.metrics is evaluation.judgement.metrics


def test_known_phases_that_could_not_be_read_are_told(cifs):
    (cifs / "broken.cif").write_text("")
    evaluation = evaluate(STRUCTURES, reference=cifs)
    assert evaluation.record["reference"]["unreadable"] == {"broken": "it holds no crystal"}
    assert any("1 known phases" in caveat and "not compared with" in caveat for caveat in evaluation.record["caveats"])
