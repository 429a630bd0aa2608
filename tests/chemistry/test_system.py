import pytest
from pymatgen.core import Composition

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError


@pytest.mark.parametrize("text", ["Nb-O", "O-Nb", "NbO", "Nb2O5", "O, Nb", "Nb O", "Nb₂O₅"])
def test_a_system_reads_all_usual_spellings(text):
    system = ChemicalSystem.parse(text)
    assert system.elements == ("Nb", "O")
    assert system.atomic_numbers == (41, 8)
    assert str(system) == "Nb-O"


def test_elements_are_ordered_by_electronegativity_and_hashable_as_sets():
    assert str(ChemicalSystem.parse("O-Nb-Li")) == "Li-Nb-O"
    assert ChemicalSystem(("O", "Nb")) == ChemicalSystem(("Nb", "O"))
    assert hash(ChemicalSystem(("O", "Nb"))) == hash(ChemicalSystem(("Nb", "O")))
    assert ChemicalSystem.parse("V-O").key == "O-V"


def test_contains_takes_subsystems():
    system = ChemicalSystem.parse("Nb-O")
    assert system.contains("Nb2O5")
    assert system.contains(Formula.parse("Nb"))
    assert not system.contains(ChemicalSystem.parse("Li-Nb-O"))


@pytest.mark.parametrize(
    ("text", "reduced"),
    [("Nb4O10", "Nb2O5"), ("O5Nb2", "Nb2O5"), ("Ba(TiO3)2", "BaTi2O6"), ("Nb24O58", "Nb12O29"), ("Ca[Al(OH)4]2", "")],
)
def test_formulas_are_reduced_as_pymatgen_counts_them(text, reduced):
    formula = Formula.parse(text)
    if reduced:
        assert str(formula) == reduced
    expected = Composition(text).reduced_composition.get_el_amt_dict()
    assert dict(formula.counts) == {symbol: int(count) for symbol, count in expected.items()}
    assert formula.num_atoms == sum(expected.values())


@pytest.mark.parametrize("text", ["XeF2", "HeNa2", "Ar"])
def test_noble_gases_are_elements(text):
    assert Formula.parse(text).num_atoms == Composition(text).num_atoms


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Xx-O", "unknown element 'Xx'"),
        ("D2O", "unknown element 'D'"),
        ("nb-o", "capitals matter"),
        ("", "not a formula"),
        ("2NbO", "not a formula"),
        ("Nb(O", "not a formula"),
        ("Nb)O", "not a formula"),
        ("()", "not a formula"),
        ("NbO2.5", "whole numbers"),
        ("Nb0O", "whole numbers"),
        ("Nb_O", "not a formula"),
    ],
)
def test_bad_input_is_one_line_that_names_it(text, named):
    for parse in (Formula.parse, ChemicalSystem.parse):
        with pytest.raises(InputError) as caught:
            parse(text)
        message = str(caught.value)
        assert named in message
        assert repr(text) in message
        assert "\n" not in message


def test_a_formula_outside_the_system_says_what_is_allowed():
    system = ChemicalSystem.parse("Nb-O")
    assert system.formula("Nb4O10") == Formula.parse("Nb2O5")
    for outside in ("TiO2", "Nb", "LiNbO3"):
        with pytest.raises(InputError, match="must hold Nb and O"):
            system.formula(outside)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("C-o", "'C-O' or 'Co'"),
        ("S-i", "'S-I' or 'Si'"),
        ("N-b", "'N-B' or 'Nb'"),
        ("nb-o", "'Nb-O'"),
        ("Nb(V)-O", "oxidation state .* write 'Nb-O'"),
        ("Fe(III)2O3", "oxidation state .* write 'Fe2O3'"),
        ("CaSO4.2H2O", "sum of formulas .* 'CaSO6H4'"),
        ("CuSO4·5H2O", "sum of formulas .* 'CuSO9H10'"),
        ("Na2O.Al2O3", "sum of formulas .* 'Na2O4Al2'"),
        ("Nb2.5O5", "whole numbers"),
    ],
)
def test_a_slip_is_refused_with_what_was_probably_meant(text, meant):
    with pytest.raises(InputError, match=meant) as caught:
        ChemicalSystem.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["CaSO4.2H2O", "CuSO4·5H2O", "Na2O.Al2O3", "Mg(NO3)2*6H2O"])
def test_the_sum_that_is_offered_for_a_hydrate_is_the_hydrate(text):
    with pytest.raises(InputError) as caught:
        Formula.parse(text)
    offered = Formula.parse(str(caught.value).split("'")[-2])
    whole, *parts = text.replace("·", ".").replace("*", ".").split(".")
    total = Composition(whole)
    for part in parts:
        count = part[: len(part) - len(part.lstrip("0123456789"))]
        total += int(count or 1) * Composition(part.lstrip("0123456789"))
    assert dict(offered.counts) == total.reduced_composition.get_el_amt_dict()


@pytest.mark.parametrize("text", ["C", "Og", "Nb", "Nb-Nb"])
def test_a_system_of_one_element(text):
    assert len(ChemicalSystem.parse(text)) == 1
