"""What filters, stages, groups of metrics and energies mean, in the words that every output uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystalgraph.relax.potentials import potential_label

FILTER_MEANING = {
    "strict": "atoms too close, or a density no solid has",
    "composition": "not what was requested, or unsound chemistry",
    "constraint": "a cell, distance, density or volume that was not wanted",
    "symmetry": "not the requested space group or a supergroup, or an excluded one",
    "copy": "equal to a crystal that came first, or lies lower",
    "not selected": "others came first, by score within each formula",
}

STAGE_MEANING = {
    "single point": "no energy",
    "first steps": "failed in a few steps of relaxation",
    "choice": "neither low enough for its composition nor drawn",
    "relaxation": "given up far above the hull, or failed",
    "finalists": "relaxed tighter, perturbed, relaxed again",
    "confirmation": "relaxed further by other potentials",
    "copies": "became equal to one that is as low",
}

METRIC_MEANING = {
    "validity": "of all inputs",
    "as given": "of the strictly valid",
    "symmetry": "of the strictly valid",
    "relaxation": "of the relaxed",
    "after relaxation": "of the usable",
    "discovery": "after relaxation",
    "rediscovery": "of known compounds",
    "cdvae": "as CDVAE defines",
}

JUDGE_ERRORS = Path(__file__).parent / "judge_errors.json"
"""How far each potential is from DFT, by chemical system; written by ``python -m tools.bench judge``."""


def but_for(training: Mapping[str, Any]) -> str:
    """Which systems of a dataset were not learned from, as words behind its name; empty where all were."""
    systems = training["without_systems"]
    return f", without those of {', '.join(systems)}" if systems else ""


def energy_caveats(judges: Sequence[str], system: str, pressure: float = 0.0) -> list[str]:
    """What a reader of energies must know.

    Args:
        judges: the potentials that made them, in the order in which they relaxed; the rank goes by the second, if
            there is one.
        system: the chemical system, such as "Nb-O".
        pressure: that crystals and known phases were relaxed under, GPa.
    """
    ranked_by = judges[:2][-1]
    others = [potential_label(judge) for judge in judges if judge != ranked_by]
    beside = f"; {' and '.join(others)} judged beside it" if others else ""
    kind = f"Energies are enthalpies at {pressure:g} GPa," if pressure else "Energies are"
    first = (
        f"{kind} those of {potential_label(ranked_by)}, not DFT's, relative to the hull of the known phases "
        f"relaxed with it{beside}."
    )
    pressed, without = ([PRESSURE_CAVEAT], " and without pressure") if pressure else ([], "")
    measured = judge_errors().get(ranked_by, {}).get(system)
    if measured is None:
        return [first, f"For {system} its error was not measured against DFT.", *pressed]
    error = (
        f"Over the {measured['n']} compounds of {system} with DFT energies in the reference its energy above the hull "
        f"is off by {measured['e_above_hull_mae']:.3f} eV/atom on average (bias "
        f"{_signed(measured['e_above_hull_bias'])}), at DFT's geometry{without}; it may have learned from some of them."
    )
    return [first, error, "A crystal that lies less than that below the hull is not shown to be stable.", *pressed]


PRESSURE_CAVEAT = (
    "Potentials learned from few crystals under pressure; their errors grow with it; the model's score, the density "
    "of crystals as drawn, and the volumes of known phases are those without pressure."
)


@lru_cache(maxsize=1)
def judge_errors() -> dict[str, dict[str, dict[str, float]]]:
    """Potential -> chemical system -> number of compounds and mean errors against DFT, eV/atom."""
    content: dict[str, dict[str, dict[str, float]]] = json.loads(JUDGE_ERRORS.read_bytes())["errors"]
    return content


RANK_CORRELATION, SELECTED_RANK_CORRELATION, SINGLE_POINT_CORRELATION, RANKED_CRYSTALS = 0.37, 0.29, 0.75, 300
RANK_CORRELATION_WITHIN, SELECTED_RANK_CORRELATION_WITHIN = 0.48, 0.49
"""Spearman's, with the negative energy above the hull, over crystals of Nb–O and within formulas:
``tools/results/peers.json``."""

SCORE_CAVEAT = (
    "Without relaxation the rank is by the model's score, the best of each formula first; where one formula is "
    "requested, what known crystals say of the template counts, too. Over "
    f"{RANKED_CRYSTALS} raw samples of Nb–O, relaxed afterwards, its rank correlation with a low energy above the hull "
    f"is {RANK_CORRELATION:.2f} ({RANK_CORRELATION_WITHIN:.2f} within formulas), where SevenNet-0's energy before "
    f"relaxation has {SINGLE_POINT_CORRELATION:.2f}; over as many that were selected, the best quarter of each "
    f"formula, it is {SELECTED_RANK_CORRELATION:.2f} ({SELECTED_RANK_CORRELATION_WITHIN:.2f} within formulas). It was "
    "measured for Nb–O only, with the shipped weights."
)

MADE_CAVEAT = "Valid, new and metastable say nothing about whether a crystal can be made."

SCOPE_CAVEAT = "Disorder, magnetism and surfaces are not described."

LEARNED_ATOMS = 24
"""Largest primitive cell that the shipped model learned from."""

SIZE_CAVEAT = f"Cells of at most {LEARNED_ATOMS} atoms were learned from; for larger ones nothing was measured."

PICTURE_CAVEAT = (
    "Pictures show the conventional cell where one is found, with every atom where the file has it. Bonds and "
    "polyhedra follow a rule of thumb: atoms at most 1.2 times their covalent radii apart; where electronegativity "
    "tells anions from the others, between these two only."
)

PATTERN_CAVEAT = (
    "Powder patterns are pymatgen's, for a perfect crystal at rest: positions follow the lattice of the file, which "
    "relaxation does not get to better than a few percent. The similarity to a measured pattern allows for one common "
    "scale of the cell's lengths, and says which crystal is most like it, not that the sample is that crystal."
)


def sentence(remark: str) -> str:
    """A remark with a capital and a full stop."""
    return remark[:1].upper() + remark[1:].rstrip(".") + "."


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("-", "−")
