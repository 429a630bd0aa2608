"""The known phases of a chemical system: the one rule for which count.

What consists of niobium and oxygen comes from the dataset "nbo", all else from "corpus". Phases of the asked system and
of the systems inside it count, the elements included.
"""

from __future__ import annotations

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.table import CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.io.load import CrystalSource, load

NIOBIUM_OXIDES = ChemicalSystem(("Nb", "O"))


def known_phases(system: ChemicalSystem | str) -> CrystalTable:
    """Known phases of a system and of the systems inside it.

    Args:
        system: such as "Nb-O".

    Returns:
        In the order of the datasets; empty if there are none. Columns as in `crystalgraph.crystals.table`.

    Raises:
        InputError: if the text is no chemical system, or a dataset is missing or damaged.
    """
    if isinstance(system, str):
        system = ChemicalSystem.parse(system)
    parts = [load_dataset("nbo").within(system)] if set(system.elements) & set(NIOBIUM_OXIDES.elements) else []
    if not NIOBIUM_OXIDES.contains(system):
        corpus = load_dataset("corpus").within(system)
        crystals = corpus.crystals
        ours = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), NIOBIUM_OXIDES)
        parts.append(corpus[~ours.numpy()])
    parts = [part for part in parts if len(part)] or parts[:1]
    return CrystalTable.concatenate(parts)


def readable(source: CrystalSource) -> CrystalTable:
    """A source of crystals that can be read, in part at least.

    Args:
        source: see `crystalgraph.io.load.load`.

    Raises:
        InputError: if it is none, or nothing in it can be read.
    """
    table = load(source)
    if not len(table):
        name, reason = next(iter(table.failures.items()), ("the source", "it is empty"))
        raise InputError(f"nothing in {table.source.name!r} can be read; {name}: {reason}")
    return table


def union_of_elements(crystals: Crystals) -> ChemicalSystem:
    """The smallest system that none of the crystals lies outside of."""
    from pymatgen.core import Element

    return ChemicalSystem(tuple(Element.from_Z(z).symbol for z in crystals.atomic_numbers.unique().tolist()))
