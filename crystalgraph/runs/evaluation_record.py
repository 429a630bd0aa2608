"""The records of an evaluation: what its results depend on, what they are, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.io.provenance import versions
from crystalgraph.relax.potentials import potential_identity
from crystalgraph.report.words import energy_caveats
from crystalgraph.runs.alone import N_THREADS

if TYPE_CHECKING:
    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.relaxation import Relaxation
    from crystalgraph.runs.evaluate import EvaluationRequest

LIBRARIES = ("scipy", "matminer", "smact")
"""Packages that can change a metric, beside those of `crystalgraph.io.provenance`."""


def request_record(
    request: EvaluationRequest,
    system: ChemicalSystem,
    inputs: CrystalTable,
    known: CrystalTable,
    training: CrystalTable | None,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Head of ``metrics.json``: what the results depend on; a resumed run must have the same."""
    return {
        "request": asdict(request),
        "system": str(system),
        "input": {
            "names": len(inputs.order),
            "read": len(inputs),
            "unreadable": len(inputs.failures),
            "files": len(inputs.source.files),
            "sha256": inputs.source.sha256,
        },
        "reference": known.record(),
        "training": None if training is None else training.record() | {"without_systems": list(left_out)},
        "potential": potential_identity(request.potential) if request.relax else None,
        "versions": versions(*LIBRARIES),
    }


def results_record(
    judgement: Judgement, hull: Hull | None, request: EvaluationRequest, inputs: CrystalTable, known: CrystalTable
) -> dict[str, Any]:
    """Counts, metrics, the hull and what a reader must know: the rest of ``metrics.json``."""
    rows = judgement.rows
    counts = {
        "inputs": len(rows),
        "read": sum(row.in_system is not None for row in rows),
        "in_system": sum(row.in_system is True for row in rows),
        "strictly_valid": sum(row.strictly_valid for row in rows),
        "compared": sum(row.unique is not None for row in rows),
        "relaxed": sum(bool(row.relax_status) for row in rows),
    }
    record: dict[str, Any] = {"counts": counts, **judgement.record()}
    if hull is not None:
        record["hull"] = {
            "phases": len(hull.phases),
            "not_relaxed": [phase.name for phase in hull.phases if phase.is_bound],
            "left_out": hull.left_out,
            "stable": [phase.name for phase in hull.stable_phases()],
            "sha256": hull.identity(),
        }
    record["caveats"] = [*inputs.source.gaps, *_caveats(judgement, request, known, hull)]
    return record


def _caveats(judgement: Judgement, request: EvaluationRequest, known: CrystalTable, hull: Hull | None) -> list[str]:
    """What a reader of the metrics must know."""
    caveats = []
    if hull is not None:
        caveats += energy_caveats([request.potential], str(hull.system))
    n_relaxed = sum(bool(row.relax_status) for row in judgement.rows)
    if request.relax and n_relaxed < 100:
        caveats.append(f"{n_relaxed} relaxed crystals give a rate to about ± {n_relaxed**-0.5 if n_relaxed else 1:.2f}")
    if request.relax and request.pick == "first":
        caveats.append(
            "the first crystals were relaxed, not random ones: rates of the budget hold only if order is chance"
        )
    if known.failures:
        caveats.append(
            f"{len(known.failures)} known phases of {known.source.name} could not be read and are not compared with"
        )
    if lost := sum(log["timed_out"] for log in judgement.undecided.values()):
        caveats.append(f"{lost} comparisons ran out of time and count as different")
    return caveats


def timings_record(
    seconds: Mapping[str, float], judgement: Judgement, relaxations: Mapping[str, Relaxation], device: str
) -> dict[str, Any]:
    """Content of ``timings.json``: seconds of stages and relaxations, and what a CPU-hour of relaxation found."""
    hours = sum(relaxation.seconds for relaxation in relaxations.values()) / 3600
    timings: dict[str, Any] = {
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
        "threads": N_THREADS,
        "device": device,
    }
    if not relaxations:
        return timings
    timings["relaxation_cpu_hours"] = hours
    timings["per_cpu_hour"] = {
        name: {
            "count": (count := sum(getattr(row, name) is True for row in judgement.rows)),
            "cpu_hours": hours,
            "value": count / hours if hours else None,
        }
        for name in ("sun", "msun")
    }
    timings["relaxation_cpu_seconds"] = {name: relaxation.seconds for name, relaxation in relaxations.items()}
    return timings
