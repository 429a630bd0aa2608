"""A pair potential with which every crystal relaxes in a moment; named by import path, so that workers can make it."""

from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones


class Toy(LennardJones):
    """ASE's keeps the neighbours of the crystal before, and with them the order in which pairs are summed."""

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):  # noqa: ARG002
        super().calculate(atoms, properties, all_changes)


def make():
    return Toy(sigma=2.0, epsilon=0.02, rc=5.0)


def make_alike():
    """The same by another name."""
    return make()
