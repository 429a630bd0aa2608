"""Substitution: every way to put elements in, by the rule for the volume that is asked for, in one place."""

import re
from pathlib import Path

import pytest
import torch
from pymatgen.core import Element, Lattice, Structure

import crystalgraph
from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.substitute import (
    covalent_radii_rule,
    element_volume_rule,
    keep_volume,
    substitute,
    substitutions,
)

PACKAGE = Path(crystalgraph.__file__).parent
ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure.from_spacegroup(
    221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
CRYSTALS = from_structures([ROCK_SALT, PEROVSKITE])
NB_O = [8, 41]


def test_every_way_that_uses_all_elements() -> None:
    ways = [(chosen.tolist(), to_structures(changed)) for chosen, changed in substitutions(CRYSTALS, NB_O)]
    formulas = [(chosen, [s.composition.reduced_formula for s in changed]) for chosen, changed in ways]
    assert formulas == [([0], ["NbO"]), ([1], ["NbO4"]), ([1], ["Nb2O3"])]
    assert not list(substitutions(CRYSTALS, [3, 11, 8, 9]))
    assert not list(substitutions(CRYSTALS[:0], NB_O))


def test_order_of_the_elements_does_not_matter() -> None:
    for (_, one), (_, other) in zip(substitutions(CRYSTALS, NB_O), substitutions(CRYSTALS, NB_O[::-1]), strict=True):
        assert torch.equal(one.atomic_numbers, other.atomic_numbers)


def test_lattices_are_kept_to_the_bit_where_the_volume_is() -> None:
    for chosen, changed in substitutions(CRYSTALS, NB_O, keep_volume):
        assert torch.equal(changed.lattice, CRYSTALS[chosen].lattice)
        assert torch.equal(changed.frac_coords, CRYSTALS[chosen].frac_coords)


def test_covalent_radii_scale_lengths() -> None:
    from ase.data import covalent_radii

    ((_, changed),) = substitutions(CRYSTALS[0], NB_O, covalent_radii_rule)
    growth = (covalent_radii[41] + covalent_radii[8]) / (covalent_radii[12] + covalent_radii[8])
    torch.testing.assert_close(changed.lattice, CRYSTALS[0].lattice * growth)


def test_element_volumes_add_up() -> None:
    volumes = torch.zeros(119)
    volumes[8], volumes[12], volumes[41] = 9.0, 6.0, 15.0
    ((_, changed),) = substitutions(CRYSTALS[0], NB_O, element_volume_rule(volumes))
    assert (changed.volume / CRYSTALS[0].volume).item() == pytest.approx((9 + 15) / (9 + 6))


@pytest.mark.parametrize("rule", [keep_volume, covalent_radii_rule, element_volume_rule(torch.arange(1.0, 120.0))])
def test_templates_and_crystals_grow_alike(rule) -> None:
    data = extract(CRYSTALS).parametrised
    for (chosen, described), (_, placed) in zip(
        substitutions(data, NB_O, rule), substitutions(data.crystals(), NB_O, rule), strict=True
    ):
        assert torch.equal(described.crystals().atomic_numbers, placed.atomic_numbers)
        torch.testing.assert_close(described.crystals().lattice, placed.lattice)
        assert torch.equal(described.u, data[chosen].u)


def test_templates_alone_change_their_elements_only() -> None:
    templates = extract(CRYSTALS[0]).templates
    changed = substitute(templates, torch.tensor([Element("Na").Z, Element("Cl").Z]))
    assert torch.equal(changed.position, templates.position)
    assert changed.names() != templates.names()
    assert changed.prototypes() == templates.prototypes()


def test_elements_change_in_one_module() -> None:
    changing = re.compile(r"\breplace\([^()]*\batomic_numbers=")
    modules = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if changing.search(p.read_text())}
    assert modules == {"symmetry/substitute.py"}
