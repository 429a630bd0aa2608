"""The metrics of CDVAE, under its names.

*struct_valid* is cdvae_valid, *comp_valid* SMACT's verdict, *valid* both; `crystalgraph.evaluation.coverage` has the
others, which compare crystals that are cdvae_valid and in the system.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.crystals.validity import densities
from crystalgraph.engine.workers import Workers
from crystalgraph.evaluation.coverage import coverage, property_distances
from crystalgraph.evaluation.rates import Absent, Metric, Rate
from crystalgraph.evaluation.rows import Verdicts
from crystalgraph.progress import Progress

NO_COVERAGE = "not asked for (--coverage); it takes about 0.06 s an atom"

_PROPERTY_METRICS = ("wdist_density", "wdist_num_elems")
_COVERAGE_METRICS = ("cov_recall", "cov_precision", "comp_div", "struct_div")


def cdvae_metrics(
    verdicts: Verdicts,
    known: CrystalTable | Absent,
    *,
    struct_valid: Metric,
    with_coverage: bool,
    cache: Path | None,
    workers: int | Workers,
    progress: Progress | None,
) -> dict[str, Metric]:
    """All of them.

    Args:
        verdicts: on the inputs.
        known: the crystals that are to be covered, or why there are none.
        struct_valid: the rate of cdvae_valid.
        with_coverage: whether fingerprints are computed.
        cache: folder for fingerprints; None keeps none.
        workers: processes; the metrics do not depend on them.
        progress: called as fingerprints are computed.
    """
    rows, formulas = verdicts.rows, verdicts.formulas
    names = [name for name, row in rows.items() if row["cdvae_valid"] and row["in_system"]]
    smact = _smact_verdicts(formulas)
    metrics: dict[str, Metric] = {"struct_valid": struct_valid}
    if isinstance(smact, Absent):
        metrics["comp_valid"] = metrics["valid"] = smact
    else:
        both = sum(smact.get(name, False) and rows[name]["cdvae_valid"] for name in rows)
        metrics["comp_valid"] = Rate(numerator=sum(smact.values()), denominator=len(rows))
        metrics["valid"] = Rate(numerator=both, denominator=len(rows))
    if isinstance(known, Absent):
        return metrics | dict.fromkeys((*_PROPERTY_METRICS, *_COVERAGE_METRICS), known)
    metrics |= property_distances(
        ([rows[name]["density"] for name in names], densities(known.crystals).tolist()),
        ([len(formulas[name].counts) for name in names], (known.compositions > 0).sum(1).tolist()),
    )
    if not with_coverage:
        return metrics | dict.fromkeys(_COVERAGE_METRICS, Absent(NO_COVERAGE))
    structures = [verdicts.structures[name] for name in names]
    return metrics | coverage(structures, known.structures, cache=cache, workers=workers, progress=progress)


def _smact_verdicts(formulas: Mapping[str, Formula]) -> dict[str, bool] | Absent:
    """SMACT's verdict on each composition, or that SMACT is not there.

    No oxidation state is known for an element that SMACT has no data on, so no charges balance.
    """
    try:
        from smact.screening import smact_validity
    except ImportError:
        return Absent('CDVAE decides it with SMACT, which is not installed: pip install "crystalgraph[charge]"')

    def verdict(formula: Formula) -> bool:
        try:
            return bool(smact_validity(str(formula)))
        except KeyError:
            return False

    distinct = {formula: verdict(formula) for formula in dict.fromkeys(formulas.values())}
    return {name: distinct[formula] for name, formula in formulas.items()}
