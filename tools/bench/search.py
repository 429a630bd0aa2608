"""Find ground states that are known: textbook compounds by formula alone, with a small budget.

    python -m tools.bench search --relax 8 --workers 2 --out tools/results/search.json

asks for crystals of each of 25 formulas, as ``cg-generate --formula F --relax K`` does, and looks for the ground state
among the first three. A case is found where one of these matches a crystal of the corpus that has the formula and the
group of the ground state and is one by DFT, or an isostructural one (StructureMatcher with its own tolerances); where
the corpus has neither, where one has the group after relaxation. Most of these compounds were trained on: it is a test
of use, not of generalisation. Finished cases are kept in ``--work``, so that a run that was killed goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalgraph.chemistry.system import Formula
from crystalgraph.errors import InputError
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.atomic import write_json
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.potentials import DEFAULT, usual_confirmation
from crystalgraph.runs.generate import generate
from tools.bench.record import command_line, record_head, write_result

GROUND = 0.02
"""eV/atom above DFT's hull, where that is known, up to which a crystal counts as the ground state."""

FIRST = 3
"""Candidates among which the ground state has to be."""


@dataclass(frozen=True)
class Textbook:
    """A compound whose ground state every textbook has.

    Attributes:
        formula: reduced.
        groups: of the ground state; two where two phases are within a few meV/atom.
        max_atoms: of the request.
        like: an isostructural compound of the corpus, where it lacks this one; one element differs.
    """

    formula: str
    groups: tuple[int, ...]
    max_atoms: int = 20
    like: str = ""


TEXTBOOK = (
    Textbook("MgMn2O4", (141,)),
    Textbook("LiFePO4", (62,), 28, like="LiFeAsO4"),
    Textbook("CsPbI3", (62,)),
    Textbook("TaN", (189,)),
    Textbook("Ta3N5", (63,)),
    Textbook("Ni3Al", (221,)),
    Textbook("TiAl", (123,)),
    Textbook("Ti3Al", (194,)),
    Textbook("LiNbO3", (161,)),
    Textbook("MgAl2O4", (227,)),
    Textbook("BaTiO3", (221, 161, 160, 38, 99)),
    Textbook("SrTiO3", (221, 140)),
    Textbook("ZnO", (186,)),
    Textbook("TiO2", (136, 141)),
    Textbook("LiCoO2", (166,)),
    Textbook("Si3N4", (176,)),
    Textbook("Al2O3", (167,)),
    Textbook("NaCl", (225,)),
    Textbook("MgB2", (191,)),
    Textbook("MoS2", (194,)),
    Textbook("ZrO2", (14,)),
    Textbook("Cu2O", (224,)),
    Textbook("V2O5", (59,)),
    Textbook("Bi2Te3", (166,)),
    Textbook("C", (194, 227)),
)


def ground_states(case: Textbook) -> list[Structure]:
    """Crystals of the corpus with the formula and the group of the ground state, or isostructural ones made of it."""
    corpus = load_dataset("corpus")
    groups, wanted = corpus.columns["space_group_number"], case.like or case.formula
    within = [
        k
        for k, formula in enumerate(corpus.columns["formula"])
        if _is(formula, wanted) and groups[k] in case.groups and (corpus.number("dft_e_above_hull", k) or 0.0) <= GROUND
    ]
    structures = list(corpus[within].structures) if within else []
    if case.like:
        own, other = (set(Formula.parse(f).system.elements) for f in (case.formula, case.like))
        (old,), (new,) = other - own, own - other
        for structure in structures:
            structure.replace_species({old: new})
    return structures


def _is(formula: str, wanted: str) -> bool:
    try:
        return Formula.parse(formula) == Formula.parse(wanted)
    except InputError:
        return False


def solve(
    case: Textbook, model: Model, relax: int, potential: str, confirm: Sequence[str], workers: int
) -> dict[str, Any]:
    """Search for one formula and look where the ground state is."""
    start, before = perf_counter(), os.times()
    result = generate(
        formula=case.formula,
        max_atoms=case.max_atoms,
        model=model,
        relax=relax,
        potential=potential,
        confirm=confirm,
        workers=workers,
    )
    after = os.times()
    known, matcher = ground_states(case), StructureMatcher()
    outcomes = [(result.outcomes or {})[sample.draw] for sample in result.selected[: len(result.relaxed)]]
    hits = [
        any(matcher.fit(structure, other) for other in known) if known else outcome.relaxed_space_group in case.groups
        for structure, outcome in zip(result.relaxed, outcomes, strict=True)
    ]
    rank = hits.index(True) + 1 if any(hits) else None
    return {
        "formula": case.formula,
        "groups": list(case.groups),
        "by": "match" if known else "group",
        "rank": rank,
        "source": None if rank is None else result.selected[rank - 1].source,
        "first": [
            {
                "group": o.relaxed_space_group,
                "source": s.source,
                "e_above_hull": o.e_above_hull,
                "by": o.e_above_hull_by,
            }
            for o, s in zip(outcomes[:FIRST], result.selected, strict=False)
        ],
        "relaxed": len(result.relaxed),
        "stopped": result.record["search"]["stopped"],
        "seconds": perf_counter() - start,
        "hull_seconds": result.record["seconds"]["hull"],
        "cpu_seconds": sum(after[:4]) - sum(before[:4]),
    }


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = command_line("search", __doc__)
    parser.add_argument("--model", default="nbo", help="name or folder of a model")
    parser.add_argument("--relax", type=int, default=8, help="relaxations for each formula")
    parser.add_argument("--potential", default=DEFAULT, help="relaxes")
    parser.add_argument("--confirm", help="potentials that confirm, or none; as for cg-generate if left out")
    parser.add_argument("--formulas", help="only these of the 25, separated by commas")
    parser.add_argument("--workers", type=int, default=1, help="processes that relax")
    parser.add_argument("--work", type=Path, default=Path("runs") / "search", help="folder of finished cases")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the result")
    options = parser.parse_args(arguments)
    chosen = None if options.formulas is None else set(options.formulas.split(","))
    cases = [case for case in TEXTBOOK if chosen is None or case.formula in chosen]
    if not cases:
        raise InputError(f"--formulas {options.formulas}: none of {', '.join(case.formula for case in TEXTBOOK)}")
    confirm = usual_confirmation(options.potential)
    if options.confirm is not None:
        confirm = tuple(name for name in options.confirm.split(",") if name not in ("", "none"))
    model, found = load_model(options.model), []
    for case in cases:
        path = options.work / f"{model.checksum[:12]}-{options.potential}-{options.relax}-{case.formula}.json"
        if not path.is_file():
            write_json(path, solve(case, model, options.relax, options.potential, confirm, options.workers))
        found.append(json.loads(path.read_text()))
        last = found[-1]
        print(
            f"{last['formula']:9} rank {last['rank']}  {last['source'] or '-':10} {last['cpu_seconds']:.0f} s",
            flush=True,
        )
    ranks = [case["rank"] for case in found]
    rates = {
        f"within_{n}": Rate(numerator=sum(r is not None and r <= n for r in ranks), denominator=len(ranks)).record()
        for n in (1, FIRST)
    }
    head = record_head("search", arguments, model)
    settings = {"relax": options.relax, "potential": options.potential, "confirm": list(confirm)}
    write_result(options.out, head | {"settings": settings, "textbook": rates, "cases": found})
    return 0
