import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list as ase_neighbor_list
from pymatgen.core import Lattice, Structure

from crystalgraph.geometry import neighbors
from crystalgraph.geometry.neighbors import neighbor_list, searchable_cells


def skewed_batch(seed, n_crystals=40, max_atoms=6):
    """Random cells, many strongly skewed, some left-handed, some with one atom; atoms outside [0, 1) included."""
    rng = np.random.default_rng(seed)
    lattices, coords, counts = [], [], []
    for index in range(n_crystals):
        lengths, shear = rng.uniform(2.0, 7.0, 3), rng.uniform(-9, 9, 3)
        lattice = np.diag(lengths)
        lattice[1, 0], lattice[2, 0], lattice[2, 1] = shear
        lattice = lattice[rng.permutation(3)] @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        counts.append(1 if index % 5 == 0 else int(rng.integers(2, max_atoms + 1)))
        lattices.append(lattice)
        coords.append(rng.uniform(-2, 3, (counts[-1], 3)))
    return np.stack(lattices), coords, np.array(counts)


def find(lattices, coords, counts, cutoff, **kwargs):
    return neighbor_list(
        torch.tensor(lattices), torch.tensor(np.concatenate(coords)), torch.tensor(counts), cutoff, **kwargs
    )


def as_set(i, j, shift):
    rows = [tuple(int(x) for x in (a, b, *s)) for a, b, s in zip(i, j, np.asarray(shift), strict=True)]
    assert len(set(rows)) == len(rows), "a pair was listed twice"
    return set(rows)


@pytest.mark.parametrize("cutoff", [1.5, 3.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_pymatgen_over_skewed_cells(seed, cutoff):
    lattices, coords, counts = skewed_batch(seed)
    expected, start = set(), 0
    for lattice, frac in zip(lattices, coords, strict=True):
        structure = Structure(Lattice(lattice), ["H"] * len(frac), frac, to_unit_cell=False)
        i, j, shift, _ = structure.get_neighbor_list(cutoff, exclude_self=True)
        expected |= as_set(i + start, j + start, shift)
        start += len(frac)
    assert as_set(*find(lattices, coords, counts, cutoff)) == expected


def test_equals_ase_over_skewed_cells():
    lattices, coords, counts = skewed_batch(seed=2, n_crystals=25)
    expected, start = set(), 0
    for lattice, frac in zip(lattices, coords, strict=True):
        atoms = Atoms(numbers=[1] * len(frac), scaled_positions=frac, cell=lattice, pbc=True)
        i, j, shift = ase_neighbor_list("ijS", atoms, 4.0)
        expected |= as_set(i + start, j + start, shift)
        start += len(frac)
    assert as_set(*find(lattices, coords, counts, 4.0)) == expected


def test_distances_of_all_pairs_are_within_the_cutoff_and_the_list_is_symmetric():
    lattices, coords, counts = skewed_batch(seed=3)
    i, j, shift = find(lattices, coords, counts, 4.5)
    frac, owner = np.concatenate(coords), np.repeat(np.arange(len(counts)), counts)
    vectors = np.einsum("nk,nkl->nl", frac[j] - frac[i] + shift.numpy(), lattices[owner[i]])
    assert (owner[i] == owner[j]).all()
    assert np.linalg.norm(vectors, axis=1).max() <= 4.5 + 1e-7
    assert as_set(i, j, shift) == as_set(j, i, -shift)


def test_shells_exactly_on_the_cutoff_are_complete():
    # Simple cubic, a = 2.5 Å: shells of 6, 12, 8 and 6 at a, √2a, √3a and 2a.
    for cutoff, n in [(2.5, 6), (2.5 * 2**0.5, 18), (2.5 * 3**0.5, 26), (5.0, 32)]:
        i, _, _ = find(np.eye(3)[None] * 2.5, [np.full((1, 3), 0.3)], np.array([1]), cutoff)
        assert len(i) == n


def test_tiny_cell_sees_the_ball_around_it():
    i, _, _ = find(np.eye(3)[None] * 0.5, [np.zeros((1, 3))], np.array([1]), 2.3)
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3), -1).reshape(-1, 3)
    assert len(i) == ((grid**2).sum(1) * 0.25 <= 2.3**2).sum() - 1


def test_each_crystal_may_have_its_own_cutoff():
    lattices, coords, counts = skewed_batch(seed=4, n_crystals=12)
    cutoffs = np.linspace(0.5, 5.0, 12)
    expected, start = set(), 0
    for lattice, frac, cutoff in zip(lattices, coords, cutoffs, strict=True):
        i, j, shift = find(lattice[None], [frac], np.array([len(frac)]), float(cutoff))
        expected |= as_set(i + start, j + start, shift)
        start += len(frac)
    assert as_set(*find(lattices, coords, counts, torch.tensor(cutoffs))) == expected


def test_searching_in_small_chunks_gives_the_same_pairs(monkeypatch):
    lattices, coords, counts = skewed_batch(seed=5)
    whole = as_set(*find(lattices, coords, counts, 3.5))
    monkeypatch.setattr(neighbors, "_CHUNK", 5000)
    assert as_set(*find(lattices, coords, counts, 3.5)) == whole


def broken_batch():
    lattices, coords, counts = skewed_batch(seed=6, n_crystals=8)
    lattices[1, 2] = lattices[1, 0] + lattices[1, 1]  # flat
    lattices[2, 0, 1] = np.nan
    coords[3] = np.full_like(coords[3], np.inf)
    lattices[5] *= 1e-3  # collapsed
    lattices[6] = 0
    return lattices, coords, counts, [True, False, False, False, True, False, False, True]


def test_degenerate_cells_are_named_and_do_not_kill_the_batch():
    lattices, coords, counts, good = broken_batch()
    batch = torch.tensor(lattices), torch.tensor(np.concatenate(coords)), torch.tensor(counts)
    mask = searchable_cells(*batch, 4.0)
    assert mask.tolist() == good
    with pytest.raises(ValueError, match=r"crystal 1 \(5 of 8\)"):
        neighbor_list(*batch, 4.0)

    i, j, shift = neighbor_list(*batch, 4.0, searchable=mask)
    expected, start = set(), 0
    for lattice, frac, ok in zip(lattices, coords, good, strict=True):
        if ok:
            a, b, s = find(lattice[None], [frac], np.array([len(frac)]), 4.0)
            expected |= as_set(a + start, b + start, s)
        start += len(frac)
    assert as_set(i, j, shift) == expected


def test_a_strong_but_harmless_shear_is_searched():
    # The same simple cubic crystal in three absurd settings: each has 18 neighbours within 3.6 Å of a = 2.5 Å.
    for row, column in [(0, 2), (2, 0), (1, 2)]:
        lattice = np.eye(3) * 2.5
        lattice[row, column] = 2.5 * 300
        i, _, _ = find(lattice[None], [np.zeros((1, 3))], np.array([1]), 3.6)
        assert len(i) == 18


def test_types_and_empty_results():
    lattices, coords, counts = skewed_batch(seed=7, n_crystals=3)
    i, j, shift = find(lattices.astype(np.float32), [c.astype(np.float32) for c in coords], counts, 3.0)
    assert i.dtype == j.dtype == shift.dtype == torch.int64
    assert shift.shape == (len(i), 3)
    i, j, shift = find(np.eye(3)[None] * 9, [np.zeros((1, 3))], np.array([1]), 3.0)
    assert len(i) == len(j) == 0
    assert shift.shape == (0, 3)
    i, _, shift = find(np.zeros((0, 3, 3)), [np.zeros((0, 3))], np.zeros(0, dtype=int), 3.0)
    assert len(i) == 0
    assert shift.shape == (0, 3)
