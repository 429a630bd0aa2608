import csv
from io import StringIO

import pytest

from crystalgraph.io.csv_table import csv_text, unescaped

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\n=1", "'=1", "''=1", "-", "=", "-Nb"]
PLAIN = ["NbO", "mp-1", "'quoted'", "'", "a=1", "-1.5", "+2", "1e-3", "-inf", "", " =1", "Å", "a\nb"]


def cells(text):
    return [row[0] for row in csv.reader(StringIO(text, newline=""))]


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN])
def test_a_text_comes_back_as_it_was_and_is_no_formula(text):
    header, cell = cells(csv_text([{"name": text}], ["name"])) if text else ("name", "")
    assert header == "name"
    assert unescaped(cell) == text
    assert cell == (f"'{text}" if text in FORMULAS else text)


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "\r=1"])
def test_ends_of_lines_stay_in_their_cell(text):
    _, cell = cells(csv_text([{"name": text}], ["name"]))
    assert unescaped(cell) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_a_header_is_no_formula_either():
    assert cells(csv_text([{"=a": -1.5}], ["=a"])) == ["'=a", "-1.5"]


def test_numbers_stay_numbers():
    rows = [{"a": -0.000123456789}, {"a": -3}, {"a": float("-inf")}, {"a": None}, {"a": True}]
    assert csv_text(rows, ["a"]) == 'a\n-0.000123457\n-3\n""\n""\nyes\n'
