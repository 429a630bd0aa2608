"""The table of candidates on the page of a ``cg-generate`` run."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.prototype_names import prototype_name
from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.report.page import MAX_ROWS, Column

if TYPE_CHECKING:
    from crystalgraph.screening.candidates import Candidates
    from crystalgraph.screening.screen import Sample

COLUMNS = (
    Column(key="place", label="#", meaning="rank; of a raw run, the draw"),
    Column(key="formula", label="formula", kind="formula"),
    Column(
        key="group",
        label="group",
        meaning=f"space group found with {SYMPREC:g} Å, after relaxation where relaxed",
        kind="group",
    ),
    Column(key="e_above_hull", label="e_hull", meaning="energy above the hull after relaxation, eV/atom", digits=3),
    Column(
        key="pattern_similarity",
        label="pattern",
        meaning="similarity to the given powder pattern",
        digits=3,
        best="high",
    ),
    Column(key="agreed", label="agreed", meaning="every potential calls it metastable", kind="bool", best="high"),
    Column(key="known_phase", label="known as", meaning="known phase that it equals", kind="text"),
    Column(key="prototype", label="prototype", meaning="structure type that it equals, by AFLOW's names", kind="text"),
    Column(key="score", label="score", meaning="the model's; higher is nearer the hull", digits=2, best="high"),
    Column(key="atoms", label="atoms", meaning="in the primitive cell as drawn"),
    Column(key="volume", label="Å³/atom", meaning="volume per atom, after relaxation where relaxed", digits=2),
    Column(
        key="source",
        label="source",
        meaning="generator: from noise; prototype: a known crystal, these elements in its place, or one equal to it; "
        "child: of one found",
        kind="text",
    ),
    Column(
        key="e_above_hull_unrelaxed", label="e_hull drawn", meaning="energy above the hull as drawn, eV/atom", digits=3
    ),
    Column(key="spread", label="spread", meaning="of e_hull between the potentials, eV/atom", digits=3),
    Column(key="density", label="g/cm³", meaning="density as drawn", digits=2),
    Column(key="plausibility", label="plausibility", meaning="of the composition, 0 to 1", digits=2, best="high"),
    Column(
        key="charge_neutral", label="neutral", meaning="some oxidation states sum to zero", kind="bool", best="high"
    ),
    Column(key="valid", label="valid", meaning="strictly valid", kind="bool", best="high"),
    Column(key="funnel_status", label="status", meaning="stage of the relaxation that it reached", kind="text"),
    Column(key="name", label="file", kind="text"),
)


def candidate_row(place: int, sample: Sample, candidates: Candidates) -> dict[str, Any]:
    """Values of a row, by the keys of ``COLUMNS``, and ``volume_drawn``, the volume per atom as drawn (Å³).

    Args:
        place: of the crystal among those selected, from 0 on.
        sample: of the crystal.
        candidates: of the run.
    """
    outcome = (candidates.outcomes or {}).get(sample.draw)
    likeness = (candidates.likenesses or {}).get(sample.draw)
    is_relaxed = place < len(candidates.relaxed)
    volume = sample.volume_per_atom
    structure = candidates.relaxed[place] if is_relaxed else candidates.structures[place]
    group = (outcome.relaxed_space_group if outcome and is_relaxed else None) or sample.space_group
    if is_relaxed:
        volume = structure.volume / len(structure)
    return {
        "place": sample.draw if sample.rank is None else sample.rank,
        "formula": sample.formula,
        "group": group,
        "e_above_hull": outcome.e_above_hull if outcome and is_relaxed else nan,
        "pattern_similarity": (candidates.similarities or {}).get(sample.draw, nan),
        "agreed": outcome.agreed_metastable if outcome and is_relaxed else None,
        "known_phase": (likeness.relaxed_known_phase if is_relaxed else likeness.known_phase) if likeness else "",
        "prototype": prototype_name(structure, group) if sample.strictly_valid and place < MAX_ROWS else "",
        "spread": outcome.e_above_hull_spread if outcome and is_relaxed else nan,
        "e_above_hull_unrelaxed": outcome.e_above_hull_unrelaxed if outcome else nan,
        "atoms": sample.num_atoms,
        "volume": volume,
        "density": sample.density,
        "score": sample.score,
        "plausibility": sample.plausibility,
        "charge_neutral": sample.charge_neutral,
        "valid": sample.strictly_valid if candidates.request.raw else None,
        "source": sample.source,
        "funnel_status": outcome.funnel_status if outcome else "",
        "name": sample.file or "",
        "volume_drawn": sample.volume_per_atom,
    }
