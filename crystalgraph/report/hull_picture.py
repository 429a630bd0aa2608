"""The convex hull of known phases with the candidates in it, as plain numbers that any plot can be made from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.report.notation import formula_text, group_text

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from crystalgraph.relax.hull import Hull

STABLE = 1e-6
"""eV/atom; a known phase at most this far above the hull spans it."""

DRAWN_ELEMENTS = (2, 3)
"""How many elements a system may have for a picture of its hull."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A relaxed candidate.

    Attributes:
        row: of the table.
        formula: such as "Nb2O5".
        group: number of its space group; None if not found.
        e_above_hull: eV/atom.
        name: of its files.
    """

    row: int
    formula: str
    group: int | None
    e_above_hull: float
    name: str


def hull_picture(hull: Hull, points: Sequence[Point]) -> dict[str, Any] | None:
    """What there is to draw.

    Args:
        hull: of the known phases.
        points: candidates of its system.

    Returns:
        ``elements``, the most electronegative last; ``known`` and ``candidates`` with ``fractions`` (of each element),
        ``e_form`` and ``e_above_hull`` (eV/atom), ``formula``, ``group`` and ``name`` each; ``edges``: pairs of
        positions in ``known`` that the hull joins; ``metastable``: eV/atom, up to which candidates get the first
        colour. None for systems that cannot be drawn.
    """
    from pymatgen.core import Composition

    if len(hull.system) not in DRAWN_ELEMENTS:
        return None
    elements = _by_electronegativity(hull.system.elements)
    known = [
        {
            "fractions": _fractions(Composition(phase.formula), elements),
            "e_form": _rounded(hull.formation_energy(phase.formula, phase.energy)),
            "e_above_hull": _rounded(hull.e_above_hull(phase.formula, phase.energy)),
            "formula": str(Formula.parse(phase.formula)),
            "group": group_text(phase.space_group_number),
            "name": phase.name,
        }
        for phase in hull.phases
    ]
    candidates = []
    for point in points:
        composition = Composition(point.formula)
        on_hull = hull.formation_energy(composition, hull.energy_at(composition))
        candidates.append(
            {
                "fractions": _fractions(composition, elements),
                "e_form": _rounded(on_hull + point.e_above_hull),
                "e_above_hull": _rounded(point.e_above_hull),
                "formula": point.formula,
                "group": group_text(point.group),
                "name": point.name,
                "row": point.row,
            }
        )
    return {
        "elements": elements,
        "known": known,
        "edges": _edges(hull, elements),
        "candidates": candidates,
        "metastable": METASTABLE,
    }


def known_note(hull: Hull) -> str:
    """How many known phases there are, as the end of a sentence."""
    left_out = len(hull.left_out)
    lost = f" {left_out} known {'phase has' if left_out == 1 else 'phases have'} no usable energy." if left_out else ""
    bounds = sum(phase.is_bound for phase in hull.phases)
    high = (
        f" {bounds} of them {'is' if bounds == 1 else 'are'} too high to matter here, and not relaxed."
        if bounds
        else ""
    )
    return f"{len(hull.phases)} known phases of {hull.system}.{high}{lost}"


def energy_text(energy: float) -> str:
    """An energy with its sign and unit; "not known" for NaN."""
    return f"{energy + 0.0:+.3f} eV/atom".replace("-", "−") if isfinite(energy) else "not known"


def neighbours(hull: Hull, formula: str, n: int = 3) -> list[tuple[str, str]]:
    """The known phases at a composition, and those that the hull consists of there.

    Args:
        hull: of the known phases.
        formula: inside its system.
        n: how many of the former are named, lowest first.

    Returns:
        Labels and texts.
    """
    reduced = str(Formula.parse(formula))
    same = [phase for phase in hull.phases if str(Formula.parse(phase.formula)) == reduced]
    above = {phase.name: hull.e_above_hull(phase.formula, phase.energy) for phase in same}
    same.sort(key=lambda phase: (above[phase.name], phase.name))
    names = [
        f"{phase.name}{f', {group_text(phase.space_group_number)}' if phase.space_group_number else ''}: "
        f"{'at most ' if phase.is_bound else ''}{energy_text(round(above[phase.name], 4))}"
        for phase in same[:n]
    ]
    more = [f"and {len(same) - n} more"] if len(same) > n else []
    shares = hull.decomposition(formula)
    formulas = {phase.name: str(Formula.parse(phase.formula)) for phase in hull.phases}
    ends = [(formula_text(formulas[name]), share) for name, share in sorted(shares.items(), key=lambda end: -end[1])]
    here = ends[0][0] if len(ends) == 1 else ", ".join(f"{share:.0%} {name}" for name, share in ends) + " of atoms"
    return [
        (f"known {formula_text(reduced)}", "; ".join([*names, *more]) or "none in the reference"),
        ("hull here", here),
    ]


def _by_electronegativity(elements: Sequence[str]) -> list[str]:
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have none
        return sorted(elements, key=lambda symbol: (float(np.nan_to_num(Element(symbol).X)), symbol))


def _fractions(composition: Composition, elements: Sequence[str]) -> list[float]:
    return [round(float(composition.get_atomic_fraction(element)), 6) for element in elements]


def _edges(hull: Hull, elements: Sequence[str]) -> list[list[int]]:
    """Pairs of phases that the hull joins, by position."""
    from pymatgen.core import Composition

    stable = [hull.phases.index(phase) for phase in hull.stable_phases()]
    fractions = np.array([_fractions(Composition(hull.phases[k].formula), elements) for k in stable])
    if len(elements) == 2:  # a line from end to end
        order = [stable[k] for k in np.argsort(fractions[:, 1], kind="stable")]
        return [[order[k], order[k + 1]] for k in range(len(order) - 1)]
    from scipy.spatial import ConvexHull

    heights = [hull.formation_energy(hull.phases[k].formula, hull.phases[k].energy) for k in stable]
    if len(stable) == len(elements):
        return [[stable[i], stable[j]] for i in range(3) for j in range(i)]
    points = np.column_stack([fractions[:, 1:], heights])
    lower = ConvexHull(points)
    facets = lower.simplices[lower.equations[:, 2] < -STABLE]
    pairs = {
        tuple(sorted((stable[a], stable[b]))) for f in facets.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)
    }
    return [list(pair) for pair in sorted(pairs)]


def _rounded(energy: float) -> float:
    return round(float(energy), 5) + 0.0
