from itertools import pairwise

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PDPlotter, PhaseDiagram
from pymatgen.core import Composition

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.report.hull_picture import Point, energy_text, hull_picture, known_note, neighbours

TERNARY = (
    *(("Li", -1.9), ("V", -9.0), ("O", -4.95), ("Li2O", -4.77), ("V2O3", -8.3), ("VO2", -8.4), ("V2O5", -7.75)),
    *(("LiVO3", -6.9), ("Li3VO4", -6.2), ("LiVO2", -7.25), ("Li2O2", -4.6)),
)
BINARY = (("Nb", -10.0), ("O", -5.0), ("NbO", -9.7), ("NbO2", -9.5), ("Nb2O5", -9.4), ("Nb2O5", -9.3))


def hull_of(system, phases):
    made = [Phase(name=f"{f}-{k}", formula=f, energy=e, space_group_number=12) for k, (f, e) in enumerate(phases)]
    return Hull(ChemicalSystem.parse(system), made, left_out={"x": "exploded"})


def point(formula, energy, row=0):
    return Point(row=row, formula=formula, group=225, e_above_hull=energy, name="c")


def test_candidates_lie_their_energy_above_the_line():
    picture = hull_picture(hull_of("Nb-O", BINARY), [point("Nb3O7", 0.1), point("Nb2O", -0.02)])
    assert picture["elements"] == ["Nb", "O"]
    line = sorted(
        {(picture["known"][k]["fractions"][1], picture["known"][k]["e_form"]) for e in picture["edges"] for k in e}
    )
    for candidate in picture["candidates"]:
        below = np.interp(candidate["fractions"][1], *zip(*line, strict=True))
        assert candidate["e_form"] == pytest.approx(below + candidate["e_above_hull"], abs=1e-4)


def test_elements_are_ordered_by_electronegativity():
    assert hull_picture(hull_of("O-Nb", BINARY), [])["elements"] == ["Nb", "O"]
    assert hull_picture(hull_of("Li-V-O", TERNARY), [])["elements"] == ["Li", "V", "O"]


@pytest.mark.parametrize(("system", "phases"), [("Nb-O", BINARY), ("Li-V-O", TERNARY)])
def test_edges_are_those_that_pymatgen_draws(system, phases):
    picture = hull_picture(hull_of(system, phases), [])
    entries = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in phases]
    plotter = PDPlotter(PhaseDiagram(entries), backend="plotly")
    lines, stable, _ = plotter.pd_plot_data
    names = {tuple(np.round(place, 6)): entry.name for place, entry in stable.items()}
    expected = set()
    for xs, ys in lines:
        ends = [names[tuple(np.round((x, y), 6))] for x, y in zip(xs, ys, strict=True)]
        expected |= {frozenset(pair) for pair in pairwise(ends)}
    formulas = [phase["formula"] for phase in picture["known"]]
    reduced = [Composition(formula).reduced_formula for formula in formulas]
    assert {frozenset((reduced[i], reduced[j])) for i, j in picture["edges"]} == expected


def test_other_systems_have_no_picture():
    phases = [("Li", -1.9), ("V", -9.0), ("O", -4.95), ("Nb", -10.0)]
    assert hull_picture(hull_of("Li-V-O-Nb", phases), []) is None
    assert hull_picture(hull_of("Nb", [("Nb", -10.0)]), []) is None


def test_words_about_what_is_known_at_a_composition():
    hull = hull_of("Nb-O", BINARY)
    facts = dict(neighbours(hull, "Nb4O10"))
    assert facts["known Nb₂O₅"] == "Nb2O5-4, C2/m (12): +0.000 eV/atom; Nb2O5-5, C2/m (12): +0.100 eV/atom"
    assert facts["hull here"] == "Nb₂O₅"
    between = dict(neighbours(hull, "Nb3O4"))
    assert between["known Nb₃O₄"] == "none in the reference"
    assert "%" in between["hull here"]
    assert known_note(hull) == "6 known phases of Nb-O. 1 known phase has no usable energy."
    assert (energy_text(-0.0204), energy_text(float("nan"))) == ("−0.020 eV/atom", "not known")
