"""Options that more than one command has, and those of generation that say what is wanted, beside the system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Potential = Annotated[
    str,
    typer.Option(
        help="Relaxes: sevennet-0, sevennet-l3i5, chgnet, diep; mace-mp, orb, mattersim, upet, grace where installed; "
        "or any ASE calculator as package.module:factory."
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

Pattern = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A measured powder pattern, 2θ and counts in two columns: ranks by similarity to it, with energies among "
        "the metastable.",
    ),
]

Radiation = Annotated[str, typer.Option(help="Of the pattern: Cu Kα, Co Kα, Mo Kα, ..., or a wavelength in Å.")]

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
