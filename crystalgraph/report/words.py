"""What filters, stages, groups of metrics and energies mean, in the words that every output uses."""

from __future__ import annotations

FILTER_MEANING = {
    "strict": "atoms too close, or a density no solid has",
    "composition": "not what was requested, or unsound chemistry",
    "symmetry": "not the requested space group or a supergroup",
    "copy": "equal to a crystal selected before",
    "not selected": "others came first, the best of each formula",
}

STAGE_MEANING = {
    "single point": "no energy",
    "choice": "neither low enough for its composition nor drawn",
    "relaxation": "given up far above the hull, or failed",
    "finalists": "relaxed tighter, perturbed, relaxed again",
    "copies": "became equal to a lower one",
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

FORMATION_MAE, FORMATION_BIAS, HULL_MAE, HULL_BIAS, COMPARED_OXIDES = 0.086, -0.083, 0.070, -0.063, 31
"""CHGNet against DFT, eV/atom, and over how many niobium oxides: ``tools/results/hull_nbo.json``."""


def energy_caveats(calculator: str, system: str) -> list[str]:
    """What a reader of energies must know.

    Args:
        calculator: that made them, such as "chgnet".
        system: the chemical system, such as "Nb-O".
    """
    if calculator != "chgnet":
        return [f"Energies are those of {calculator}, relative to the hull of the known phases relaxed with it."]
    where = "" if system == "Nb-O" else f" For {system} the error was not measured."
    error = (
        "Energies are CHGNet's, not DFT's, relative to the hull of the known phases relaxed with CHGNet. Over the "
        f"{COMPARED_OXIDES} niobium oxides with DFT energies the formation energy is off by {FORMATION_MAE:.3f} "
        f"eV/atom on average (bias {_signed(FORMATION_BIAS)}) and the energy above the hull by {HULL_MAE:.3f} "
        f"(bias {_signed(HULL_BIAS)}).{where}"
    )
    return [error, "A crystal that lies less than that below the hull is not shown to be stable."]


RANK_CORRELATION, SELECTED_RANK_CORRELATION, SINGLE_POINT_CORRELATION, RANKED_CRYSTALS = 0.38, 0.23, 0.67, 300
RANK_CORRELATION_WITHIN, SELECTED_RANK_CORRELATION_WITHIN = 0.49, 0.42
"""Spearman's, with the negative energy above the hull, over crystals of Nb–O and within formulas:
``tools/results/peers.json``."""

SCORE_CAVEAT = (
    "Without relaxation the rank is by the model's score, the best of each formula first. Over "
    f"{RANKED_CRYSTALS} raw samples of Nb–O, relaxed afterwards, its rank correlation with a low energy above the hull "
    f"is {RANK_CORRELATION:.2f} ({RANK_CORRELATION_WITHIN:.2f} within formulas), where CHGNet's energy before "
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
    "Powder patterns are pymatgen's, for Cu Kα and a perfect crystal at rest: positions follow the lattice of the "
    "file, which relaxation does not get to better than a few percent."
)


def sentence(remark: str) -> str:
    """A remark with a capital and a full stop."""
    return remark[:1].upper() + remark[1:].rstrip(".") + "."


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("-", "−")
