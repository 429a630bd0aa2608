"""Numbers that describe a composition or the surroundings of atoms. All use of matminer sits here.

matminer's featurizers take about a millisecond per formula. A fit needs tens of thousands of formulas, so the same
statistics are computed here for all of them at once, from matminer's own element table; a test compares the columns
with the featurizers.

Reference:
    L. Ward et al., npj Comput. Mater. 2, 16028 (2016) (the Magpie features).
    L. Ward et al., Comput. Mater. Sci. 152, 60 (2018) (matminer).
    N. E. R. Zimmermann and A. Jain, RSC Adv. 10, 6063 (2020) (the order parameters of sites).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.system import Formula

if TYPE_CHECKING:
    from matminer.featurizers.composition import ElementProperty
    from matminer.featurizers.structure import SiteStatsFingerprint
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

PROPERTIES = (
    "MendeleevNumber",
    "Column",
    "Row",
    "Electronegativity",
    "CovalentRadius",
    "MeltingT",
    "NsValence",
    "NpValence",
    "NdValence",
    "NfValence",
    "NValence",
    "NUnfilled",
    "GSvolume_pa",
)
"""Magpie element properties that are averaged over a composition."""

STATISTICS = ("minimum", "maximum", "mean", "avg_dev")
NORMS = (2, 3, 5, 7, 10)
ORBITALS = ("s", "p", "d", "f")

FEATURES = (
    *(f"MagpieData {statistic} {name}" for name in PROPERTIES for statistic in STATISTICS),
    *(f"{norm}-norm" for norm in NORMS),
    *(f"frac {orbital} valence electrons" for orbital in ORBITALS),
    "max ionic char",
    "avg ionic char",
    "lowest charge per atom",
    "highest charge per atom",
)
"""Columns of ``composition_features``, with matminer's labels where they are matminer's."""


def composition_features(formulas: Sequence[Formula]) -> Floats:
    """Describe compositions; multiples of a formula get the same numbers.

    Args:
        formulas: any number of elements each.

    Returns:
        (n_formulas, len(FEATURES)). Radii in pm, melting points in K, volumes in Å³ per atom, charges in e.
    """
    features = np.empty((len(formulas), len(FEATURES)))
    sizes = np.array([len(formula.counts) for formula in formulas], dtype=np.int64)
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size).tolist()
        numbers = np.array([formulas[k].atomic_numbers for k in rows])
        counts = np.array([[count for _, count in formulas[k].counts] for k in rows], dtype=np.float64)
        features[rows] = _describe(numbers, counts / counts.sum(1, keepdims=True))
    return features


def charge_range(formulas: Sequence[Formula]) -> Floats:
    """Lowest and highest total charge per atom that the usual oxidation states allow, (n_formulas, 2), e.

    The states are those found in the ICSD, as pymatgen tabulates them. An element without any makes both NaN.
    """
    return np.array(
        [
            np.dot([count for _, count in formula.counts], oxidation_range()[list(formula.atomic_numbers)])
            / formula.num_atoms
            for formula in formulas
        ]
    ).reshape(-1, 2)


SITE_FEATURES, MAGPIE_FEATURES = 61, 132
"""Lengths of `site_fingerprint` and of a row of `magpie_features`."""


def site_fingerprint(structure: Structure) -> Floats:
    """How atoms are surrounded: coordination and order parameters of CrystalNN's neighbours, averaged over the sites.

    It takes about 60 ms a site.

    Args:
        structure: ordered structure.

    Returns:
        (SITE_FEATURES,), each 0 to 1.

    Raises:
        ValueError: if a site has no neighbours that can be found.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = np.array(_site_featurizer().featurize(structure), dtype=np.float64)
    if not np.isfinite(features).all():
        raise ValueError("the surroundings of a site have no finite description")
    return features


def magpie_features(formulas: Sequence[Formula]) -> Floats:
    """All Magpie statistics of the elements in each formula, as matminer computes them, (n_formulas, MAGPIE_FEATURES).

    About a millisecond a formula; `composition_features` is the faster choice for many.
    """
    from pymatgen.core import Composition

    featurizer = _magpie_featurizer()
    rows = [featurizer.featurize(Composition(str(formula))) for formula in formulas]
    return np.array(rows, dtype=np.float64).reshape(len(formulas), MAGPIE_FEATURES)


@lru_cache(maxsize=1)
def _site_featurizer() -> SiteStatsFingerprint:
    from matminer.featurizers.site import CrystalNNFingerprint
    from matminer.featurizers.structure import SiteStatsFingerprint

    return SiteStatsFingerprint(CrystalNNFingerprint.from_preset("ops"), stats=("mean",))


@lru_cache(maxsize=1)
def _magpie_featurizer() -> ElementProperty:
    from matminer.featurizers.composition import ElementProperty

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ElementProperty.from_preset("magpie", impute_nan=True)


@lru_cache(maxsize=1)
def oxidation_range() -> Floats:
    """Lowest and highest usual oxidation state of each element, (119, 2), by atomic number; NaN when it has none."""
    from pymatgen.core import Element

    table = np.full((119, 2), np.nan)
    for number in range(1, 119):
        element = Element.from_Z(number)
        if states := element.icsd_oxidation_states or element.common_oxidation_states:
            table[number] = min(states), max(states)
    return table


def _describe(numbers: NDArray[np.int64], fractions: Floats) -> Floats:
    """Features of formulas with equally many elements; numbers and fractions are (n_formulas, n_elements)."""
    values = _element_table()[numbers]
    mean = np.einsum("nk,nkp->np", fractions, values)
    deviation = np.einsum("nk,nkp->np", fractions, np.abs(values - mean[:, None]))
    statistics = np.stack([values.min(1), values.max(1), mean, deviation], 2).reshape(len(numbers), -1)

    norms = np.stack([(fractions**norm).sum(1) ** (1 / norm) for norm in NORMS], 1)

    column = {name: index for index, name in enumerate(PROPERTIES)}
    shells = mean[:, [column[f"N{orbital}Valence"] for orbital in ORBITALS]] / mean[:, [column["NValence"]]]

    pauling = _pauling_table()[numbers]
    ionic = 1 - np.exp(-0.25 * (pauling[:, :, None] - pauling[:, None, :]) ** 2)
    average = np.einsum("ni,nj,nij->n", fractions, fractions, ionic) / 2
    charges = np.einsum("nk,nkc->nc", fractions, np.nan_to_num(oxidation_range())[numbers])
    return np.concatenate([statistics, norms, shells, ionic.max((1, 2))[:, None], average[:, None], charges], 1)


@lru_cache(maxsize=1)
def _element_table() -> Floats:
    """Magpie properties by atomic number, (119, len(PROPERTIES)); missing ones are the mean over the elements."""
    from matminer.utils.data import MagpieData
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = MagpieData(impute_nan=True)
    table = np.zeros((119, len(PROPERTIES)))
    for number in range(1, 119):
        element = Element.from_Z(number)
        table[number] = [source.get_elemental_property(element, name) for name in PROPERTIES]
    return table


@lru_cache(maxsize=1)
def _pauling_table() -> Floats:
    """Electronegativities as matminer's IonProperty takes them, (119,); missing ones are the mean."""
    from matminer.utils.data import PymatgenData
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = PymatgenData(impute_nan=True)
        values = [source.get_elemental_property(Element.from_Z(number), "X") for number in range(1, 119)]
    return np.array([0.0, *values])
