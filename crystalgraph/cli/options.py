"""Options that more than one command has, and those of generation that say what is wanted, beside the system."""

from __future__ import annotations

from typing import Annotated

import typer

Potential = Annotated[
    str,
    typer.Option(
        help="Relaxes: sevennet-0, sevennet-l3i5, chgnet, diep; mace-mp, orb, mattersim, upet, grace where installed; "
        "or any ASE calculator as package.module:factory."
    ),
]

ExcludeGroups = Annotated[
    list[str] | None, typer.Option("--exclude-group", help="A space group that no crystal may have.")
]

NumAtoms = Annotated[int | None, typer.Option("--atoms", help="Atoms in the primitive cell, exactly.")]

FormulaUnits = Annotated[int | None, typer.Option("--z", help="Formula units in the primitive cell.")]

MinDistances = Annotated[
    list[str] | None, typer.Option("--min-distance", help="Least distance between two elements, Å: Nb-O=1.8.")
]

Density = Annotated[str | None, typer.Option(help="Least and most, g/cm³: 4:6, 4: or :6.")]

Volume = Annotated[str | None, typer.Option(help="Least and most, Å³ per atom: 10:14.")]

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

Relax = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        help="Search with energies: relax K crystals in rounds, each led by what those before it found, and rank by "
        "energy above the hull. What is relaxed is chosen by a single point of each of about four crystals for one "
        "relaxation. After a kill, the same command goes on from OUT.partial.",
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

KNOWN_HELP = (
    "Known phases: a dataset, structure files, or the address of an OPTIMADE server.  [default: the shipped ones]"
)
"""``cg-evaluate`` has another name for it, too."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from crystalgraph import __version__

        print(f"crystalgraph {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
]
"""Answered before anything else is looked at."""
