"""Extraction: the round trip over real crystals, and what happens to those that have no template."""

import pytest
import spglib
import torch
from pymatgen.core.structure_matcher import StructureMatcher

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.io.datasets import load_dataset
from crystalgraph.symmetry.extract import extract


def check_round_trip(index: torch.Tensor) -> None:
    crystals = load_dataset("corpus").crystals[index]
    found = extract(crystals)
    assert not found.failures
    matcher = StructureMatcher()
    again = to_structures(found.parametrised.crystals())
    for real, made in zip(to_structures(crystals[found.source]), again, strict=True):
        distance = matcher.get_rms_dist(real, made)
        assert distance is not None, real.composition
        assert distance[0] < 0.02, real.composition


@pytest.mark.slow
def test_round_trip_of_corpus_crystals() -> None:
    check_round_trip(torch.arange(0, 37_855, 190))


@pytest.mark.slow
def test_round_trip_of_many_corpus_crystals() -> None:
    check_round_trip(torch.arange(11, 37_855, 19))


@pytest.mark.slow
def test_groups_equal_spglib() -> None:
    crystals = load_dataset("corpus").crystals[torch.arange(7, 37_855, 150)]
    found = extract(crystals, symprec=0.01)
    differ = 0
    for group, structure in zip(found.templates.space_group_number, to_structures(crystals[found.source]), strict=True):
        cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        differ += spglib.get_symmetry_dataset(cell, symprec=0.01).number != int(group)
    # The two libraries read a tolerance differently in a few distorted crystals.
    assert differ <= 0.02 * len(crystals)


@pytest.mark.slow
def test_result_does_not_depend_on_the_number_of_processes() -> None:
    crystals = load_dataset("corpus").crystals[:1200]
    one, two = extract(crystals), extract(crystals, workers=2)
    assert torch.equal(one.parametrised.u, two.parametrised.u)
    assert torch.equal(one.templates.position, two.templates.position)


def test_a_crystal_that_fails_is_named_and_the_others_stay() -> None:
    crystals = load_dataset("corpus").crystals[:4]
    lattice = crystals.lattice.clone()
    lattice[2] = 0
    found = extract(crystals.replace(lattice=lattice))
    assert found.source.tolist() == [0, 1, 3]
    assert list(found.failures) == [2]
    assert "symmetry search failed" in found.failures[2]
