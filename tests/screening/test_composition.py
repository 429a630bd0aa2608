"""A plausibility that was kept says what the fitted one says, and fits only for what it has not scored."""

import numpy as np
import pytest

from crystalgraph.chemistry.plausibility import Plausibility
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.screening import composition
from crystalgraph.screening.composition import as_record, composition_filter
from crystalgraph.screening.request import GenerationRequest

FORMULAS = ["NbO2", "Nb2O5", "NbO", "NbO2"]


class Remainders:
    """A classifier that calls known what its features happen to say."""

    def predict_proba(self, features):
        known = features.sum(1) % 1
        return np.stack([1 - known, known], 1)


@pytest.fixture
def fits(monkeypatch):
    """The systems that a classifier was fitted for."""
    systems: list[ChemicalSystem] = []

    def fitted(system):
        systems.append(system)
        return Plausibility(system=system, threshold=0.4, auc=0.9, n_known=60, n_excluded=4, model=Remainders())

    monkeypatch.setattr(composition, "_fitted", fitted)
    return systems


def verdicts(folder, *more):
    found = composition_filter(GenerationRequest.parse(system="Nb-O"), FORMULAS, folder)
    return found.check([*FORMULAS, *more]), as_record(found)


def test_what_was_kept_gives_the_same_verdicts_without_a_fit(fits, tmp_path):
    without = verdicts(None)
    assert verdicts(tmp_path) == without
    fits.clear()
    assert verdicts(tmp_path) == without
    assert fits == []


def test_a_formula_that_was_not_expected_is_scored_by_a_fit(fits, tmp_path):
    verdicts(tmp_path)
    fits.clear()
    assert verdicts(tmp_path, "Nb12O29") == verdicts(None, "Nb12O29")
    assert fits


def test_other_formulas_systems_or_code_are_other_questions(fits, tmp_path, monkeypatch):
    nbo = ChemicalSystem.parse("Nb-O")
    composition.plausibility(nbo, FORMULAS, tmp_path)
    composition.plausibility(nbo, FORMULAS[:1], tmp_path)
    composition.plausibility(ChemicalSystem.parse("Ti-O"), [], tmp_path)
    monkeypatch.setattr(composition, "code_checksum", lambda *_: "changed")
    composition.plausibility(nbo, FORMULAS, tmp_path)
    assert len(fits) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_kept_scores_are_those_of_the_classifier_to_the_bit(fits, tmp_path):
    nbo, parsed = ChemicalSystem.parse("Nb-O"), [Formula.parse(formula) for formula in FORMULAS]
    composition.plausibility(nbo, FORMULAS, tmp_path)
    kept = composition.plausibility(nbo, FORMULAS, tmp_path)
    assert kept.score([]).shape == (0,)
    assert len(fits) == 1
    assert np.array_equal(kept.score(parsed), composition.plausibility(nbo).score(parsed))
