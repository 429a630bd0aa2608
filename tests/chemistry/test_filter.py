import itertools

import numpy as np
import pytest
from pymatgen.core import Composition

from crystalgraph.chemistry.filter import CompositionFilter, StoichiometricRange, charge_neutral
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError

NB_O = ChemicalSystem.parse("Nb-O")


class ConstantPlausibility:
    """Scores by a table and counts what it was asked."""

    threshold = 0.2

    def __init__(self, **scores: float):
        self.scores, self.asked = scores, []

    def score(self, formulas):
        self.asked += [str(formula) for formula in formulas]
        return np.array([self.scores.get(str(formula), 1.0) for formula in formulas])


def reasons(rules: CompositionFilter, *formulas: str) -> list[str]:
    verdicts = rules.check(formulas)
    assert all(verdict.passed == (verdict.reason == "") for verdict in verdicts)
    assert [verdict.formula for verdict in verdicts] == [Formula.parse(text) for text in formulas]
    return [verdict.reason for verdict in verdicts]


def test_membership_wants_all_elements_and_no_other():
    assert reasons(CompositionFilter(system=NB_O), "NbO2", "TiO2", "Nb", "LiNbO3") == [
        "",
        "Ti outside the chemical system Nb-O",
        "no O, so not in the chemical system Nb-O",
        "Li outside the chemical system Nb-O",
    ]


def test_exact_formula_is_reduced_first():
    rules = CompositionFilter(system=NB_O, formula=Formula.parse("Nb2O5"))
    assert reasons(rules, "Nb8O20", "NbO2") == ["", "formula is NbO2, not Nb2O5"]


def test_ranges_include_their_ends():
    ratio = CompositionFilter(system=NB_O, ranges=(StoichiometricRange.parse("O/Nb=1:2.5"),))
    assert reasons(ratio, "NbO", "Nb2O5", "NbO3") == ["", "", "O/Nb is 3, outside 1:2.5"]
    fraction = CompositionFilter(system=NB_O, ranges=StoichiometricRange.from_mapping({"O": (0.5, 0.7)}))
    assert reasons(fraction, "NbO", "NbO2", "Nb2O5") == ["", "", "fraction of O is 0.7143, outside 0.5:0.7"]
    assert StoichiometricRange.from_mapping({"O/Nb": (1, 2.5)}) == (StoichiometricRange.parse(" O / Nb = 1 : 2.5 "),)


@pytest.mark.parametrize("text", ["O/Nb", "O/Nb=1", "O/Nb=a:b", "=1:2", "O/Nb=1.2.3:4"])
def test_a_bad_range_is_refused(text):
    with pytest.raises(InputError, match="is not a range"):
        StoichiometricRange.parse(text)


def test_impossible_rules_are_refused_at_once():
    with pytest.raises(InputError, match="empty or negative"):
        StoichiometricRange.parse("O/Nb=3:2")
    with pytest.raises(InputError, match="a fraction is at most 1"):
        StoichiometricRange.parse("O=2:3")
    with pytest.raises(InputError, match="unknown element 'Xx'"):
        StoichiometricRange.parse("O/Xx=1:2")
    with pytest.raises(InputError, match="outside Nb-O"):
        CompositionFilter(system=NB_O, ranges=(StoichiometricRange.parse("O/Ti=1:2"),))
    with pytest.raises(InputError, match="outside the chemical system Nb-O"):
        CompositionFilter(system=NB_O, formula=Formula.parse("TiO2"))
    with pytest.raises(InputError, match="change the formula or the range"):
        CompositionFilter(system=NB_O, formula=Formula.parse("NbO"), ranges=(StoichiometricRange.parse("O/Nb=2:3"),))


def test_plausibility_rejects_once_per_formula_but_never_the_asked_formula():
    model = ConstantPlausibility(NbO7=0.05, NbO2=0.9)
    rules = CompositionFilter(system=NB_O, plausibility=model)
    assert reasons(rules, "NbO2", "NbO7", "Nb2O14", "NbO2") == [
        "",
        "implausible composition: 0.05 below 0.20",
        "implausible composition: 0.05 below 0.20",
        "",
    ]
    assert model.asked == ["NbO2", "NbO7"]
    asked = CompositionFilter(system=NB_O, formula=Formula.parse("NbO7"), plausibility=model)
    assert asked.check(["NbO7"])[0].plausibility == 0.05
    assert reasons(asked, "NbO7") == [""]


def test_neutrality_is_reported_and_rejects_only_when_asked():
    verdicts = CompositionFilter(system=NB_O).check(["Nb12O29", "Nb3O8"])
    assert [(v.passed, v.charge_neutral) for v in verdicts] == [(True, True), (True, False)]
    strict = CompositionFilter(system=NB_O, require_charge_neutral=True)
    assert reasons(strict, "Nb4O5", "Nb3O8") == ["", "not charge-neutral in any mixed-valence assignment"]


@pytest.mark.parametrize(
    ("text", "neutral"),
    [("Nb2O5", 1), ("NbO2", 1), ("NbO", 1), ("Nb12O29", 1), ("Nb4O5", 1), ("Nb3O8", 0), ("Nb5O", 0), ("Fe", 1)],
)
def test_neutrality_of_niobium_oxides(text, neutral):
    assert charge_neutral(Formula.parse(text)) == bool(neutral)


@pytest.mark.slow
def test_neutral_means_that_pymatgen_finds_states_for_some_number_of_formula_units():
    found = set()
    for metal, anion in itertools.product(("Fe", "Pb", "Cu", "Ti", "Tl", "Na"), ("O", "S", "F")):
        for a, b in itertools.product(range(1, 5), range(1, 6)):
            cells = (Composition({metal: a * units, anion: b * units}) for units in (1, 2, 3, 4))
            expected = any(cell.oxi_state_guesses() for cell in cells)
            assert charge_neutral(Formula.parse(f"{metal}{a}{anion}{b}")) == expected, (metal, a, anion, b)
            found.add(expected)
    assert found == {True, False}
