"""The page of a ``cg-evaluate`` run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.evaluation.rates import Absent, Metric, Number
from crystalgraph.io.run_layout import RELAXED_FOLDER, ROWS
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.relax.potentials import potential_label
from crystalgraph.report.crystal_data import MAX_CRYSTALS, Crystal, Version, poscar_text
from crystalgraph.report.distributions import Distribution, bars, histogram
from crystalgraph.report.generation import WIDEST_E_HULL
from crystalgraph.report.hull_picture import Point, energy_text, hull_picture, known_note, neighbours
from crystalgraph.report.notation import group_text
from crystalgraph.report.page import MAX_ROWS, Column, FunnelLine, MetricLine, Page, write_page
from crystalgraph.report.words import (
    MADE_CAVEAT,
    METRIC_MEANING,
    PATTERN_CAVEAT,
    PICTURE_CAVEAT,
    SCOPE_CAVEAT,
    but_for,
    sentence,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.evaluation.rows import Row
    from crystalgraph.runs.evaluate import Evaluation

COLUMNS = (
    Column(key="place", label="#", meaning="lowest above the hull first, then as given"),
    Column(key="formula", label="formula", kind="formula"),
    Column(
        key="group",
        label="group",
        meaning=f"space group found with {SYMPREC:g} Å, after relaxation where relaxed",
        kind="group",
    ),
    Column(key="e_above_hull", label="e_hull", meaning="energy above the hull after relaxation, eV/atom", digits=3),
    Column(key="atoms", label="atoms", meaning="as given"),
    Column(key="volume", label="Å³/atom", meaning="volume per atom, after relaxation where relaxed", digits=2),
    Column(key="strictly_valid", label="valid", meaning="strictly valid", kind="bool", best="high"),
    Column(
        key="unique",
        label="unique",
        meaning="first of its equals; after relaxation where relaxed",
        kind="bool",
        best="high",
    ),
    Column(
        key="novel",
        label="novel",
        meaning="equals no known phase; after relaxation where relaxed",
        kind="bool",
        best="high",
    ),
    Column(key="new", label="new", meaning="novel, and equals no crystal learned from", kind="bool", best="high"),
    Column(key="known_phase", label="known phase", meaning="the one it equals", kind="text"),
    Column(key="msun", label="MSUN", meaning="metastable, unique and novel after relaxation", kind="bool", best="high"),
    Column(key="rmsd", label="RMSD", meaning="from given to relaxed, Å", digits=3),
    Column(key="name", label="name", meaning="of the input", kind="text"),
    Column(key="reason", label="reason", meaning="why it is not judged further", kind="text"),
)


def write_evaluation_report(folder: Path, evaluation: Evaluation) -> Path:
    """Write ``report.html`` and the plots beside it into a finished folder.

    Args:
        folder: with the results; files of relaxed crystals are read.
        evaluation: what was found.

    Returns:
        The path of the page.
    """
    return write_page(folder, evaluation_page(folder, evaluation))


def evaluation_page(folder: Path, evaluation: Evaluation) -> Page:
    """What the page shows; arguments as for `write_evaluation_report`."""
    given, record = evaluation.judgement.rows, evaluation.record
    rows = [
        given[k]
        for k in sorted(range(len(given)), key=lambda k: (_energy_or(given[k], inf), not given[k].strictly_valid, k))
    ]
    system = str(record["system"])
    points = [
        Point(
            row=k,
            formula=row.formula,
            group=row.relaxed_space_group,
            e_above_hull=row.e_above_hull,
            name=row.name,
        )
        for k, row in enumerate(rows[:MAX_ROWS])
        if isfinite(row.e_above_hull)
    ]
    hull = evaluation.hull
    picture = None if hull is None else hull_picture(hull, points)
    sources = _sources(evaluation)
    structures = dict(zip(evaluation.inputs.ids, evaluation.inputs.structures, strict=True))
    return Page(
        title=system.replace("-", "–") if len(system) < 40 else "Crystals of many elements",
        kind="judged crystals",
        lead=_lead(record),
        figures=_figures(evaluation),
        unit="input",
        funnel=_funnel(record, rows),
        metrics=_metrics(evaluation),
        hull=picture,
        hull_note="" if hull is None else f"{len(points)} relaxed crystals and {known_note(hull)}",
        columns=list(COLUMNS),
        rows=[_row(place, row) for place, row in enumerate(rows[:MAX_ROWS], start=1)],
        n_rows=len(rows),
        rows_file=ROWS,
        crystals=[_crystal(folder, row, structures.get(row.name), evaluation, sources) for row in rows[:MAX_CRYSTALS]],
        distributions=_distributions(rows),
        missing=_missing(evaluation),
        record=_record(record),
        caveats=_caveats(record),
    )


def _energy_or(row: Row, other: float) -> float:
    return row.e_above_hull if isfinite(row.e_above_hull) else other


def _lead(record: Mapping[str, Any]) -> str:
    learned = (
        ""
        if record["training"] is None
        else f", learned from {record['training']['name']}{but_for(record['training'])}"
    )
    known = f"known phases from {record['reference']['name']} ({record['reference']['crystals']})"
    return f"{record['counts']['inputs']} inputs of {record['request']['path']}, {known}{learned}"


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    counts, rows = evaluation.record["counts"], evaluation.judgement.rows
    figures = [(f"{counts['inputs']:,}", "inputs"), (f"{counts['strictly_valid']:,}", "strictly valid")]
    energies = [row.e_above_hull for row in rows if isfinite(row.e_above_hull)]
    if evaluation.hull is None:
        unique = sum(row.unique is True for row in rows)
        return [*figures, (f"{unique:,}", "unique"), (f"{sum(row.novel is True for row in rows):,}", "novel")]
    figures.append((f"{counts['relaxed']:,}", "relaxed"))
    if energies:
        figures.append((f"{min(energies):+.3f}".replace("-", "−"), "eV/atom, lowest above the hull"))
        figures.append((f"{sum(energy <= METASTABLE for energy in energies):,}", f"at most {METASTABLE:g} eV/atom"))
    figures.append((f"{sum(row.msun is True for row in rows):,}", "metastable, unique, novel"))
    return figures


def _funnel(record: Mapping[str, Any], rows: list[Row]) -> list[FunnelLine]:
    """From inputs to what was compared and relaxed."""
    counts = record["counts"]
    reasons = Counter(row.reason.partition(";")[0] for row in rows if row.reason and not row.relax_status)
    unread = Counter(row.reason for row in rows if row.in_system is None)
    gates = [
        FunnelLine(name="inputs", count=counts["inputs"]),
        _lost("not read", counts["inputs"] - counts["read"], unread),
        _lost("other elements", counts["read"] - counts["in_system"], Counter()),
        _lost("not valid", counts["in_system"] - counts["compared"], reasons - unread),
        FunnelLine(name="compared", count=counts["compared"], meaning="strictly valid and in the system"),
    ]
    if record["request"]["relax"]:
        gates.append(
            FunnelLine(name="relaxed", count=counts["relaxed"], meaning=f"picked: {record['request']['pick']}")
        )
        unusable = Counter(row.reason for row in rows if row.relax_status and not isfinite(row.e_above_hull))
        gates.append(_lost("no energy", unusable.total(), unusable))
    return [gate for gate in gates if gate.count or not gate.is_loss]


def _lost(name: str, count: int, reasons: Counter[str], n: int = 3) -> FunnelLine:
    return FunnelLine(
        name=name, count=count, is_loss=True, reasons=[f"{k} × {reason}" for reason, k in reasons.most_common(n)]
    )


def _metrics(evaluation: Evaluation) -> list[tuple[str, str, list[MetricLine]]]:
    groups = []
    for group, metrics in evaluation.judgement.metrics.items():
        said = {metric.reason if isinstance(metric, Absent) else "" for metric in metrics.values()}
        if len(said) == 1 and (reason := said.pop()):  # one line for a whole group that is absent
            lines = [MetricLine(name="all", absent=reason)]
        else:
            lines = [_metric(name, metric) for name, metric in metrics.items()]
        groups.append((group, METRIC_MEANING[group], lines))
    return groups


def _metric(name: str, metric: Metric) -> MetricLine:
    name = name.replace("_", " ")
    if isinstance(metric, Absent):
        return MetricLine(name=name, absent=metric.reason)
    if isinstance(metric, Number):
        value = f"{metric.value:{'' if isinstance(metric.value, int) else '.3f'}}".replace("-", "−")
        return MetricLine(name=name, value=f"{value} {metric.unit}".strip(), counts=f"n = {metric.n}")
    return MetricLine(
        name=name, value=f"{metric.value:.3f}", interval=metric.interval, share=metric.value, counts=metric.counts
    )


def _row(place: int, row: Row) -> dict[str, Any]:
    after = isfinite(row.e_above_hull)
    return {
        "place": place,
        "formula": row.formula,
        "group": row.relaxed_space_group if after else row.space_group,
        "e_above_hull": row.e_above_hull,
        "atoms": row.num_atoms,
        "volume": row.relaxed_volume_per_atom if after else row.volume_per_atom,
        "strictly_valid": row.strictly_valid,
        "unique": row.relaxed_unique if after else row.unique,
        "novel": row.relaxed_novel if after else row.novel,
        "new": row.relaxed_new if after else row.new,
        "known_phase": row.relaxed_known_phase if after else row.known_phase,
        "msun": row.msun,
        "rmsd": row.rmsd,
        "name": row.name,
        "reason": row.reason,
    }


def _sources(evaluation: Evaluation) -> dict[str, Path]:
    """The file of each input that is the only crystal of a CIF."""
    files = evaluation.inputs.source.files
    stems = Counter(file.stem for file in files)
    named = {(file.stem if stems[file.stem] == 1 else file.name): file for file in files}
    ids = set(evaluation.inputs.order)
    return {name: file for name, file in named.items() if file.suffix.lower() == ".cif" and name in ids}


def _crystal(
    folder: Path, row: Row, given: Structure | None, evaluation: Evaluation, sources: Mapping[str, Path]
) -> Crystal:
    from pymatgen.io.cif import CifWriter

    versions = []
    if row.file and (structure := evaluation.relaxations[row.name].structure) is not None:
        file = folder / RELAXED_FOLDER / f"{row.file}.cif"
        text = file.read_bytes().decode()
        versions.append(
            Version(
                label="relaxed",
                structure=structure,
                file=f"{RELAXED_FOLDER}/{file.name}",
                text=text,
                poscar=poscar_text(structure, row.name),
            )
        )
    if given is not None:
        drawn = given if row.strictly_valid else None
        text, file_name = _source_text(sources.get(row.name))
        versions.append(
            Version(
                label="as given",
                structure=drawn,
                file=file_name,
                text=text or str(CifWriter(given.copy().relabel_sites())),
                poscar=poscar_text(drawn, row.name),
            )
        )
    facts = _facts(row)
    if evaluation.hull is not None and row.in_system:
        facts += neighbours(evaluation.hull, row.formula)
    return Crystal(name=row.name, formula=row.formula or "not read", facts=facts, versions=versions)


def _source_text(file: Path | None) -> tuple[str, str]:
    """Content and name of an input's file; empty where it is not there, or not UTF-8."""
    if file is None:
        return "", ""
    try:
        return file.read_bytes().decode(), file.name
    except (OSError, UnicodeDecodeError):
        return "", ""


def _facts(row: Row) -> list[tuple[str, str]]:
    facts = []
    if row.relax_status:
        facts += [
            ("above the hull", energy_text(row.e_above_hull)),
            ("as given", energy_text(row.e_above_hull + row.energy_unrelaxed - row.energy)),
            ("relaxation", f"{row.relax_status}, {row.n_steps} steps"),
            ("group relaxed", group_text(row.relaxed_space_group)),
            ("equal when relaxed", ", ".join(filter(None, (row.relaxed_known_phase, row.relaxed_copy_of)))),
            ("RMSD", f"{row.rmsd:.3f} Å" if row.rmsd is not None else ""),
        ]
    equal = (row.known_phase, row.copy_of, row.training_crystal)
    facts += [
        ("group given", group_text(row.space_group)),
        ("equal as given", ", ".join(dict.fromkeys(filter(None, equal)))),
        ("remark", row.reason),
    ]
    return [(label, value) for label, value in facts if value]


def _distributions(rows: list[Row]) -> list[Distribution]:
    relaxed = [row for row in rows if isfinite(row.e_above_hull)]
    energies = {
        "as given": [row.e_above_hull + row.energy_unrelaxed - row.energy for row in relaxed],
        "relaxed": [row.e_above_hull for row in relaxed],
    }
    volumes = {"as given": [row.volume_per_atom for row in rows if row.strictly_valid]}
    groups = {"as given": [None if row.space_group is None else str(row.space_group) for row in rows]}
    if relaxed:
        volumes["relaxed"] = [row.relaxed_volume_per_atom for row in relaxed]
        groups["relaxed"] = [
            None if row.relaxed_space_group is None else str(row.relaxed_space_group) for row in relaxed
        ]
    found = (
        histogram("e_hull", "Energy above the hull", "eV/atom", energies, widest=WIDEST_E_HULL),
        histogram("volume", "Volume", "Å³ per atom", volumes),
        bars("groups", "Space groups", "number", groups),
        bars("formulas", "Formulas", "", {"inputs": [row.formula or None for row in rows]}),
    )
    return [plot for plot in found if plot is not None]


def _missing(evaluation: Evaluation) -> list[str]:
    hull = evaluation.hull
    if hull is None:
        return ["No energies and no convex hull: nothing was relaxed. --relax 10 would relax ten."]
    if len(hull.system) not in (2, 3):
        return [f"No picture of the hull: {hull.system} has {len(hull.system)} elements; energies are in the table."]
    return []


def _record(record: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was asked and done, and with what."""
    request, known, training = record["request"], record["reference"], record["training"]
    relax = f"{request['relax']}, {request['pick']}, seed {request['seed']}" if request["relax"] else "none"
    asked = [
        ("path", request["path"]),
        ("chemical system", record["system"]),
        ("known phases", f"{known['name']}, {known['crystals']} crystals"),
        (
            "learned from",
            "not stated"
            if training is None
            else f"{training['name']}, {training['crystals']} crystals{but_for(training)}",
        ),
        ("relaxed", relax),
        ("coverage", "yes" if request["coverage"] else "no"),
    ]
    made = [("inputs SHA-256", record["input"]["sha256"]), ("known phases SHA-256", known["sha256"])]
    if training is not None:
        made.append(("learned from SHA-256", training["sha256"]))
    if potential := record["potential"]:
        made.append(("potential", f"{potential_label(potential['name'])} {potential['version']}"))
        made.append(("potential SHA-256", potential["sha256"]))
        made.append(("hull SHA-256", record["hull"]["sha256"]))
    return [("Asked for", asked), ("Made with", made), ("Versions", list(record["versions"].items()))]


def _caveats(record: Mapping[str, Any]) -> list[str]:
    return [*map(sentence, record["caveats"]), MADE_CAVEAT, SCOPE_CAVEAT, PICTURE_CAVEAT, PATTERN_CAVEAT]
