import pytest
from pymatgen.symmetry.groups import SpaceGroup

from crystalgraph.report.notation import formula_html, formula_text, group_html, group_text


def test_formulas_have_subscripts():
    assert str(formula_html("Nb12O29")) == "Nb<sub>12</sub>O<sub>29</sub>"
    assert formula_text("Ca3(PO4)2") == "Ca₃(PO₄)₂"


def test_what_is_no_formula_is_escaped():
    assert "<img" not in str(formula_html("<img src=x>"))


@pytest.mark.parametrize(
    ("number", "text"),
    [(2, "P1̅ (2)"), (12, "C2/m (12)"), (141, "I4₁/amd (141)"), (225, "Fm3̅m (225)"), (230, "Ia3̅d (230)")],
)
def test_space_groups_are_written_as_in_the_tables(number, text):
    assert group_text(number) == text
    assert f">{number}<" in str(group_html(number))


@pytest.mark.slow
def test_symbols_are_those_pymatgen_reads():
    lowered = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
    for number in range(1, 231, 3):
        symbol = group_text(number).rpartition(" ")[0]
        plain = "".join(f"_{c.translate(lowered)}" if c in "₁₂₃₄₅" else c for c in symbol)
        while (bar := plain.find("\u0305")) >= 0:
            plain = f"{plain[: bar - 1]}-{plain[bar - 1]}{plain[bar + 1 :]}"
        assert SpaceGroup(plain).int_number == number


def test_no_group_is_nothing():
    assert (group_text(None), str(group_html(None))) == ("", "")
