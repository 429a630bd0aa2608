"""A process that relaxes crystals one after the other for `crystalgraph.relax.pool`.

It talks over a socket: a task, then crystals, one answer for each. It ends when the other side is gone, in the middle
of a crystal too.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from crystalgraph.errors import InputError
from crystalgraph.relax.potentials import make_calculator
from crystalgraph.relax.relaxation import RelaxSettings, structure_from_record
from crystalgraph.relax.relaxer import relax
from crystalgraph.relax.single_point import derivatives, single_point

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

    from crystalgraph.relax.hull import Hull


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done with each crystal.

    Attributes:
        potential: its name, see `crystalgraph.relax.potentials.make_calculator`.
        settings: how to relax; None asks for the energy of the crystal as it is.
        hull: see `crystalgraph.relax.relaxer.relax`.
        derivatives: with the energy of the crystal as it is, ask for forces and stress.
    """

    potential: str
    settings: RelaxSettings | None = None
    hull: Hull | None = None
    derivatives: bool = False

    def carry_out(self, structure: Structure, calculator: Calculator) -> Any:
        """The record of a relaxation, derivatives, or an energy, eV/atom; None where there are none."""
        if self.settings is not None:
            return relax(structure, self.settings, hull=self.hull, calculator=calculator).to_dict()
        if self.derivatives:
            return derivatives(structure, calculator)
        energy = single_point(structure, calculator)
        return energy if isfinite(energy) else None


def main() -> None:
    """Answer until the other side is gone; a calculator is made when it is first needed, and kept.

    The arguments of the process are the descriptor of the socket, and the folder that is removed when it is left alone.
    """
    import torch

    torch.set_num_threads(1)
    connection = Connection(int(sys.argv[1]))
    messages: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, messages.put, Path(sys.argv[2])), daemon=True).start()
    connection.send(("ready", None))
    calculators: dict[str, Calculator] = {}
    while True:
        message = messages.get()
        if isinstance(message, Task):
            task = message
            continue
        try:
            if task.potential not in calculators:
                calculators[task.potential] = make_calculator(task.potential)
                connection.send(("made", task.potential))
        except InputError as error:
            connection.send(("input error", str(error)))
            return
        connection.send(("done", task.carry_out(structure_from_record(message), calculators[task.potential])))


def _receive(connection: Connection, put: Callable[[Any], None], folder: Path) -> None:
    try:
        while True:
            put(connection.recv())
    except (EOFError, OSError):  # the run was killed and removes nothing itself
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
