"""The page of a ``cg-generate`` run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.standard_cell import standard_cell
from crystalgraph.io.run_layout import CANDIDATES, EXTENSION, RELAXED_FOLDER, STRUCTURES_FOLDER
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.relax.potentials import potential_label
from crystalgraph.report.crystal_data import MAX_CRYSTALS, Crystal, Version, poscar_text
from crystalgraph.report.distributions import Distribution, bars, histogram
from crystalgraph.report.funnel import funnel_lines
from crystalgraph.report.generation_table import COLUMNS, candidate_row
from crystalgraph.report.hull_picture import Point, energy_text, hull_picture, known_note, neighbours
from crystalgraph.report.known_comparison import ComparedPhase, known_phases_of
from crystalgraph.report.ladder import Polymorph, polymorph_ladder
from crystalgraph.report.notation import group_text
from crystalgraph.report.page import MAX_ROWS, Page, write_page
from crystalgraph.report.words import (
    LEARNED_ATOMS,
    MADE_CAVEAT,
    PATTERN_CAVEAT,
    PICTURE_CAVEAT,
    SCOPE_CAVEAT,
    SCORE_CAVEAT,
    SIZE_CAVEAT,
    sentence,
)
from crystalgraph.screening.outcome import RELAXED

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.known.likeness import Likeness
    from crystalgraph.relax.hull import Hull
    from crystalgraph.screening.candidates import Candidates
    from crystalgraph.screening.outcome import Outcome
    from crystalgraph.screening.screen import Sample

WIDEST_E_HULL = 2.0
"""eV/atom; what lies higher above the hull is counted in the note of the histogram."""


def write_generation_report(
    folder: Path,
    record: Mapping[str, Any],
    candidates: Candidates,
    hull: Hull | None = None,
    known: CrystalTable | None = None,
) -> Path:
    """Write ``report.html`` and the plots beside it into a finished run folder.

    Args:
        folder: of the run; its structure files are read.
        record: content of ``run.json``.
        candidates: of the run.
        hull: of the known phases; None where nothing was relaxed.
        known: known phases, which candidates of their formula are compared with; None for no comparison.

    Returns:
        The path of the page.
    """
    return write_page(folder, generation_page(folder, record, candidates, hull, known))


def generation_page(
    folder: Path,
    record: Mapping[str, Any],
    candidates: Candidates,
    hull: Hull | None = None,
    known: CrystalTable | None = None,
) -> Page:
    """What the page shows; arguments as for `write_generation_report`."""
    selected = candidates.selected
    table = [candidate_row(place, sample, candidates) for place, sample in enumerate(selected)]
    relaxed = [k for k, row in enumerate(table) if row["funnel_status"] == RELAXED]
    picture, note = _hull(hull, table, relaxed)
    system = str(candidates.request.system)
    distributions = _distributions(table, candidates)
    phases = [] if known is None else known_phases_of({row["formula"] for row in table[:MAX_CRYSTALS]}, known, hull)
    return Page(
        title=str(candidates.request.formula or system.replace("-", "–")),
        kind="generated crystals",
        lead=str(candidates.request),
        figures=_figures(record, table, relaxed),
        unit="sample",
        funnel=funnel_lines(candidates, record),
        funnel_note=candidates.shortfall,
        hull=picture,
        hull_note=note,
        ladder=_ladder(candidates, table, phases),
        columns=list(COLUMNS),
        rows=table[:MAX_ROWS],
        n_rows=len(table),
        rows_file=CANDIDATES,
        crystals=[
            _crystal(folder, place, sample, candidates, hull) for place, sample in enumerate(selected[:MAX_CRYSTALS])
        ],
        phases=[phase.shown for phase in phases],
        distributions=distributions,
        missing=_missing(record, hull),
        record=_record(record, system),
        caveats=_caveats(record, candidates),
    )


def _figures(record: Mapping[str, Any], table: list[dict[str, Any]], relaxed: list[int]) -> list[tuple[str, str]]:
    counts = record["counts"]
    formulas, groups = len({row["formula"] for row in table}), len({row["group"] for row in table} - {None})
    figures = [
        (f"{counts['drawn']:,}", "samples drawn"),
        (f"{counts['selected']:,}", "selected"),
        (f"{formulas}", "formula" if formulas == 1 else "formulas"),
        (f"{groups}", "space group" if groups == 1 else "space groups"),
    ]
    if "relaxation" not in record:
        return figures
    energies = [table[k]["e_above_hull"] for k in relaxed]
    figures = [*figures[:2], (f"{len(relaxed):,}", "relaxed")]
    if energies:
        figures.append((f"{min(energies):+.3f}".replace("-", "−"), "eV/atom, lowest above the hull"))
        if len(record["relaxation"]["potentials"]) > 1:
            agreed = sum(table[k]["agreed"] is True for k in relaxed)
            figures.append((f"{agreed:,}", f"at most {METASTABLE:g} eV/atom by all potentials"))
        else:
            low = sum(energy <= METASTABLE for energy in energies)
            figures.append((f"{low:,}", f"at most {METASTABLE:g} eV/atom"))
    return figures


def _hull(hull: Hull | None, table: list[dict[str, Any]], relaxed: list[int]) -> tuple[dict[str, Any] | None, str]:
    if hull is None:
        return None, ""
    points = [
        Point(
            row=k,
            formula=table[k]["formula"],
            group=table[k]["group"],
            e_above_hull=table[k]["e_above_hull"],
            name=table[k]["name"],
        )
        for k in relaxed
        if k < MAX_ROWS and isfinite(table[k]["e_above_hull"])
    ]
    picture = hull_picture(hull, points)
    if picture is None:
        return None, ""
    return picture, f"{len(points)} relaxed candidates and {known_note(hull)}"


def _crystal(folder: Path, place: int, sample: Sample, candidates: Candidates, hull: Hull | None) -> Crystal:
    versions = []
    if place < len(candidates.relaxed):
        versions.append(
            _version(folder / RELAXED_FOLDER, "relaxed", candidates.relaxed[place], candidates.names[place])
        )
    drawn = candidates.structures[place] if sample.strictly_valid else None
    versions.append(_version(folder / STRUCTURES_FOLDER, "as drawn", drawn, candidates.drawn_names[place]))
    likeness = (candidates.likenesses or {}).get(sample.draw)
    facts = _facts(sample, (candidates.outcomes or {}).get(sample.draw), candidates.judges)
    facts += _likeness_facts(likeness)
    if hull is not None:
        facts += neighbours(hull, sample.formula)
    return Crystal(
        name=candidates.names[place],
        formula=sample.formula,
        facts=facts,
        versions=versions,
        known_phase=(likeness.relaxed_known_phase or likeness.known_phase) if likeness else "",
    )


def _ladder(
    candidates: Candidates, table: list[dict[str, Any]], phases: Sequence[ComparedPhase]
) -> dict[str, Any] | None:
    """The polymorphs, where one formula was asked for."""
    if candidates.request.formula is None:
        return None
    polymorphs = [
        Polymorph(
            row=k,
            name=row["name"],
            volume=row["volume"],
            energy=row["e_above_hull"] if isfinite(row["e_above_hull"]) else row["e_above_hull_unrelaxed"],
            score=row["score"],
            group=row["group"],
            is_relaxed=isfinite(row["e_above_hull"]),
        )
        for k, row in enumerate(table[:MAX_ROWS])
    ]
    return polymorph_ladder(str(candidates.request.formula), [*polymorphs, *(phase.polymorph for phase in phases)])


def _likeness_facts(likeness: Likeness | None) -> list[tuple[str, str]]:
    if likeness is None:
        return []
    drawn = (likeness.known_phase, likeness.known_rmsd)
    relaxed = (likeness.relaxed_known_phase, likeness.relaxed_known_rmsd)
    labelled = (("known as, relaxed", relaxed), ("known as, as drawn", drawn))
    return [(title, f"{name}, atoms {distance:.2f} Å apart") for title, (name, distance) in labelled if name]


def _facts(sample: Sample, outcome: Outcome | None, judges: Sequence[str]) -> list[tuple[str, str]]:
    facts = []
    if outcome is not None:
        relaxed = outcome.relaxed_space_group if outcome.funnel_status == RELAXED else None
        after, before = outcome.e_above_hull, outcome.e_above_hull_unrelaxed
        opinions = {judge: outcome.e_above_hull_by.get(judge, nan) for judge in judges}
        facts += [
            ("above the hull", energy_text(after) if outcome.funnel_status == RELAXED else "not known"),
            *[(f"by {potential_label(judge)}", energy_text(energy)) for judge, energy in opinions.items()],
            ("as drawn", energy_text(before)),
            ("relaxation", f"{outcome.relax_status}, {outcome.n_steps} steps" if outcome.relax_status else "none"),
            ("group relaxed", group_text(relaxed)),
            ("remark", outcome.funnel_reason),
        ]
    relation = {"exact": "as requested", "supergroup": "contains the requested", "other": "not the requested"}.get(
        sample.symmetry_match, ""
    )
    facts += [
        ("group drawn", ", ".join(filter(None, (group_text(sample.space_group), relation)))),
        ("group requested", group_text(sample.space_group_requested)),
        ("Wyckoff template", sample.template),
        ("source", sample.source),
        ("remark", sample.reason),
    ]
    return [(label, value) for label, value in facts if value]


def _version(folder: Path, label: str, structure: Structure | None, name: str) -> Version:
    """A crystal with its file, of the first kind that the folder has, in the conventional cell."""
    poscar = poscar_text(structure, name)
    if structure is not None and (cell := standard_cell(structure)) is not None:
        structure = cell.conventional
    for fmt, kind in (("cif", "CIF"), ("poscar", "POSCAR")):
        file = folder / f"{name}{EXTENSION[fmt]}"
        if file.is_file():
            text = file.read_bytes().decode()
            return Version(
                label=label,
                structure=structure,
                file=f"{folder.name}/{file.name}",
                text=text,
                kind=kind,
                poscar=text if fmt == "poscar" else poscar,
            )
    return Version(label=label, structure=structure, poscar=poscar)


def _distributions(table: list[dict[str, Any]], candidates: Candidates) -> list[Distribution]:
    energies = {
        "as drawn": [row["e_above_hull_unrelaxed"] for row in table],
        "relaxed": [row["e_above_hull"] for row in table],
    }
    volumes: dict[str, list[float | None]] = {"as drawn": [row["volume_drawn"] for row in table]}
    if candidates.relaxed:
        volumes["relaxed"] = [row["volume"] for row in table[: len(candidates.relaxed)]]
    groups = {"as drawn": [_text(sample.space_group) for sample in candidates.selected]}
    if candidates.relaxed:
        groups["relaxed"] = [_text(row["group"]) for row in table[: len(candidates.relaxed)]]
    plots = (
        histogram("e_hull", "Energy above the hull", "eV/atom", energies, widest=WIDEST_E_HULL),
        histogram("volume", "Volume", "Å³ per atom", volumes),
        bars("groups", "Space groups", "number", groups),
        bars("formulas", "Formulas", "", {"selected": [row["formula"] for row in table]}),
    )
    return [plot for plot in plots if plot is not None]


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _missing(record: Mapping[str, Any], hull: Hull | None) -> list[str]:
    lines = []
    if hull is None:
        how = "cg-evaluate RUN --relax 10" if record["request"]["raw"] else "--relax 10"
        lines.append(f"No energies and no convex hull: nothing was relaxed. {how} would relax ten.")
    elif len(hull.system) not in (2, 3):
        lines.append(
            f"No picture of the hull: {hull.system} has {len(hull.system)} elements; energies are in the table."
        )
    if record["request"]["raw"]:
        lines.append("Not compared with known phases one by one: cg-evaluate RUN does that.")
    return lines


def _record(record: Mapping[str, Any], system: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was requested and done, and with what."""
    request, model = record["request"], record["model"]
    requested = [
        ("chemical system", system),
        ("formula", request["formula"] or "any"),
        ("ranges", ", ".join(request["ranges"]) or "none"),
        ("space group", group_text(request["space_group_number"]) or "any"),
        *[(name.replace("_", " "), text) for name, text in request.get("constraints", {}).items()],
        ("atoms in the primitive cell", f"at most {request['max_atoms']}"),
        ("samples, nothing dropped" if request["raw"] else "distinct crystals", str(request["num"])),
        ("seed", str(request["seed"])),
        ("temperature", f"{request['temperature']:g}"),
        ("templates no known crystal has", f"{request['explore']:.0%} of the draws"),
        ("fast", "yes" if request["fast"] else "no"),
        ("surrogate relaxation steps", str(record["surrogate_steps"])),
    ]
    means = [("model", model["name"]), ("model SHA-256", model["sha256"]), ("device", record["device"])]
    if command := model["record"].get("command"):
        means.append(("model trained with", command))
    if plausibility := (record["composition"] or {}).get("plausibility"):
        means.append(
            ("composition filter", f"{plausibility['dataset']}, {plausibility['known_compositions']} compositions")
        )
    sections = [("Requested", requested), ("Made with", means)]
    if relaxation := record.get("relaxation"):
        settings, judges = relaxation["settings"], relaxation["potentials"]
        sections.append(
            (
                "Relaxed with",
                [
                    *[line for judge in judges for line in _judge_lines(judge)],
                    ("ranked by", potential_label(relaxation["ranked_by"])),
                    *([("pressure", f"{settings['pressure']:g} GPa")] if settings.get("pressure") else []),
                    ("most relaxations", str(settings["limit"])),
                    ("largest force", f"{settings['fmax']:g} eV/Å, finalists {settings['finalists_fmax']:g}"),
                    ("most steps", str(settings["max_steps"])),
                ],
            )
        )
    return [*sections, ("Versions", list(record["versions"].items()))]


def _judge_lines(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A potential, its weights, and the hull that it gave."""
    hull = judge["hull"]
    return [
        (judge["label"], f"version {judge['version'] or 'unknown'}, SHA-256 {judge['sha256'] or 'unknown'}"),
        (f"hull by {judge['label']}", f"{hull['phases']} known phases, SHA-256 {hull['sha256']}"),
    ]


def _caveats(record: Mapping[str, Any], candidates: Candidates) -> list[str]:
    first = [] if "relaxation" in record else [SCORE_CAVEAT]
    size = [SIZE_CAVEAT] if candidates.request.max_atoms > LEARNED_ATOMS else []
    return [*first, *map(sentence, record["caveats"]), MADE_CAVEAT, *size, SCOPE_CAVEAT, PICTURE_CAVEAT, PATTERN_CAVEAT]
