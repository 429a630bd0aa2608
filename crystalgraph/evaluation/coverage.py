"""How the proposed crystals as a whole compare with the known ones: CDVAE's coverage and property distances.

A crystal is described twice: its composition by the 132 Magpie statistics, each in standard deviations over the
formulas of the shipped corpus, and its structure by the 61 CrystalNN order parameters, averaged over the sites. A
proposed and a known crystal cover each other if both distances are within the cut-offs. *Recall* is the share of known
crystals that are covered, *precision* the share of proposed ones.

Reference:
    T. Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022, section 5.2 and appendix (cut-offs for MP-20).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.features import SITE_FEATURES, magpie_features, site_fingerprint
from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.reference_index import searchable
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit
from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.evaluation.rates import Absent, Metric, Number, rate
from crystalgraph.io.sealed import read_sealed, write_sealed
from crystalgraph.progress import Progress, at_stage

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

LOGGER = logging.getLogger("crystalgraph.evaluation")
"""Hears what is worth a line; the commands print it."""

STRUCTURE_CUTOFF, COMPOSITION_CUTOFF = 0.4, 10.0
"""Largest Euclidean distances of crystals that cover each other; CDVAE's for MP-20."""

TIME_LIMIT = 60.0
"""CPU seconds for the fingerprint of one crystal; ordinary ones take 0.06 s a site."""

MAX_REFERENCE = 3000
"""Known crystals that are described at most; more would take hours."""

_SCALE_STEP = 19  # every 19th crystal of the corpus: 1,993 formulas, enough for means and deviations to two digits


def coverage(
    proposed: Sequence[Structure],
    known: Sequence[Structure],
    *,
    cache: Path | None = None,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> dict[str, Metric]:
    """Coverage recall and precision, and how different the proposed crystals are from each other.

    Args:
        proposed: valid crystals.
        known: what they should cover.
        cache: folder of fingerprints already computed; None keeps none.
        workers: processes; the result does not depend on them.
        progress: called as crystals are described.

    Returns:
        ``cov_recall``, ``cov_precision``, ``comp_div`` and ``struct_div`` (mean distance of two proposed crystals).
        A crystal that cannot be described covers nothing and stays in the denominator.
    """
    from scipy.spatial.distance import cdist, pdist

    if not proposed or not known:
        absent = Absent("no valid crystal of the system was given" if not proposed else "no known crystal to cover")
        return dict.fromkeys(("cov_recall", "cov_precision", "comp_div", "struct_div"), absent)
    if len(known) > MAX_REFERENCE:
        absent = Absent(f"the reference holds {len(known)} crystals, more than {MAX_REFERENCE}; name a smaller one")
        return dict.fromkeys(("cov_recall", "cov_precision", "comp_div", "struct_div"), absent)
    sites = fingerprints([*proposed, *known], cache=cache, workers=workers, progress=progress)
    compositions = scaled_compositions([*proposed, *known])
    n = len(proposed)
    # A row of NaN, where there is no fingerprint, is within no cut-off.
    close = (cdist(sites[:n], sites[n:]) <= STRUCTURE_CUTOFF) & (
        cdist(compositions[:n], compositions[n:]) <= COMPOSITION_CUTOFF
    )
    described = np.isfinite(sites[:n]).all(1)
    alone = Absent("it takes two crystals")
    return {
        "cov_recall": rate(int(close.any(0).sum()), len(known), ""),
        "cov_precision": rate(int(close.any(1).sum()), n, ""),
        "comp_div": Number(value=float(pdist(compositions[:n]).mean()), n=n) if n > 1 else alone,
        "struct_div": Number(value=float(pdist(sites[:n][described]).mean()), n=int(described.sum()))
        if described.sum() > 1
        else alone,
    }


def property_distances(
    densities: tuple[Sequence[float], Sequence[float]], n_elements: tuple[Sequence[int], Sequence[int]]
) -> dict[str, Metric]:
    """Wasserstein distances between proposed and known crystals.

    Args:
        densities: of the proposed and of the known, g/cm³.
        n_elements: of the proposed and of the known.

    Returns:
        ``wdist_density`` (g/cm³) and ``wdist_num_elems``.
    """
    from scipy.stats import wasserstein_distance

    n, n_known = len(densities[0]), len(densities[1])
    if not n or not n_known:
        absent = Absent("no valid crystal of the system was given" if not n else "no known crystal to compare with")
        return {"wdist_density": absent, "wdist_num_elems": absent}
    return {
        "wdist_density": Number(value=float(wasserstein_distance(*densities)), unit="g/cm³", n=n),
        "wdist_num_elems": Number(value=float(wasserstein_distance(*n_elements)), n=n),
    }


def fingerprints(
    structures: Sequence[Structure],
    *,
    cache: Path | None = None,
    workers: int | Workers = 1,
    progress: Progress | None = None,
) -> Floats:
    """Site fingerprints, (n_structures, SITE_FEATURES); a row of NaN where there is none."""
    rows = []
    report = at_stage(progress, "fingerprints")
    files = [None if cache is None else cache.absolute() / f"{_key(structure)}.json" for structure in structures]
    kept = [None if file is None else _kept(file) for file in files]
    missing = [k for k, content in enumerate(kept) if content is None]
    with at_work(workers) as running:
        computed = running.map(_fingerprint, [(structures[k], files[k]) for k in missing])
        for content in kept:
            rows.append(next(computed) if content is None else _row(*content))
            report(len(rows), len(structures))
    return np.array(rows, dtype=np.float64).reshape(-1, SITE_FEATURES)


def scaled_compositions(structures: Sequence[Structure]) -> Floats:
    """Magpie statistics in standard deviations over the corpus, (n_structures, 132)."""
    formulas = [Formula.from_atomic_numbers(structure.atomic_numbers) for structure in structures]
    distinct = list(dict.fromkeys(formulas))
    mean, deviation = _corpus_scale()
    table = dict(zip(distinct, (magpie_features(distinct) - mean) / deviation, strict=True))
    return np.array([table[formula] for formula in formulas])


def _fingerprint(structure: Structure, file: Path | None) -> list[float]:
    """Computed, and kept in a file."""
    try:
        content = _compute(structure)
    except TimeUp:  # on a faster machine there may be one, so nothing is kept
        return _row(None)
    if file is not None:
        write_sealed(file, {"key": file.stem, "fingerprint": content})
    return _row(content)


def _kept(file: Path) -> tuple[list[float] | None] | None:
    """The fingerprint in a file, itself None where the crystal has none; None if no such file can be believed."""
    try:
        content = read_sealed(file)
        if content["key"] != file.stem:
            raise ValueError("it is another crystal's")
        return (content["fingerprint"],)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOGGER.warning("%s is not believed (%s); the fingerprint is computed again", file, error)
        return None


def _row(content: list[float] | None) -> list[float]:
    return [float("nan")] * SITE_FEATURES if content is None else content


def _compute(structure: Structure) -> list[float] | None:
    if not searchable(structure.lattice.matrix):
        return None
    try:
        with cpu_limit(TIME_LIMIT):
            return site_fingerprint(structure).tolist()
    except (ValueError, ArithmeticError, IndexError, KeyError, RuntimeError, np.linalg.LinAlgError):
        return None  # CrystalNN finds no neighbours in very sparse or very crowded crystals


def _key(structure: Structure) -> str:
    """Name of the crystal's fingerprint: what it is made from, to the last bit."""
    digest = hashlib.sha256(f"CrystalNN ops mean, matminer {version('matminer')}".encode())
    digest.update(np.ascontiguousarray(structure.lattice.matrix, dtype=np.float64).tobytes())
    digest.update(np.ascontiguousarray(structure.frac_coords, dtype=np.float64).tobytes())
    digest.update(np.array(structure.atomic_numbers, dtype=np.int64).tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _corpus_scale() -> tuple[Floats, Floats]:
    """Mean and standard deviation of each Magpie statistic over formulas of the corpus; 1 where it does not vary."""
    from crystalgraph.io.datasets import load_dataset

    formulas = load_dataset("corpus").columns["formula"][::_SCALE_STEP].tolist()
    features = magpie_features([Formula.parse(formula) for formula in formulas])
    deviation = features.std(0)
    return features.mean(0), np.where(deviation > 0, deviation, 1.0)
