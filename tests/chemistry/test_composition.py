"""Compositions are what pymatgen counts."""

import numpy as np
import torch
from pymatgen.core import Composition

from crystalgraph.chemistry.composition import element_counts, reduced

FORMULAS = ["Nb4O10", "O2", "Na8Cl8", "Ca2Ti2O6", "U12", "Mg2Al4O8", "NaCl"]
CELLS = [Composition(formula) for formula in FORMULAS]


def sites() -> tuple[torch.Tensor, torch.Tensor]:
    """All atoms of the cells in a random order: their elements and the cells that they belong to."""
    atoms = [
        (element.Z, k) for k, cell in enumerate(CELLS) for element, count in cell.items() for _ in range(int(count))
    ]
    shuffled = np.random.default_rng(seed=3).permutation(atoms)
    return torch.from_numpy(shuffled[:, 0].copy()), torch.from_numpy(shuffled[:, 1].copy())


def as_formulas(counts: torch.Tensor) -> list[Composition]:
    return [Composition({z: n for z, n in enumerate(row) if n}) for row in counts.tolist()]


def test_atoms_of_each_element_are_counted():
    counts = element_counts(*sites(), len(CELLS))
    assert counts.shape == (len(CELLS), 119)
    assert counts.dtype == torch.int64
    assert as_formulas(counts) == CELLS


def test_a_site_counts_as_often_as_its_weight():
    numbers, batch = torch.tensor([41, 8, 8]), torch.tensor([1, 1, 1])
    counts = element_counts(numbers, batch, 2, torch.tensor([4, 2, 8]))
    assert as_formulas(counts) == [Composition({}), Composition("Nb4O10")]


def test_counts_are_reduced_to_the_formula_unit():
    units = reduced(element_counts(*sites(), len(CELLS)))
    expected = [{e.symbol: n // np.gcd.reduce([int(v) for v in c.values()]) for e, n in c.items()} for c in CELLS]
    assert as_formulas(units) == [Composition(formula) for formula in expected]
    compounds = [k for k, cell in enumerate(CELLS) if len(cell) > 1]
    assert [as_formulas(units)[k] for k in compounds] == [CELLS[k].reduced_composition for k in compounds]


def test_nothing_and_no_crystal_are_no_error():
    assert reduced(torch.zeros(1, 119, dtype=torch.long)).tolist() == [[0] * 119]
    assert reduced(element_counts(torch.tensor([8]), torch.tensor([0]), 1)[:0]).shape == (0, 119)
