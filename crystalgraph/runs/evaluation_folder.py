"""The folder that an evaluation leaves, and what a resumed one needs of it.

It holds ``metrics.json``, ``structures.csv`` (a row for every input), ``report.html``, ``relaxed/`` with a CIF each and
``relaxed.extxyz`` in the same order, ``timings.json``, and for a resumed run ``request.json`` and ``relaxations/``.
Times, and rates per CPU-hour, are in ``timings.json`` alone, so that everything else depends on the request only.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.standard_cell import primitive_cell
from crystalgraph.errors import InputError
from crystalgraph.evaluation.rows import COLUMNS, Row
from crystalgraph.io.atomic import check_free, new_folder, write_json, write_text
from crystalgraph.io.csv_table import csv_text
from crystalgraph.io.run_layout import METRICS, RELAXED_FILE, RELAXED_FOLDER, REQUEST, ROWS, RUN_RECORD, TIMINGS
from crystalgraph.io.writing import extxyz_text, write_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.relax.relaxation import Relaxation
    from crystalgraph.runs.evaluate import Evaluation

_OF_THE_INPUT = {"name", "file", "reason", "min_reduced_distance", "cdvae_valid", "strictly_valid"}
"""Columns that hold for a crystal as it was given, or say what its file is."""


def requested_system(run: Path) -> ChemicalSystem | None:
    """The chemical system that a run folder's record was asked for; None where this is no run of ours."""
    try:
        return ChemicalSystem.parse(json.loads((run / RUN_RECORD).read_bytes())["request"]["system"])
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def systems_left_out_of(run: Path, dataset: str | None) -> list[str]:
    """Systems that the model of a run folder learned nothing of, if this is the dataset that it learned from."""
    try:
        data = json.loads((run / RUN_RECORD).read_bytes())["model"]["record"]["config"]["data"]
        return [data["system"], *data["holdout_systems"]] if data["dataset"] == dataset else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def check_folder(out: Path, *, resume: bool) -> None:
    """Make sure that the folder can be written, or gone on with, before any work is done.

    Raises:
        InputError: if it cannot.
    """
    if not resume:
        if (out / REQUEST).is_file():
            raise InputError(
                f"{out} holds an evaluation; go on with it with --resume, or name another folder with --out"
            )
        check_free(out)
    elif not (out / REQUEST).is_file():
        raise InputError(f"there is nothing to resume in {out}: it has no {REQUEST}; leave out --resume")


def check_same(out: Path, head: Mapping[str, Any]) -> None:
    """Refuse to mix two different evaluations.

    Args:
        out: folder of an earlier run.
        head: what the results of this one depend on.

    Raises:
        InputError: if the earlier run was another one.
    """
    try:
        earlier = json.loads((out / REQUEST).read_bytes())
    except ValueError as error:
        raise InputError(f"{out / REQUEST} is damaged ({error}); name another folder with --out") from None
    if changed := _differences(earlier, json.loads(json.dumps(head))):
        raise InputError(
            f"{out} belongs to another evaluation ({', '.join(changed)} differ); repeat its command with --resume, "
            "or name another folder with --out"
        )


def write_request(out: Path, head: Mapping[str, Any]) -> None:
    """Write what the results will depend on, so that the run can be resumed."""
    if out.exists():
        write_json(out / REQUEST, head)
        return
    with new_folder(out) as folder:  # whole from its first moment, so that it can always be gone on with
        write_json(folder / REQUEST, head)


def files_of_relaxed(rows: list[Row], relaxations: Mapping[str, Relaxation]) -> list[Row]:
    """The rows with the names of the files that relaxed crystals get: in input order, and fit for any file system."""
    width = len(str(len(rows)))
    named = []
    for number, row in enumerate(rows, start=1):
        relaxation = relaxations.get(row.name)
        if relaxation is not None and relaxation.usable:
            safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", row.name)[:80]
            row = replace(row, file=f"{number:0{width}d}_{safe}")
        named.append(row)
    return named


def write_evaluation(out: Path, head: Mapping[str, Any], evaluation: Evaluation) -> None:
    """Write everything, the page too; ``metrics.json`` comes last and says that the rest is there.

    Args:
        out: the folder.
        head: what the results depend on.
        evaluation: what was found.
    """
    from crystalgraph.report.evaluation import write_evaluation_report

    write_request(out, head)
    rows = evaluation.judgement.rows
    written = [row for row in rows if row.file]
    structures = [s for row in written if (s := evaluation.relaxations[row.name].structure) is not None]
    if evaluation.relaxations:
        shutil.rmtree(out / RELAXED_FOLDER, ignore_errors=True)
        (out / RELAXED_FOLDER).mkdir()
        described = [_described(structure, row) for structure, row in zip(structures, written, strict=True)]
        names = [row.file for row in written]
        write_structures(described, names, out / RELAXED_FOLDER, "cif")
        write_text(out / RELAXED_FILE, extxyz_text(described, names))
    write_text(out / ROWS, csv_text([vars(row) for row in rows], COLUMNS))
    write_json(out / TIMINGS, evaluation.timings)
    write_evaluation_report(out, evaluation)
    write_json(out / METRICS, evaluation.record)


def _described(structure: Structure, row: Row) -> Structure:
    """The relaxed crystal as a run writes one: its symmetry exact, and with what is known about it."""
    values = vars(row)
    after = {key.removeprefix("relaxed_"): value for key, value in values.items() if key.startswith("relaxed_")}
    both = {key: value for key, value in values.items() if not key.startswith("relaxed_") and key not in _OF_THE_INPUT}
    primitive = primitive_cell(structure)
    own = {"num_atoms": len(primitive), "density": float(primitive.density), "input": row.name, "state": "relaxed"}
    return primitive.copy(properties=both | after | own)


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what differs, one level down."""
    names = []
    for key in sorted({*earlier, *now}):
        one, other = earlier.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names += [f"{key}.{name}" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        elif one != other:
            names.append(key)
    return names
