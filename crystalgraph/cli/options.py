"""Options that more than one command has."""

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

Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Address of a dask scheduler, such as tcp://10.0.0.1:8786: its workers do the work; see docs/cluster.md."
    ),
]
"""Instead of processes on this machine."""

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
