"""Potentials and the learned score against DFT, on crystals that other tools made.

    python -m tools.bench foreign FOLDER --cache CACHE --workers 2 --out tools/results/foreign.json

FOLDER holds a folder of CIFs for each method, named ``formula_group.cif``, and beside it ``METHOD.csv`` with formula,
space group and DFT decomposition energy (eV/atom, negative below the hull of the Materials Project), as published by
N. Szymanski and C. Bartel, arXiv:2501.02144 (MIT). Each crystal is taken as its file has it, and measured from the
hull that each potential gives the known phases of its system which lie near DFT's hull. A crystal that a potential
cannot do is counted. With --relax N, N of each method, picked at random, are relaxed by the first potential, and the
others judge the results. None of these files is ever trained on; but for those, whether one equals a crystal of the
corpus is not looked for.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import load
from crystalgraph.models.bundle import load_model
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.potentials import WITH_WEIGHTS, potential_identity
from tools.bench.foreign_relaxed import Given, relaxed_figures
from tools.bench.heights import compared, heights
from tools.bench.judge import kept_single_points, references
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import foreign as table

NEAR_HULL = 0.03
"""eV/atom above the hull by the corpus's own energies; higher phases have no part in a hull."""

SCORE = "learned score"
"""The shipped model's, as an energy above the hull: 0.1 eV/atom with the sign turned."""


@dataclass(frozen=True)
class Foreign:
    """Crystals that other tools made, and what DFT says of them.

    Attributes:
        table: the crystals.
        methods: that made each.
        space_groups: of each, by its file's name.
        dft: decomposition energy of each, eV/atom.
        left_out: files without one row of their own.
    """

    table: CrystalTable
    methods: list[str]
    space_groups: list[int]
    dft: list[float]
    left_out: int


def read(folder: Path) -> Foreign:
    """The crystals of all methods that have exactly one DFT energy.

    Raises:
        InputError: if the folder has no method.
    """
    parts: list[CrystalTable] = []
    methods: list[str] = []
    groups: list[int] = []
    dft: list[float] = []
    left_out = 0
    for file in sorted(folder.glob("*.csv")):
        rows: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        with file.open() as text:
            for row in csv.DictReader(text):
                key = str(Formula.parse(row["Chemical Formula"])), int(row["Space Group Number"])
                rows[key].append(float(row["Ed (eV/atom)"]))
        crystals, kept = load(folder / file.stem), []
        for k, name in enumerate(crystals.ids):
            formula, _, group = Path(name).stem.rpartition("_")
            found = rows[str(Formula.parse(formula)), int(group)]
            if len(found) == 1:
                kept.append(k)
                methods.append(file.stem)
                groups.append(int(group))
                dft += found
        left_out += len(crystals.order) - len(kept)
        parts.append(crystals[kept])
    if not parts:
        raise InputError(f"{folder} has no METHOD.csv beside a folder of CIFs; unpack the published archive there")
    return Foreign(CrystalTable.concatenate(parts), methods, groups, dft, left_out)


def systems_of(table: CrystalTable) -> list[ChemicalSystem]:
    """The system of each crystal."""
    return [
        Formula.from_atomic_numbers(numbers.tolist()).system
        for numbers in table.crystals.atomic_numbers.split(table.crystals.num_atoms.tolist())
    ]


def near_phases(systems: Sequence[ChemicalSystem]) -> tuple[CrystalTable, list[list[int]]]:
    """Known phases near the hull inside any of the systems, and the positions of those of each."""
    corpus = load_dataset("corpus")
    above = corpus.columns["e_above_hull"].astype(float)
    is_element = corpus.columns["n_elements"] == 1
    near = np.flatnonzero((above <= NEAR_HULL) | is_element)
    of_key: defaultdict[frozenset[str], list[int]] = defaultdict(list)
    for k in near.tolist():
        of_key[frozenset(corpus.columns["chemsys"][k].split("-"))].append(k)
    chosen = [
        sorted(k for key, members in of_key.items() if key <= set(system.elements) for k in members)
        for system in systems
    ]
    needed = sorted({k for members in chosen for k in members})
    place = {k: position for position, k in enumerate(needed)}
    return corpus[needed], [[place[k] for k in members] for members in chosen]


def hulls_by(
    systems: Sequence[ChemicalSystem],
    phases: CrystalTable,
    inside: Sequence[Sequence[int]],
    potential: str,
    cache: Path | None,
    workers: Workers,
) -> list[Hull | None]:
    """The hull of each crystal's system by a potential; None where an element has no energy."""
    known = kept_single_points(phases.structures, potential, cache, workers)
    fixed, formulas = references(potential, cache, workers), phases.columns["formula"].tolist()
    hulls: list[Hull | None] = []
    for system, members in zip(systems, inside, strict=True):
        found = [
            Phase(name=phases.ids[k], formula=str(formulas[k]), energy=known[k])
            for k in members
            if math.isfinite(known[k]) and str(formulas[k]).rstrip("0123456789") not in fixed
        ]
        found += [Phase(name=e, formula=e, energy=fixed[e]) for e in system.elements if e in fixed]
        try:
            hulls.append(Hull(system, found))
        except InputError:
            hulls.append(None)
    return hulls


def main(arguments: Sequence[str]) -> None:
    """Compare and write."""
    parser = command_line("foreign", __doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, help="folder of finished energies; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--potentials", nargs="+", default=[potential.name for potential in WITH_WEIGHTS])
    parser.add_argument("--relax", type=int, default=0, help="crystals of each method that the first potential relaxes")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    foreign = read(options.folder)
    systems = systems_of(foreign.table)
    phases, inside = near_phases(systems)
    model = load_model("nbo")
    score = model.score(foreign.table.crystals, torch.tensor(foreign.space_groups))
    above: dict[str, list[float]] = {SCORE: (-0.1 * score).tolist()}
    structures, hulls = foreign.table.structures, dict[str, list[Hull | None]]()
    with Workers(options.workers) as workers:
        for potential in options.potentials:
            hulls[potential] = hulls_by(systems, phases, inside, potential, options.cache, workers)
            energies = kept_single_points(structures, potential, options.cache, workers)
            above[potential] = heights(hulls[potential], structures, energies)
        relaxed = None
        if options.relax:
            valid = strict_validity(foreign.table.crystals).valid.tolist()
            crystals = [
                Given(
                    method=foreign.methods[k],
                    structure=structure,
                    is_valid=valid[k],
                    dft=foreign.dft[k],
                    hulls={potential: of_each[k] for potential, of_each in hulls.items()},
                )
                for k, structure in enumerate(structures)
            ]
            corpus = load_dataset("corpus")
            relaxed = relaxed_figures(crystals, options.relax, options.potentials, corpus, options.cache, workers)
    methods = sorted(set(foreign.methods))
    record = record_head("foreign", arguments, model) | {
        "what": "energies above the hull of crystals that other tools made against DFT's, as their files have them; of "
        "some also relaxed",
        "crystals": len(foreign.table),
        "left_out": foreign.left_out,
        "known_phases": len(phases),
        "potentials": {name: potential_identity(name) for name in options.potentials},
        "all": {name: compared(values, foreign.dft) for name, values in above.items()},
        "by_method": {
            method: {name: compared(*of_method(method, foreign, values)) for name, values in above.items()}
            for method in methods
        },
        "relaxed": relaxed,
    }
    write_result(options.out, record)
    print(table(record))


def of_method(method: str, foreign: Foreign, values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The energies of one method's crystals, and DFT's."""
    chosen = [k for k, own in enumerate(foreign.methods) if own == method]
    return [values[k] for k in chosen], [foreign.dft[k] for k in chosen]
