"""Every potential with weights in a wheel against DFT, over each system that has enough DFT energies in the datasets.

    python -m tools.bench judge --cache CACHE --workers 2 --out tools/results/judge.json

Single points are taken at the geometry of the Materials Project; the shipped hulls, of crystals relaxed by each
potential, are compared as well. Both hulls, the potential's and DFT's, are of the same phases: those of the datasets
that have a DFT energy. The energies are eV/atom. SevenNet and CHGNet learned from many of these phases: it is a test of
fit. The errors that the report names are written into the package.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.matching import matches
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.engine.workers import Workers
from crystalgraph.io.atomic import write_json
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.datasets import load_dataset
from crystalgraph.known.elements import WITHOUT_CRYSTAL, textbook_crystal
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, is_relaxed, reference_hull
from crystalgraph.relax.hull import Hull, Phase, hull_error
from crystalgraph.relax.many import relax_many, single_points
from crystalgraph.relax.potentials import WITH_WEIGHTS, element_energy, potential_identity
from crystalgraph.relax.relaxation import structure_key
from crystalgraph.report.words import JUDGE_ERRORS
from tools.bench.progress_lines import ProgressLines
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import judge as table

ENOUGH = 10
"""Compounds of all elements of a system that must have a DFT energy."""

RELAXED = "Nb-O", "Ti-O", "Mg-Mn-O"
"""Systems whose hulls ship."""

WATCHED = {"mp-1095187": "Nb-O"}
"""Phases that a potential was seen to misjudge, with their systems."""


@dataclass(frozen=True)
class Labelled:
    """The known phases with DFT energies of some systems, each once.

    Attributes:
        table: the phases.
        of_system: system -> positions of its phases and of those of the systems inside it.
    """

    table: CrystalTable
    of_system: Mapping[str, list[int]]


def systems(data: CrystalTable) -> list[str]:
    """Systems of two and more elements with at least `ENOUGH` compounds that have a DFT energy."""
    has_energy = np.isfinite(data.columns["dft_formation_energy"].astype(float))
    counted = Counter(data.columns["chemsys"][has_energy].tolist())
    return sorted(str(ChemicalSystem.parse(key)) for key, n in counted.items() if n >= ENOUGH and "-" in key)


def labelled(names: Iterable[str]) -> Labelled:
    """All phases with DFT energies, and the elements, of some systems."""
    tables: list[CrystalTable] = []
    of_system: dict[str, list[int]] = {}
    place: dict[str, int] = {}
    for name in names:
        phases = known_phases(ChemicalSystem.parse(name))
        is_element = (phases.compositions > 0).sum(1) == 1
        chosen = np.isfinite(phases.columns["dft_formation_energy"].astype(float)) | is_element
        phases = phases[np.flatnonzero(chosen)]
        new = [k for k, own in enumerate(phases.ids) if own not in place]
        place |= {phases.ids[k]: len(place) + count for count, k in enumerate(new)}
        tables += [phases[new]] if new else []
        of_system[name] = [place[own] for own in phases.ids]
    return Labelled(table=CrystalTable.concatenate(tables), of_system=of_system)


def kept_single_points(
    structures: Sequence[Structure], potential: str, cache: Path | None, workers: Workers
) -> list[float]:
    """Energies of crystals as they are, eV/atom; those of an earlier run of the same are taken from the cache."""
    content = json.dumps([potential_identity(potential), *map(structure_key, structures)])
    file = cache_folder("judge", cache) / f"{hashlib.sha256(content.encode()).hexdigest()}.json"
    if not file.exists():
        energies = single_points(structures, potential, workers=workers, progress=ProgressLines())
        write_json(file, [energy if math.isfinite(energy) else None for energy in energies])
    return [math.nan if energy is None else energy for energy in json.loads(file.read_bytes())]


def references(potential: str, cache: Path | None, workers: Workers) -> dict[str, float]:
    """Energies of the elements that the potential has no crystal of in the datasets, eV/atom."""
    fixed = element_energy(potential)
    own = [element for element in WITHOUT_CRYSTAL if element not in fixed]
    settings, folder = replace(REFERENCE_SETTINGS, potential=potential), cache_folder("relaxations", cache)
    structures = [textbook_crystal(element).structures[0] for element in own]
    relaxations = relax_many(structures, settings, workers=workers, folder=folder)
    return dict(fixed) | {element: relaxation.energy for element, relaxation in zip(own, relaxations, strict=True)}


def hull_of(system: str, data: Labelled, energies: Sequence[float], fixed: Mapping[str, float]) -> Hull:
    """The hull that single points give; some elements have fixed energies."""
    chosen = ChemicalSystem.parse(system)
    phases = [
        Phase(
            name=data.table.ids[k],
            formula=str(data.table.columns["formula"][k]),
            energy=energies[k],
            dft_e_form=data.table.number("dft_formation_energy", k),
            dft_e_above_hull=data.table.number("dft_e_above_hull", k),
        )
        for k in data.of_system[system]
        if math.isfinite(energies[k]) and str(data.table.columns["formula"][k]).rstrip("0123456789") not in fixed
    ]
    phases += [
        Phase(name=element, formula=element, energy=fixed[element]) for element in chosen.elements if element in fixed
    ]
    return Hull(chosen, phases)


def compared(hull: Hull) -> list[dict[str, Any]]:
    """Both energies of each compound both ways, each above the hull of the same phases: those with DFT energies."""
    elements = [phase for phase in hull.phases if is_element(phase)]
    compounds = [phase for phase in hull.phases if not is_element(phase) and phase.dft_e_form is not None]
    zero = [Phase(name=element, formula=element, energy=0.0) for element in hull.system.elements]
    dft = Hull(hull.system, [*zero, *(replace(phase, energy=phase.dft_e_form or 0.0) for phase in compounds)])
    return [
        row | {"dft_e_above_hull": dft.e_above_hull(row["formula"], row["dft_formation_energy"])}
        for row in hull_error(Hull(hull.system, [*elements, *compounds])).rows
    ]


def is_element(phase: Phase) -> bool:
    """Whether a phase is of one element."""
    return len(ChemicalSystem.parse(phase.formula)) == 1


def errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean errors and Spearman's rank correlation of compounds."""
    from scipy.stats import spearmanr

    found: dict[str, Any] = {"n": len(rows)}
    for what in ("formation_energy", "e_above_hull"):
        differences = np.array([row[what] - row[f"dft_{what}"] for row in rows])
        found |= {f"{what}_mae": float(np.abs(differences).mean()), f"{what}_bias": float(differences.mean())}
    above, dft = ([row[key] for row in rows] for key in ("e_above_hull", "dft_e_above_hull"))
    found["spearman"] = float(spearmanr(above, dft).statistic)
    return found


def relaxed_errors(system: str, potential: str, cache: Path | None, workers: Workers) -> dict[str, Any]:
    """The errors of the shipped hull, over all compounds and over those that keep their structure."""
    settings, chosen = replace(REFERENCE_SETTINGS, potential=potential), ChemicalSystem.parse(system)
    phases = known_phases(chosen)
    phases = phases[is_relaxed(phases, potential)]
    folder = cache_folder("relaxations", cache)
    relaxations = relax_many(phases.structures, settings, workers=workers, folder=folder, progress=ProgressLines())
    left = [
        name
        for name, structure, relaxation in zip(phases.ids, phases.structures, relaxations, strict=True)
        if relaxation.structure is not None and not matches(structure, relaxation.structure)
    ]
    hull = reference_hull(chosen, reach=math.inf, settings=settings, workers=workers, cache=cache)
    rows = compared(hull)
    kept = [row for row in rows if row["name"] not in left]
    return {"all": errors(rows), "structure_kept": errors(kept), "changed": left, "left_out": hull.left_out}


def main(arguments: Sequence[str]) -> None:
    """Compare and write."""
    parser = command_line("judge", __doc__)
    parser.add_argument("--cache", type=Path, help="folder of finished relaxations; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--systems", nargs="+", help="default: all that have enough DFT energies")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    chosen = options.systems or sorted({*systems(load_dataset("corpus")), "Nb-O"})
    data = labelled(chosen)
    record: dict[str, Any] = record_head("judge", arguments) | {
        "what": "potentials against the Materials Project's DFT (MP2020 scheme), eV/atom",
        "systems": len(chosen),
        "phases": len(data.table),
        "potentials": {potential.name: potential_identity(potential.name) for potential in WITH_WEIGHTS},
        "single_points": {},
        "relaxed": {},
        "watched": {},
    }
    with Workers(options.workers) as workers:
        for potential in (each.name for each in WITH_WEIGHTS):
            energies = kept_single_points(data.table.structures, potential, options.cache, workers)
            fixed = references(potential, options.cache, workers)
            hulls = {name: hull_of(name, data, energies, fixed) for name in chosen}
            rows = {name: compared(hull) for name, hull in hulls.items()}
            everything = {row["name"]: row for found in rows.values() for row in found}
            record["single_points"][potential] = {name: errors(found) for name, found in rows.items()}
            record["single_points"][potential]["all"] = errors(list(everything.values()))
            record["watched"][potential] = {
                name: next(row["e_above_hull"] for row in rows[system] if row["name"] == name)
                for name, system in WATCHED.items()
                if system in rows
            }
            if potential in {"sevennet-0", "sevennet-l3i5", "diep"}:
                record["relaxed"][potential] = {
                    system: relaxed_errors(system, potential, options.cache, workers)
                    for system in RELAXED
                    if not options.systems or system in options.systems
                }
    write_result(options.out, record)
    if not options.systems:
        write_json(JUDGE_ERRORS, {"command": record["command"], "errors": record["single_points"]})
    print(table(record))
