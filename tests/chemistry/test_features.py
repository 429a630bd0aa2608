import warnings

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystalgraph.chemistry.features import (
    FEATURES,
    MAGPIE_FEATURES,
    SITE_FEATURES,
    charge_range,
    composition_features,
    magpie_features,
    oxidation_range,
    site_fingerprint,
)
from crystalgraph.chemistry.system import Formula

COMPOUNDS = ["Nb2O5", "Nb12O29", "BaTiO3", "KCl", "LiFePO4", "XeF2", "PuO2", "HeNa2", "NiAl", "ZnGa2S4"]


@pytest.mark.slow
def test_columns_equal_matminers_featurizers():
    from matminer.featurizers.composition import ElementProperty, IonProperty, Stoichiometry, ValenceOrbital

    ours = dict(zip(FEATURES, composition_features([Formula.parse(text) for text in COMPOUNDS]).T, strict=True))
    compared = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        featurizers = [
            ElementProperty.from_preset("magpie", impute_nan=True),
            Stoichiometry(),
            ValenceOrbital(impute_nan=True),
            IonProperty(impute_nan=True, fast=True),
        ]
        for featurizer in featurizers:
            theirs = np.array([featurizer.featurize(Composition(text)) for text in COMPOUNDS], dtype=float).T
            for label, values in zip(featurizer.feature_labels(), theirs, strict=True):
                if label in ours:
                    np.testing.assert_allclose(ours[label], values, atol=1e-9, err_msg=label)
                    compared.add(label)
    assert set(FEATURES) - compared == {"lowest charge per atom", "highest charge per atom"}


def test_mixed_sizes_keep_their_rows_and_multiples_are_equal():
    formulas = [Formula.parse(text) for text in ("LiNbO3", "NbO", "Nb", "NbO2")]
    together = composition_features(formulas)
    for row, formula in zip(together, formulas, strict=True):
        np.testing.assert_allclose(row, composition_features([formula])[0])
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(
        composition_features([Formula.parse("Nb4O10")]), composition_features([Formula.parse("Nb2O5")])
    )
    assert composition_features([]).shape == (0, len(FEATURES))


def test_charge_range_by_hand():
    assert oxidation_range()[[41, 8]].tolist() == [[2, 5], [-2, -2]]
    low_high = charge_range([Formula.parse("NbO2"), Formula.parse("He")])
    assert low_high[0].tolist() == pytest.approx([(2 - 4) / 3, (5 - 4) / 3])
    assert np.isnan(low_high[1]).all()
    assert charge_range([]).shape == (0, 2)


def test_magpie_statistics_by_hand():
    from matminer.featurizers.composition import ElementProperty

    names = ElementProperty.from_preset("magpie").feature_labels()
    (row,) = magpie_features([Formula.parse("Nb2O5")])
    found = dict(zip(names, row, strict=True))
    assert len(row) == MAGPIE_FEATURES
    assert found["MagpieData maximum Number"] == 41
    assert found["MagpieData mean Number"] == pytest.approx((2 * 41 + 5 * 8) / 7)
    assert magpie_features([]).shape == (0, MAGPIE_FEATURES)


@pytest.mark.slow
def test_sites_of_rock_salt_are_octahedral():
    rock_salt = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = site_fingerprint(rock_salt)
    assert found.shape == (SITE_FEATURES,)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(site_fingerprint(rock_salt * (2, 1, 1)), found, atol=1e-9)
