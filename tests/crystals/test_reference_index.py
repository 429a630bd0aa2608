"""The index decides as the plain matcher does, reduces each crystal once, and cannot hang."""

import itertools

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from crystalgraph.crystals import reference_index
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.reference_index import ReferenceIndex

CSCL = Structure(Lattice.cubic(2.6), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]]
)
ALL = [CSCL, ROCK_SALT, QUARTZ]


def batch_of(structures):
    return Crystals(
        lattice=torch.tensor(np.array([s.lattice.matrix for s in structures])),
        frac_coords=torch.tensor(np.concatenate([s.frac_coords for s in structures])),
        atomic_numbers=torch.tensor([z for s in structures for z in s.atomic_numbers]),
        num_atoms=torch.tensor([len(s) for s in structures]),
    )


def random_cells(n, seed):
    rng = np.random.default_rng(seed)
    return [
        Structure(
            Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(70, 110, 3)),
            ["Nb", "O", "O"],
            rng.random((3, 3)),
        )
        for _ in range(n)
    ]


def test_the_lattice_prefilter_never_refuses_a_match():
    cells = [reference_index._Reduced.of(s) for s in random_cells(40, seed=12)]
    plain = StructureMatcher()
    refused = 0
    for a, b in itertools.permutations(cells, 2):
        if len(a.structure) == len(b.structure) and not reference_index._may_match(a.cell, b.cell):
            refused += 1
            assert not plain.fit(a.structure, b.structure, skip_structure_reduction=True)
    assert refused > 100


def test_a_member_is_found_and_a_stranger_joins():
    index = ReferenceIndex()
    assert [index.find_or_add(s) for s in (ROCK_SALT, CSCL, ROCK_SALT * (2, 1, 1))] == [0, 1, 0]
    assert [index.find(s) for s in (CSCL * (1, 2, 1), QUARTZ)] == [1, -1]
    assert index.add(ROCK_SALT * (1, 1, 2)) == 2
    assert index.find_all(ROCK_SALT) == [0, 2]


def test_a_member_gives_its_place_to_another():
    longer = Structure(Lattice.tetragonal(2.6, 3.6), CSCL.species, CSCL.frac_coords)
    longest = Structure(Lattice.tetragonal(2.6, 4.4), CSCL.species, CSCL.frac_coords)
    for index in (ReferenceIndex([ROCK_SALT, CSCL]), ReferenceIndex.from_crystals(batch_of([ROCK_SALT, CSCL]))):
        assert [index.find(s) for s in (CSCL, longest)] == [1, -1]
        index.exchange(1, longer)
        assert [index.find(s) for s in (ROCK_SALT, CSCL, longer, longest)] == [0, -1, 1, 1]
        assert index.structure(1) is longer


def test_a_batch_is_indexed_as_its_structures_are():
    index = ReferenceIndex.from_crystals(batch_of(ALL))
    assert len(index) == 3
    assert [index.find(s * (2, 1, 1)) for s in ALL] == [0, 1, 2]


def test_each_member_is_reduced_once_and_only_when_needed(monkeypatch):
    reductions = []
    reduce = reference_index._Reduced.of
    monkeypatch.setattr(reference_index._Reduced, "of", lambda s: reductions.append(s) or reduce(s))
    index = ReferenceIndex(ALL)
    assert reductions == []
    assert index.find(ROCK_SALT) == 1
    assert len(reductions) == 2, "itself, and the one of its formula whose lattice may be alike"
    assert index.find(CSCL) == 0
    assert len(reductions) == 4


def test_a_pair_that_takes_too_long_is_different_and_counted(monkeypatch):
    class Endless:
        def fit(self, *_args, **_options):
            while True:
                pass

    monkeypatch.setattr(reference_index, "matcher", Endless)
    index = ReferenceIndex([ROCK_SALT], time_limit=0.2)
    assert index.find(ROCK_SALT) == -1
    assert (index.log.compared, index.log.timed_out) == (1, 1)
