"""From structure files to a judged folder: read, pick, relax, judge, write; resumable in the middle of relaxing.

The folder holds ``metrics.json``, ``structures.csv`` (a row for every input), ``relaxed/`` with a CIF each and
``relaxed.extxyz`` in the same order, ``timings.json``, and what a resumed run needs: ``request.json`` and
``relaxations/``. Times, and rates per CPU-hour, are in ``timings.json`` alone, so that everything else depends on the
request only.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement, Watch, judge
from crystalgraph.known.reference import Reference, default_reference, load_reference, union_of_elements
from crystalgraph.evaluation.rows import COLUMNS, Inputs, Row, not_relaxable, pick
from crystalgraph.io.atomic import write_json, write_text
from crystalgraph.crystals.conversion import from_structures, to_atoms, to_structures
from crystalgraph.io.reading import ReadResult, read_structures
from crystalgraph.io.atomic import check_free
from crystalgraph.io.csv_table import csv_text
from crystalgraph.io.provenance import versions
from crystalgraph.io.run_layout import METRICS, RELAXATIONS, RELAXED_FILE, RELAXED_FOLDER, REQUEST, ROWS, TIMINGS
from crystalgraph.io.writing import write_structures
from crystalgraph.relax.calculator import CHGNET, calculator_identity
from crystalgraph.relax.pool import relax_many
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, cache_folder, reference_hull
from crystalgraph.relax.relaxation import RelaxSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull
    from crystalgraph.relax.relaxation import Relaxation

MAX_IMPLIED_ELEMENTS = 4
"""A hull over more elements than this has to be asked for by naming the system."""

PICKS = ("random", "first")
"""How the crystals to relax are chosen from the eligible ones."""

LIBRARIES = ("scipy", "matminer", "smact")
"""Packages that can change a metric, beside those of `crystalgraph.runs.folder`."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is to be judged, and how.

    Attributes:
        path: structure file, folder of them, or run folder.
        system: chemical system. None takes that of a run folder's record, else the union of all elements found: the
            smallest system that no input lies outside of.
        reference: dataset or path with the known phases; None takes the shipped ones of the system.
        training: dataset or path with what the generator learned from; None leaves *new* unjudged.
        relax: how many crystals are relaxed; 0 relaxes none.
        pick: one of ``PICKS``.
        seed: of the random pick.
        coverage: whether fingerprints are computed.
        calculator: see `crystalgraph.relax.calculator.make_calculator`.

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
    calculator: str = CHGNET

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
        relaxations: by name of the input.
        inputs: what was judged, see `crystalgraph.evaluation.rows.Inputs`.
        files: that the inputs were read from.
        hull: of the known phases; None where nothing was relaxed.
    """

    judgement: Judgement
    record: dict[str, Any]
    timings: dict[str, Any]
    relaxations: dict[str, Relaxation]
    inputs: Inputs
    files: list[Path]
    hull: Hull | None


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


def evaluate(
    request: EvaluationRequest,
    folder: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    watch: Watch | None = None,
) -> Evaluation:
    """Judge structure files and write the folder.

    Args:
        request: what and how.
        folder: where everything goes; it must not exist, unless an earlier run of the same request is resumed.
        workers: processes; nothing but the timings depends on it.
        resume: go on in ``folder``: crystals that were relaxed are not relaxed again.
        watch: called as the work goes on.

    Returns:
        What was written.

    Raises:
        InputError: if nothing can be judged, a reference is missing, or the folder is in the way.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is too few; give at least 1")
    _check_folder(folder, resume=resume)
    clock = _Clock()
    with clock.timed("read"):
        read = read_structures(request.path)
        inputs = _inputs(read, request.path)
    system = _system(request, read)
    with clock.timed("references"):
        known = default_reference(system) if request.reference is None else load_reference(request.reference)
        known = known.within(system)
        training = None if request.training is None else load_reference(request.training)
    head = _head(request, system, read, known, training)
    if resume:
        _check_same(folder, head)
    relaxations: dict[str, Relaxation] | None = None
    hull: Hull | None = None
    if request.relax:
        with clock.timed("hull"):
            hull = _hull(request, system, known, workers, watch)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / REQUEST, head)
        with clock.timed("relaxation"):
            relaxations = _relax(request, inputs, system, hull, folder, workers, watch)
    with clock.timed("judgement"):
        judgement = judge(
            inputs,
            system=system,
            known=known,
            training=training,
            relaxations=relaxations,
            hull=hull,
            with_coverage=request.coverage,
            cache=cache_folder("fingerprints") if request.coverage else None,
            workers=workers,
            watch=watch,
        )
    done = relaxations or {}
    judgement = replace(judgement, rows=_with_files(judgement.rows, done))
    evaluation = Evaluation(
        judgement=judgement,
        record=head | _results(judgement, hull, request, known),
        timings=_timings(clock, judgement, done),
        relaxations=done,
        inputs=inputs,
        files=read.files,
        hull=hull,
    )
    _write(folder, head, evaluation)
    return evaluation


def _inputs(read: ReadResult, path: str) -> dict[str, Structure | str]:
    """Crystals and reasons in input order."""
    structures: dict[str, Structure] = {}
    if read.crystals is not None:
        structures = dict(zip(read.names, to_structures(read.crystals), strict=True))
    if not structures:
        name, reason = next(iter(read.failures.items()))
        others = f" ({len(read.failures) - 1} more could not be read either)" if len(read.failures) > 1 else ""
        raise InputError(f"nothing in {path!r} can be judged; {name}: {reason}{others}")
    return {name: structures[name] if name in structures else read.failures[name] for name in read.order}


def _system(request: EvaluationRequest, read: ReadResult) -> ChemicalSystem:
    if request.system is not None:
        return ChemicalSystem.parse(request.system)
    record = Path(request.path) / "run.json"
    if record.is_file():
        try:
            return ChemicalSystem.parse(json.loads(record.read_bytes())["request"]["system"])
        except (ValueError, KeyError, TypeError):
            pass  # a run.json of another tool
    assert read.crystals is not None
    system = union_of_elements(read.crystals)
    if request.relax and len(system) > MAX_IMPLIED_ELEMENTS:
        raise InputError(
            f"the inputs have {len(system)} elements together, too many for one hull; name the system to relax in "
            "with --system"
        )
    return system


def _hull(
    request: EvaluationRequest, system: ChemicalSystem, known: Reference, workers: int, watch: Watch | None
) -> Hull:
    return reference_hull(
        system,
        None if request.reference is None else known.phases(),
        settings=replace(REFERENCE_SETTINGS, calculator=request.calculator),
        workers=workers,
        progress=_progress(watch, "known phases relaxed"),
    )


def _relax(
    request: EvaluationRequest,
    inputs: Mapping[str, Structure | str],
    system: ChemicalSystem,
    hull: Hull,
    folder: Path,
    workers: int,
    watch: Watch | None,
) -> dict[str, Relaxation]:
    eligible = [name for name, reason in not_relaxable(inputs, system).items() if not reason]
    chosen = pick(eligible, request.relax, request.pick, request.seed)
    structures = [structure for name in chosen if not isinstance(structure := inputs[name], str)]
    results = relax_many(
        structures,
        RelaxSettings(calculator=request.calculator, saddle_check=True),
        workers=workers,
        hull=hull,
        folder=folder / RELAXATIONS,
        progress=_progress(watch, "relaxed"),
    )
    return dict(zip(chosen, results, strict=True))


def _progress(watch: Watch | None, stage: str) -> Any:
    return None if watch is None else lambda _stage, done, total, _state="": watch(stage, done, total)


def _head(
    request: EvaluationRequest, system: ChemicalSystem, read: ReadResult, known: Reference, training: Reference | None
) -> dict[str, Any]:
    """What the results depend on; a resumed run must have the same."""
    return {
        "request": asdict(request),
        "system": str(system),
        "input": {
            "names": len(read.order),
            "read": len(read.names),
            "unreadable": len(read.failures),
            "files": len(read.files),
            "sha256": read.checksum(),
        },
        "reference": known.record(),
        "training": None if training is None else training.record(),
        "calculator": calculator_identity(request.calculator) if request.relax else None,
        "versions": versions(*LIBRARIES),
    }


def _results(judgement: Judgement, hull: Hull | None, request: EvaluationRequest, known: Reference) -> dict[str, Any]:
    rows = judgement.rows
    counts = {
        "inputs": len(rows),
        "read": sum(row.in_system is not None for row in rows),
        "in_system": sum(row.in_system is True for row in rows),
        "valid_strict": sum(row.valid_strict for row in rows),
        "compared": sum(row.unique is not None for row in rows),
        "relaxed": sum(bool(row.relaxation) for row in rows),
    }
    record: dict[str, Any] = {"counts": counts, **judgement.record()}
    if hull is not None:
        record["hull"] = {
            "phases": len(hull.phases),
            "left_out": hull.left_out,
            "stable": [phase.name for phase in hull.stable_phases()],
            "sha256": hull.identity(),
        }
    record["caveats"] = _caveats(judgement, request, known)
    return record


def _caveats(judgement: Judgement, request: EvaluationRequest, known: Reference) -> list[str]:
    """What a reader of the metrics must know."""
    caveats = []
    if request.relax and request.calculator == CHGNET:
        caveats.append("energies are CHGNet's: e_above_hull within 0.06 eV/atom of zero is inside its error")
    n_relaxed = sum(bool(row.relaxation) for row in judgement.rows)
    if request.relax and n_relaxed < 100:
        caveats.append(f"{n_relaxed} relaxed crystals give a rate to about ± {n_relaxed**-0.5 if n_relaxed else 1:.2f}")
    if request.relax and request.pick == "first":
        caveats.append(
            "the first crystals were relaxed, not random ones: rates of the budget hold only if order is chance"
        )
    if known.unreadable:
        caveats.append(
            f"{len(known.unreadable)} known phases of {known.name} could not be read and are not compared with"
        )
    if lost := sum(found["timed_out"] for found in judgement.undecided.values()):
        caveats.append(f"{lost} comparisons ran out of time and count as different")
    return caveats


def _timings(clock: _Clock, judgement: Judgement, relaxations: Mapping[str, Relaxation]) -> dict[str, Any]:
    """Seconds of each stage and each relaxation, and what a CPU-hour of relaxation found."""
    hours = sum(relaxation.seconds for relaxation in relaxations.values()) / 3600
    timings: dict[str, Any] = {"seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()}}
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


def _with_files(rows: list[Row], relaxations: Mapping[str, Relaxation]) -> list[Row]:
    """The rows with the names of the files that relaxed crystals get: in input order, and fit for any file system."""
    width = len(str(len(rows)))
    named = []
    for number, row in enumerate(rows, start=1):
        relaxation = relaxations.get(row.name)
        if relaxation is not None and relaxation.usable:
            safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", row.name)[:80]
            row = replace(row, relaxed_file=f"{number:0{width}d}_{safe}")
        named.append(row)
    return named


def _write(folder: Path, head: Mapping[str, Any], evaluation: Evaluation) -> None:
    """Write everything; ``metrics.json`` comes last and says that the rest is there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / REQUEST, head)
    rows = evaluation.judgement.rows
    written = [row for row in rows if row.relaxed_file]
    structures = [s for row in written if (s := evaluation.relaxations[row.name].structure) is not None]
    if evaluation.relaxations:
        shutil.rmtree(folder / RELAXED_FOLDER, ignore_errors=True)
        (folder / RELAXED_FOLDER).mkdir()
        write_structures(structures, [row.relaxed_file for row in written], folder / RELAXED_FOLDER, "cif")
        write_text(folder / RELAXED_FILE, _extxyz(structures, written))
    write_text(folder / ROWS, csv_text([vars(row) for row in rows], COLUMNS))
    write_json(folder / TIMINGS, evaluation.timings)
    write_json(folder / METRICS, evaluation.record)


def _extxyz(structures: list[Structure], rows: list[Row]) -> str:
    """Frames with name, energy (eV, of the cell) and e_above_hull (eV/atom)."""
    from ase.io.extxyz import write_extxyz

    frames = to_atoms(from_structures(structures)) if structures else []
    for atoms, row in zip(frames, rows, strict=True):
        atoms.info |= {"name": row.relaxed_file, "input": row.name}
        atoms.info |= {"total_energy": row.energy * len(atoms), "e_above_hull": row.e_above_hull}
    buffer = io.StringIO()
    write_extxyz(buffer, frames)
    return buffer.getvalue()


def _check_folder(folder: Path, *, resume: bool) -> None:
    if not resume:
        check_free(folder)
    elif not (folder / REQUEST).is_file():
        raise InputError(f"there is nothing to resume in {folder}: it has no {REQUEST}; leave out --resume")


def _check_same(folder: Path, head: Mapping[str, Any]) -> None:
    """Refuse to mix two different evaluations."""
    try:
        earlier = json.loads((folder / REQUEST).read_bytes())
    except ValueError as error:
        raise InputError(f"{folder / REQUEST} is damaged ({error}); name another folder with --out") from None
    changed = _differences(earlier, json.loads(json.dumps(head)))
    if changed:
        raise InputError(
            f"{folder} belongs to another evaluation ({', '.join(changed)} differ); repeat its command with --resume, "
            "or name another folder with --out"
        )


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what differs, one level down."""
    found = []
    for key in sorted({*earlier, *now}):
        one, other = earlier.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{key}.{name}" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        elif one != other:
            found.append(key)
    return found
