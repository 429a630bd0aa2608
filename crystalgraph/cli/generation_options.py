"""Options of ``cg-generate`` alone: what else a crystal must keep to, and how it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ExcludedGroups = Annotated[
    list[str] | None, typer.Option("--exclude-group", help="A space group that no crystal may have.")
]

NumAtoms = Annotated[int | None, typer.Option("--atoms", help="Atoms in the primitive cell, exactly.")]

FormulaUnits = Annotated[int | None, typer.Option("--z", help="Formula units in the primitive cell.")]

MinDistances = Annotated[
    list[str] | None, typer.Option("--min-distance", help="Least distance between two elements, Å: Nb-O=1.8.")
]

Density = Annotated[str | None, typer.Option(help="Least and most, g/cm³: 4:6, 4: or :6.")]

Volume = Annotated[str | None, typer.Option(help="Least and most, Å³ per atom: 10:14.")]

Cell = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C,α,β,γ",
        help="Cell, primitive or conventional, in Å and degrees; lengths within 5 %, angles within 3°: "
        "4.94,4.94,2.97,90,90,90.",
    ),
]

MaxAtoms = Annotated[
    int | None,
    typer.Option("--max-atoms", help="Most atoms in the primitive cell [20, or those of a formula such as Li4Nb4O12]."),
]

Near = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Search around the crystal of this file only: its template, sub- and supergroups, exchanged elements. "
        "Without --system or --formula for its own formula, else with those elements in its place.",
    ),
]

Temperature = Annotated[
    float,
    typer.Option(
        help="Of the choice among templates, 0.1 to 10: lower keeps to what is likely for the elements, higher "
        "ventures further."
    ),
]

Explore = Annotated[
    float,
    typer.Option(
        help="Share of the draws, 0 to 1, for templates that no known crystal has: compositions placed anew on the "
        "positions of any space group."
    ),
]

Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Draw each crystal in one go: one pass, no best of 16 draws (which --raw never has), no surrogate "
        "relaxation.",
    ),
]

Refine = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Surrogate relaxation steps of each crystal, in the energy that the model has learned and along what "
        "its template leaves free.  [default: 20; with --fast 0]",
    ),
]

Pressure = Annotated[
    float,
    typer.Option(
        metavar="GPA",
        help="Relax under this hydrostatic pressure, -10 to 150 GPa, and rank by enthalpy; known phases are relaxed "
        "under it, too.",
    ),
]

Relax = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        help="Search with energies: relax K crystals in rounds, each led by what those before it found, and rank by "
        "energy above the hull. What is relaxed is chosen by single points, and after some steps of four times as "
        "many. After a kill, the same command goes on from OUT.partial.",
    ),
]

Minutes = Annotated[
    float | None,
    typer.Option(
        metavar="M",
        help="Search with energies for so long, judging the finalists not counted; ends earlier when nothing lower "
        "comes. What is found depends on the machine.",
    ),
]

Confirm = Annotated[
    str | None,
    typer.Option(
        help="Potentials that relax the finalists further, separated by commas, or none; the rank goes by the first.  "
        "[default: with sevennet-0 sevennet-l3i5,diep, else none]"
    ),
]

Pattern = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A measured powder pattern, 2θ and counts in two columns: ranks by similarity to it, with energies among "
        "the metastable.",
    ),
]

Radiation = Annotated[str, typer.Option(help="Of the pattern: Cu Kα, Co Kα, Mo Kα, ..., or a wavelength in Å.")]
