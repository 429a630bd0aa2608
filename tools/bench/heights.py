"""Energies above hulls, each on its own, and how they compare with DFT's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.relax.hull import METASTABLE, Hull


def heights(hulls: Sequence[Hull | None], structures: Sequence[Structure], energies: Sequence[float]) -> list[float]:
    """Each crystal's energy above its hull, eV/atom; NaN where it has none."""
    return [
        math.nan if hull is None else hull.e_above_hull(structure.composition, energy)
        for hull, structure, energy in zip(hulls, structures, energies, strict=True)
    ]


def compared(above: Sequence[float], dft: Sequence[float]) -> dict[str, Any]:
    """Error, rank correlation, and how well the metastable ones are told."""
    from scipy.stats import spearmanr

    pairs = np.array([pair for pair in zip(above, dft, strict=True) if math.isfinite(pair[0])])
    said, true = pairs[:, 0] <= METASTABLE, pairs[:, 1] <= METASTABLE
    hits = int((said & true).sum())
    return {
        "n": len(pairs),
        "without_energy": len(dft) - len(pairs),
        "mae": float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()),
        "median_error": float(np.median(np.abs(pairs[:, 0] - pairs[:, 1]))),
        "spearman": float(spearmanr(*pairs.T).statistic),
        "metastable_by_dft": int(true.sum()),
        "precision": hits / max(1, int(said.sum())),
        "recall": hits / max(1, int(true.sum())),
        "f1": 2 * hits / max(1, int(said.sum()) + int(true.sum())),
    }
