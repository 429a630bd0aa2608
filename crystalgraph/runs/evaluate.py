"""Judge anybody's crystals: read, pick, relax, compare, and write the folder; resumable in the middle of relaxing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.engine.workers import Workers, at_work, check_workers
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement, judge
from crystalgraph.evaluation.rates import Metric
from crystalgraph.evaluation.rows import COLUMNS, Verdicts, first_verdicts, pick
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.load import CrystalSource, load
from crystalgraph.io.run_layout import RELAXATIONS
from crystalgraph.known.phases import readable, union_of_elements
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.models.device import usable_device
from crystalgraph.progress import Progress, relabelled
from crystalgraph.relax.many import ready_for, relax_many
from crystalgraph.relax.potentials import DEFAULT
from crystalgraph.relax.relaxation import RelaxSettings
from crystalgraph.runs.alone import alone
from crystalgraph.runs.evaluation_folder import (
    check_folder,
    check_same,
    files_of_relaxed,
    requested_system,
    systems_left_out_of,
    write_evaluation,
    write_request,
)
from crystalgraph.runs.evaluation_record import request_record, results_record, timings_record
from crystalgraph.runs.reference import reference_phases

if TYPE_CHECKING:
    import pandas as pd

    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.relaxation import Relaxation

MAX_IMPLIED_ELEMENTS = 4
"""A hull over more elements than this has to be asked for by naming the system."""

PICKS = ("random", "first")
"""How the crystals to relax are chosen from the eligible ones."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is to be judged, and how; arguments of `evaluate`, as they go into the record.

    Raises:
        InputError: if a value is out of its range.
    """

    path: str
    system: str | None = None
    reference: str | None = None
    training: str | None = None
    relax: int = 0
    pick: str = "random"
    seed: int = 0
    coverage: bool = False
    potential: str = DEFAULT

    def __post_init__(self) -> None:
        if self.relax < 0:
            raise InputError(f"--relax {self.relax} is negative; give the number of crystals to relax")
        if self.pick not in PICKS:
            raise InputError(f"--pick {self.pick!r} is not known; allowed are {', '.join(PICKS)}")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is negative; give a whole number from 0")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A judged set.

    Attributes:
        judgement: verdicts and metrics.
        record: content of ``metrics.json``.
        timings: content of ``timings.json``.
        relaxations: by id of the input.
        inputs: what was judged.
        hull: of the known phases; None where nothing was relaxed.
    """

    judgement: Judgement
    record: dict[str, Any]
    timings: dict[str, Any]
    relaxations: dict[str, Relaxation]
    inputs: CrystalTable
    hull: Hull | None

    @property
    def metrics(self) -> dict[str, dict[str, Metric]]:
        """Group -> name -> metric, see `crystalgraph.evaluation.metrics`."""
        return self.judgement.metrics

    def to_dataframe(self) -> pd.DataFrame:
        """A row for every input with all verdicts: the columns of ``structures.csv``, see `crystalgraph.io.columns`."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.judgement.rows], columns=list(COLUMNS))

    def __repr__(self) -> str:
        counts = self.record["counts"]
        return f"Evaluation({counts['inputs']} inputs of {self.record['system']}, {counts['relaxed']} relaxed)"

    def _repr_html_(self) -> str:
        """The metrics that there are, for notebooks."""
        from html import escape

        lines = []
        for group, metrics in self.record["metrics"].items():
            for name, metric in metrics.items():
                if "absent" not in metric:
                    interval = metric.get("interval")
                    between = "" if interval is None else f"{interval[0]:.3f} – {interval[1]:.3f}"
                    cells = (group, name, f"{metric['value']:.3f} {metric.get('unit', '')}", between)
                    lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        head = "<tr><th>group</th><th>metric</th><th>value</th><th>95 % interval</th></tr>"
        return f"<p>{escape(repr(self))}</p><table>{head}{''.join(lines)}</table>"


@dataclass
class _Clock:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside."""
        start = perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


@alone
def evaluate(
    source: CrystalSource,
    *,
    system: str | None = None,
    reference: CrystalSource | None = None,
    training: CrystalSource | None = None,
    relax: int = 0,
    pick: str = "random",
    seed: int = 0,
    coverage: bool = False,
    potential: str = DEFAULT,
    workers: int | Workers = 1,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge crystals: valid, unique, novel, new, stable, and which known phases they found.

    Args:
        source: what is judged, see `crystalgraph.io.load.load`.
        system: chemical system. None takes that of a run folder's record, else the union of all elements: the
            smallest system that no input lies outside of.
        reference: the known phases; None takes the shipped ones of the system.
        training: what the generator learned from; None leaves *new* unjudged. Of a run folder whose model learned from
            this very dataset, without the systems that were left out of the training.
        relax: how many of the eligible crystals are relaxed; 0 relaxes none.
        pick: which of them, "random" or "first".
        seed: of the random pick.
        coverage: whether fingerprints are computed, 0.06 s an atom.
        potential: see `crystalgraph.relax.potentials.make_calculator`.
        workers: processes, or those of a cluster, or with a GPU; on CPUs nothing but the timings depends on them.
        out: folder of the results, with a page to look at; None writes nothing. It must not exist, unless an earlier
            run of the same request is resumed.
        resume: go on in ``out``: crystals that were relaxed are not relaxed again.
        progress: called as the work goes on.

    Returns:
        Verdicts, metrics and relaxed crystals.

    Raises:
        InputError: if nothing can be judged, a reference is missing, or the folder is in the way.
    """
    source, reference, training = (_path_or_table(one) for one in (source, reference, training))
    request = EvaluationRequest(
        path=str(_name(source)),
        system=system,
        reference=_name(reference),
        training=_name(training),
        relax=relax,
        pick=pick,
        seed=seed,
        coverage=coverage,
        potential=potential,
    )
    check_workers(workers)
    if potential != DEFAULT and not relax:
        raise InputError(f"a potential ({potential}) but nothing to relax; add --relax K")
    out = None if out is None else Path(out)
    if out is not None:
        check_folder(out, resume=resume)
    clock = _Clock()
    with clock.timed("read"):
        inputs = _inputs(source)
    asked = _system(request, inputs)
    with clock.timed("references"):
        known = reference_phases(reference, asked, progress=progress)
        learned = None if training is None else readable(training)
        left_out = systems_left_out_of(Path(request.path), request.training)
        if learned is not None and left_out:
            learned = learned.outside(left_out)
    head = request_record(request, asked, inputs, known, learned, left_out)
    if resume and out is not None:
        check_same(out, head)
    verdicts = first_verdicts(inputs, asked)
    relaxations: dict[str, Relaxation] | None = None
    hull: Hull | None = None
    with at_work(workers) as running:
        usable_device(running.device)
        if relax:
            ready_for(running, [potential])
            with clock.timed("hull"):
                hull = reference_hull(
                    asked,
                    None if reference is None else known,
                    settings=replace(REFERENCE_SETTINGS, potential=potential),
                    workers=running,
                    progress=relabelled(progress, "known phases relaxed"),
                )
            if out is not None:
                write_request(out, head)
            with clock.timed("relaxation"):
                relaxations = _relax(request, verdicts, hull, out, running, progress)
        with clock.timed("judgement"):
            judgement = judge(
                verdicts,
                known=known,
                training=learned,
                relaxations=relaxations,
                hull=hull,
                with_coverage=coverage,
                cache=cache_folder("fingerprints") if coverage else None,
                workers=running,
                progress=progress,
            )
    done = relaxations or {}
    judgement = replace(judgement, rows=files_of_relaxed(judgement.rows, done))
    evaluation = Evaluation(
        judgement=judgement,
        record=head | results_record(judgement, hull, request, inputs, known),
        timings=timings_record(clock.seconds, judgement, done, running.device),
        relaxations=done,
        inputs=inputs,
        hull=hull,
    )
    if out is not None:
        write_evaluation(out, head, evaluation)
    return evaluation


def _path_or_table(source: Any) -> Any:
    """Paths and None as they are, to be read in their turn; anything else as a table, so that it is looked at once."""
    return source if source is None or isinstance(source, str | os.PathLike) else load(source)


def _name(source: Any) -> str | None:
    """What the record calls a path or a table."""
    return source.source.name if isinstance(source, CrystalTable) else None if source is None else os.fspath(source)


def _inputs(source: CrystalSource) -> CrystalTable:
    table = load(source)
    if not len(table):
        name, reason = next(iter(table.failures.items()), ("the source", "it is empty"))
        others = f" ({len(table.failures) - 1} more could not be read either)" if len(table.failures) > 1 else ""
        raise InputError(f"nothing in {table.source.name!r} can be judged; {name}: {reason}{others}")
    return table


def _system(request: EvaluationRequest, inputs: CrystalTable) -> ChemicalSystem:
    if request.system is not None:
        return ChemicalSystem.parse(request.system)
    if (recorded := requested_system(Path(request.path))) is not None:
        return recorded
    system = union_of_elements(inputs.crystals)
    if request.relax and len(system) > MAX_IMPLIED_ELEMENTS:
        raise InputError(
            f"the inputs have {len(system)} elements together, too many for one hull; name the system to relax in "
            "with --system"
        )
    return system


def _relax(
    request: EvaluationRequest,
    verdicts: Verdicts,
    hull: Hull,
    out: Path | None,
    workers: Workers,
    progress: Progress | None,
) -> dict[str, Relaxation]:
    chosen = pick(verdicts.eligible, request.relax, request.pick, request.seed)
    relaxations = relax_many(
        [verdicts.structures[name] for name in chosen],
        RelaxSettings(potential=request.potential, saddle_check=True),
        workers=workers,
        hull=hull,
        folder=None if out is None else out / RELAXATIONS,
        progress=relabelled(progress, "relaxed"),
    )
    return dict(zip(chosen, relaxations, strict=True))
