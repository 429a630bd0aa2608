import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.elements import covalent_radii
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.validity import densities, strict_validity

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]
)


def batch_of(*structures: Structure) -> Crystals:
    return Crystals(
        lattice=torch.tensor(np.array([s.lattice.matrix for s in structures])),
        frac_coords=torch.tensor(np.concatenate([s.frac_coords for s in structures])),
        atomic_numbers=torch.tensor([z for s in structures for z in s.atomic_numbers]),
        num_atoms=torch.tensor([len(s) for s in structures]),
    )


def random_structures(n: int, seed: int) -> list[Structure]:
    """Crowded and roomy cells, some strongly skewed, of elements with very different radii."""
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(n):
        lengths, angles = rng.uniform(1.5, 7.5, 3), rng.uniform(60, 119, 3)
        matrix = Lattice.from_parameters(*lengths, *angles).matrix.copy()
        matrix[2] += rng.integers(-2, 3) * matrix[0]
        n_atoms = int(rng.integers(1, 9))
        structures.append(Structure(Lattice(matrix), rng.choice([1, 8, 41, 55], n_atoms), rng.random((n_atoms, 3))))
    return structures


def oracle(structure: Structure, reach: float) -> tuple[float, float]:
    """Shortest distance and shortest reduced distance by pymatgen's neighbour search."""
    radius = covalent_radii().numpy()[list(structure.atomic_numbers)]
    i, j, _, d = structure.get_neighbor_list(max(reach * 2 * radius.max(), 0.5))
    return (d.min(), (d / (radius[i] + radius[j])).min()) if len(d) else (np.inf, np.inf)


def test_known_crystals_have_their_textbook_distances_and_densities():
    found = strict_validity(batch_of(NACL, RUTILE))
    assert found.valid.all()
    assert found.cdvae_valid.all()
    assert found.reasons == ["", ""]
    assert found.min_distance.tolist() == pytest.approx([2.82, 1.9465], abs=1e-4)
    assert found.density.tolist() == pytest.approx([NACL.density, RUTILE.density], rel=1e-4)
    assert found.volume_per_atom.tolist() == pytest.approx([NACL.volume / 8, RUTILE.volume / 6])
    assert densities(batch_of(NACL, RUTILE)).tolist() == found.density.tolist()


@pytest.mark.parametrize("reach", [0.7, 1.0, 1.3])
def test_distances_and_verdicts_equal_pymatgen(reach):
    structures = random_structures(150, seed=3)
    found = strict_validity(batch_of(*structures), reach=reach)
    expected = np.array([oracle(s, reach) for s in structures])
    np.testing.assert_allclose(found.min_distance, expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.min_reduced_distance, expected[:, 1], atol=1e-9)
    density = np.array([s.density for s in structures])
    cdvae = expected[:, 0] > 0.5
    strict = cdvae & (expected[:, 1] >= 0.7) & (density >= 1.5) & (density <= 20)
    assert found.cdvae_valid.tolist() == cdvae.tolist()
    assert found.valid.tolist() == strict.tolist()
    assert 0 < strict.sum() < cdvae.sum() < len(structures), "the sample must meet every case"


def test_verdict_does_not_depend_on_the_rest_of_the_batch():
    structures = random_structures(30, seed=4)
    together = strict_validity(batch_of(*structures))
    for k, structure in enumerate(structures):
        alone = strict_validity(batch_of(structure))
        assert alone.min_distance[0] == together.min_distance[k]
        assert alone.reasons[0] == together.reasons[k]


def test_laws_rotation_origin_supercell():
    rng = np.random.default_rng(5)
    for structure in random_structures(20, seed=6):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotated = Structure(
            Lattice(structure.lattice.matrix @ rotation), structure.species, structure.frac_coords + rng.normal(size=3)
        )
        supercell = structure * (2, 1, 1)
        found = strict_validity(batch_of(structure, rotated, supercell))
        for values in (found.min_distance, found.min_reduced_distance, found.density, found.volume_per_atom):
            assert values[1:].tolist() == pytest.approx([values[0].item()] * 2, rel=1e-9)


def test_own_image_counts():
    found = strict_validity(batch_of(Structure(Lattice.orthorhombic(1.4, 4, 4), ["Nb"], [[0, 0, 0]])))
    assert found.min_distance.item() == pytest.approx(1.4)
    assert found.reasons == ["atoms closer than 0.7 of their covalent radii"]
    assert found.cdvae_valid.all()
    assert not found.valid.any()


@pytest.mark.parametrize(("scale", "valid"), [(0.6999, False), (0.7001, True)])
def test_the_strict_limit_is_a_tenth_of_the_last_digit_exact(scale, valid):
    distance = scale * float(covalent_radii()[41] + covalent_radii()[8])
    pair = Structure(Lattice.cubic(4.5), ["Nb", "O"], [[0, 0, 0], [distance / 4.5, 0, 0]])
    assert strict_validity(batch_of(pair)).valid.item() is valid


def test_density_range():
    thin = Structure(Lattice.cubic(9), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    osmium = Structure(Lattice.hexagonal(2.734, 4.320), ["Os"] * 2, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
    found = strict_validity(batch_of(thin, osmium))
    assert found.reasons == ["density below 1.5 g/cm³", "density above 20 g/cm³"]
    assert found.min_distance[0] == torch.inf


def test_broken_cells_get_their_reason_and_leave_the_others_alone():
    nan_cell = Structure(Lattice(np.full((3, 3), np.nan)), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    inf_atom = Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [np.inf, 0.5, 0.5]])
    flat = Structure(Lattice([[3, 0, 0], [6, 0, 0], [0, 0, 4]]), ["Nb"], [[0, 0, 0]])
    needle = Structure(Lattice([[1e-4, 0, 0], [0, 1e-2, 0], [0, 0, 1e6]]), ["Nb"], [[0, 0, 0]])
    overlap = Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [0, 0, 0]])
    alien = batch_of(NACL).replace(atomic_numbers=torch.tensor([0] + [11] * 7))
    batch = Crystals.concatenate([batch_of(NACL, nan_cell, inf_atom, flat, needle, overlap, RUTILE), alien])
    found = strict_validity(batch)
    assert found.valid.tolist() == [True, False, False, False, False, False, True, False]
    assert found.cdvae_valid.tolist() == [True, False, False, False, False, False, True, True]
    assert found.reasons[1] == found.reasons[2] == "lattice or coordinates not finite"
    assert found.reasons[3] == "cell volume below 0.1 Å³"
    assert found.reasons[4].startswith("cell too flat or too crowded to search")
    assert "atoms within 0.5 Å" in found.reasons[5]
    assert found.min_distance[5] == 0
    assert found.reasons[7].startswith("not a chemical element")
    assert found.failures.any(1).tolist() == [reason != "" for reason in found.reasons]


def test_reach_below_the_verdicts_need_is_refused():
    with pytest.raises(ValueError, match="needs at least"):
        strict_validity(batch_of(NACL), reach=0.5)


@pytest.mark.slow
def test_real_crystals_are_strictly_valid():
    from crystalgraph.io.datasets import load_dataset

    corpus = load_dataset("corpus").crystals[:4000]
    found = strict_validity(corpus, reach=0.7)
    assert found.cdvae_valid.all()
    assert found.valid.double().mean() > 0.97  # light hydrides, alkali metals and osmium are real, too
