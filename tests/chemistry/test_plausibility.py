import numpy as np
import pytest

from crystalgraph.chemistry.plausibility import Plausibility
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset

pytestmark = pytest.mark.slow

NB_O = ChemicalSystem.parse("Nb-O")


@pytest.fixture(scope="module")
def known():
    return [Formula.parse(text) for text in sorted(set(load_dataset("corpus").columns["formula"].tolist()))]


@pytest.fixture(scope="module")
def fitted(known):
    return Plausibility.fit(known, system=NB_O)


def test_it_tells_known_from_made_up_in_unseen_systems(fitted):
    assert fitted.auc > 0.80
    assert fitted.n_known > 5000


def test_it_believes_known_oxides_and_doubts_absurd_ones(fitted):
    known = [Formula.parse(text) for text in ("NbO", "NbO2", "Nb2O5", "Nb12O29", "Nb4O5")]
    absurd = [Formula.parse(text) for text in ("NbO7", "Nb9O")]
    assert (fitted.score(known) >= fitted.threshold).all()
    assert (fitted.score(absurd) < fitted.threshold).all()


def test_the_asked_system_teaches_nothing(known, fitted):
    planted = [*known, *(Formula.parse(text) for text in ("NbO7", "Nb9O", "Nb7O5"))]
    without = [formula for formula in known if formula.system != NB_O]
    asked = [Formula.parse(text) for text in ("NbO7", "Nb2O5", "Nb9O")]
    again, clean = Plausibility.fit(planted, system=NB_O), Plausibility.fit(without, system=NB_O)
    np.testing.assert_array_equal(again.score(asked), clean.score(asked))
    np.testing.assert_array_equal(again.score(asked), fitted.score(asked))
    assert again.n_excluded == fitted.n_excluded + 3
    assert clean.n_excluded == 0


def test_too_little_to_learn_from_is_said(known):
    with pytest.raises(InputError, match="at least 50"):
        Plausibility.fit(known[:10], system=NB_O)
