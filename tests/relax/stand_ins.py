"""Calculators for the tests, named by import path so that the workers can make them too."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

GOLD, SILVER, PLATINUM = 79, 47, 78


class Counting(EMT):
    """Leaves a line in the file $COUNT for each crystal that it begins."""

    seen = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms is not self.seen:
            self.seen = atoms
            with Path(os.environ["COUNT"]).open("a") as file:
                file.write(f"{atoms.get_chemical_formula()}\n")
        super().calculate(atoms, properties, system_changes)


class Slow(Counting):
    """A tenth of a second for each energy."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        time.sleep(0.1)
        super().calculate(atoms, properties, system_changes)


class Deadly(EMT):
    """Gold kills the process, silver ends it, platinum keeps it for ever."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if GOLD in atoms.numbers:
            os.kill(os.getpid(), signal.SIGSEGV)
        if SILVER in atoms.numbers:
            os._exit(3)
        if PLATINUM in atoms.numbers:
            time.sleep(1000)
        super().calculate(atoms, properties, system_changes)


class Wrong(EMT):
    """Has a bug."""

    def calculate(self, *_arguments):
        raise TypeError("a bug of the calculator")


class Constant(Calculator):
    """The same energy per atom, force and stress, whatever the crystal."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy, stress):
        super().__init__()
        self.energy, self.stress = energy, stress

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": self.energy * len(atoms),
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.array([self.stress] * 3 + [0.0] * 3),
        }


class NoStress(Calculator):
    implemented_properties = ("energy", "forces")


def bursting():
    return Constant(0.0, -1.0)


def not_a_number():
    return Constant(float("nan"), 0.0)


def bottomless():
    return Constant(-50.0, 0.0)


def dies():
    os._exit(5)


def hangs():
    time.sleep(1000)


not_callable = 1
