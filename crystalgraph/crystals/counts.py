"""What a dataset holds, counted from the crystals themselves; the cards are checked against it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.composition import element_counts, reduced
from crystalgraph.crystals.batch import Crystals

#: Group title -> name -> how many crystals.
Counts = dict[str, dict[str, int]]

_O, _NB, _TE = 8, 41, 52
_ANIONS = {"Br": 35, "Cl": 17, "F": 9, "I": 53, "N": 7, "O": 8, "S": 16, "Se": 34, "Te": 52}
_NONMETALS = (1, 2, 6, 7, 8, 9, 10, 15, 16, 17, 18, 34, 35, 36, 53, 54, 85, 86, *range(113, 119))
_TRANSITION_METALS = (*range(21, 31), *range(39, 49), 57, *range(72, 81), 89, *range(104, 113))
_SMALL_CELL, _IONIC_CELL = 20, 24


def count_crystals(crystals: Crystals, columns: dict[str, NDArray[Any]]) -> Counts:
    """Count a dataset's crystals by size, chemistry, source and origin.

    Args:
        crystals: the crystals.
        columns: what is known about each, (n_crystals,) each; groups whose column is absent, or holds something else
            under the same name, are left out.

    Returns:
        The counts, in the order in which a card shows them.
    """
    num_atoms = crystals.num_atoms.numpy()
    units = reduced(element_counts(crystals.atomic_numbers, crystals.batch, len(crystals))).numpy()
    counts: Counts = {
        "size": {"all": len(num_atoms), f"at most {_SMALL_CELL} sites": _sum(num_atoms <= _SMALL_CELL)},
        **_chemistry(units, num_atoms, columns["space_group_number"]),
    }
    known = columns.get("experimentally_known")
    if "kind" in columns and known is not None and known.dtype == bool:
        counts["kind"] = _values(columns["kind"])
        counts["experimentally known"] = _values(columns["kind"][known])
    energies = {
        "a formation energy": ("formation_energy_per_atom", "e_form", "dft_formation_energy"),
        "an energy above hull": ("e_above_hull", "dft_e_above_hull"),
    }
    stated = {what: next((name for name in names if name in columns), "") for what, names in energies.items()}
    counts["energy"] = {
        f"with {what}": _sum(np.isfinite(columns[name]))
        for what, name in stated.items()
        if name and columns[name].dtype.kind in "iuf"
    }
    counts["source"] = _values(columns["source"])
    counts["licence"] = _values(columns["licence"])
    if "origin_split" in columns and columns["origin_split"].dtype.kind == "U":
        labels, rows = np.unique(columns["origin_split"], return_counts=True)
        one_each = np.array([label for text in np.repeat(labels, rows) for label in text.split(";")])
        counts["origin (a crystal can have several)"] = _values(one_each)
    return counts


def _chemistry(units: NDArray[np.int64], num_atoms: NDArray[np.int64], groups: NDArray[Any]) -> Counts:
    """Counts by elements, from the atoms of each element in a formula unit, (n_crystals, 119)."""
    present = units > 0
    n_elements = present.sum(1)
    binary = n_elements == 2
    oxide = binary & present[:, _O]
    counts: Counts = {
        "number of elements": {
            "elements": _sum(n_elements == 1),
            "binaries": _sum(binary),
            "ternaries": _sum(n_elements == 3),
            "four or more": _sum(n_elements >= 4),
        },
        "chemistry": {
            "binary oxides": _sum(oxide),
            "transition-metal binary oxides": _sum(oxide & present[:, _TRANSITION_METALS].any(1)),
            "Nb-containing": _sum(present[:, _NB]),
            "Nb-O": _sum(oxide & present[:, _NB]),
        },
    }
    # Ionic here: B is one of the anions, A a metal or metalloid; tellurium counts as an anion only.
    nonmetal = present[:, (*_NONMETALS, _TE)].sum(1)
    small = binary & (nonmetal == 1) & (num_atoms <= _IONIC_CELL)
    by_anion = {symbol: small & present[:, number] for symbol, number in _ANIONS.items()}
    ionic = np.logical_or.reduce(list(by_anion.values()))
    counts["chemistry"][f"ionic binaries of at most {_IONIC_CELL} sites"] = _sum(ionic)
    stoichiometry = np.sort(units[ionic], axis=1)[:, -2:]  # the two numbers of the formula, smaller first
    counts["chemistry"]["their combinations of stoichiometry, space group and site count"] = len(
        np.unique(np.column_stack([stoichiometry, groups[ionic], num_atoms[ionic]]), axis=0)
    )
    counts["ionic binaries by anion"] = {symbol: _sum(mask) for symbol, mask in by_anion.items() if mask.any()}
    return counts


def _values(column: NDArray[Any]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    values, counts = np.unique(column, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(values[i]): int(counts[i]) for i in order}


def _sum(mask: NDArray[np.bool_]) -> int:
    return int(mask.sum())
