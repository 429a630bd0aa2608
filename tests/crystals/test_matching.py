import itertools

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from crystalgraph.crystals import matching
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import group_equal, match_any, matches
from crystalgraph.crystals.reference_index import MatchLog, ReferenceIndex

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CESIUM_CHLORIDE = Structure(Lattice.cubic(2.6), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]
)
ANATASE = Structure.from_spacegroup(
    "I4_1/amd", Lattice.tetragonal(3.784, 9.515), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]
)
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]]
)
ALL = [ROCK_SALT, CESIUM_CHLORIDE, RUTILE, ANATASE, QUARTZ]


def copies_of(structure: Structure, seed: int) -> list[Structure]:
    """The same crystal as a shifted supercell, strained, mirrored, rescaled, shuffled, with oxidation states."""
    rng = np.random.default_rng(seed)
    shifted = structure * (2, 1, 1)
    shifted.translate_sites(range(len(shifted)), rng.random(3))
    strained = structure.copy()
    strained.apply_strain([0.02, -0.02, 0.01])
    mirrored = Structure(structure.lattice, structure.species, -structure.frac_coords)
    scaled = structure.copy()
    scaled.scale_lattice(structure.volume * 1.7)
    shuffled = Structure.from_sites([structure[int(k)] for k in rng.permutation(len(structure))])
    return [shifted, strained, mirrored, scaled, shuffled, structure.copy().add_oxidation_state_by_guess()]


def random_cells(n: int, seed: int) -> list[Structure]:
    rng = np.random.default_rng(seed)
    return [
        Structure(
            Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(70, 110, 3)),
            ["Nb", "O", "O"],
            rng.random((3, 3)),
        )
        for _ in range(n)
    ]


@pytest.mark.slow
def test_copies_match_and_polymorphs_do_not():
    for number, structure in enumerate(ALL):
        for copy in copies_of(structure, seed=number):
            assert matches(structure, copy)
            assert matches(copy, structure)
    for a, b in itertools.combinations(ALL, 2):
        assert not matches(a, b)
        assert not matches(b, a)


@pytest.mark.slow
def test_group_equal_labels_by_first():
    mixed = [RUTILE, ANATASE, *copies_of(RUTILE, 1), ROCK_SALT, *copies_of(ANATASE, 2), CESIUM_CHLORIDE]
    expected = [0, 1, *[0] * 6, 8, *[1] * 6, 15]
    assert group_equal(mixed).tolist() == expected
    assert group_equal(mixed, workers=2).tolist() == expected
    assert group_equal([]).tolist() == []


@pytest.mark.slow
def test_same_decisions_as_the_plain_matcher_in_both_directions():
    seed = 11
    base = random_cells(14, seed)
    rng = np.random.default_rng(seed)
    cells = base + [s.copy().perturb(float(rng.uniform(0.2, 0.9))) for s in base]
    plain = StructureMatcher()
    found = []
    for a, b in itertools.combinations(cells, 2):
        expected = plain.fit(a, b) or plain.fit(b, a)
        assert matches(a, b) == expected, f"{seed=}"
        found.append(expected)
    assert 5 < sum(found) < len(found) - 5, "the sample must meet both cases"


def test_equality_is_a_greedy_pass_in_the_order_given():
    def stretched(c: float) -> Structure:
        return Structure(Lattice.tetragonal(3, c), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])

    short, middle, long = stretched(3.0), stretched(3.45), stretched(4.0)
    assert matches(short, middle)
    assert matches(middle, long)
    assert not matches(short, long)
    assert group_equal([short, middle, long]).tolist() == [0, 0, 2]
    assert group_equal([middle, short, long]).tolist() == [0, 0, 0]


@pytest.mark.slow
def test_match_any_finds_the_first_reference():
    reference = [ANATASE, RUTILE, RUTILE * (1, 1, 2), ROCK_SALT]
    asked = [*copies_of(RUTILE, 4), CESIUM_CHLORIDE, QUARTZ, ROCK_SALT]
    expected = [1] * 6 + [-1, -1, 3]
    index = ReferenceIndex(reference)
    steps: list[tuple[str, int, int]] = []
    assert match_any(asked, reference, progress=lambda *step: steps.append(step)).tolist() == expected
    assert steps[-1] == ("matching", 9, 9)
    assert match_any(asked, index, progress=lambda *step: steps.append(step)).tolist() == expected
    assert steps[-9:] == [("matching", k, 9) for k in range(1, 10)]
    assert match_any(asked, index).tolist() == expected, "an index can be used again"
    assert match_any(asked, reference, workers=2).tolist() == expected
    batch = from_structures(reference)
    assert match_any(asked, batch).tolist() == match_any(asked, batch, workers=2).tolist() == expected
    assert match_any(asked, []).tolist() == [-1] * 9
    assert match_any([], reference).tolist() == []


def test_match_all_finds_every_reference():
    reference = [ANATASE, RUTILE, RUTILE * (1, 1, 2), ROCK_SALT]
    asked = [*copies_of(RUTILE, 4), CESIUM_CHLORIDE, QUARTZ, ROCK_SALT]
    expected = [[1, 2]] * 6 + [[], [], [3]]
    log = MatchLog()
    assert matching.match_all(asked, reference, log=log) == expected
    assert log.compared > 0
    assert matching.match_all(asked, []) == [[]] * 9
    assert matching.match_all([], reference) == []


@pytest.mark.slow
def test_match_all_in_two_processes_finds_the_same():
    asked, reference = copies_of(RUTILE, 4), [ANATASE, RUTILE]
    assert matching.match_all(asked, reference, workers=2) == matching.match_all(asked, reference)


def test_displacements_are_those_that_were_made():
    rng = np.random.default_rng(7)
    for structure in ALL:
        moves = rng.normal(0, 0.08, (len(structure), 3))
        moves -= moves.mean(0)  # the matcher takes a common shift out
        moved = Structure(
            structure.lattice,
            structure.species,
            structure.cart_coords + moves + [0.3, -0.2, 0.1],
            coords_are_cartesian=True,
        )
        (found,) = matching.rms_displacements([structure], [moved])
        assert found == pytest.approx(np.sqrt((moves**2).sum(1).mean()), rel=1e-3)


def test_displacements_need_neither_equal_symmetry_nor_equal_volume():
    doubled = ROCK_SALT * (1, 1, 2)
    broken = doubled.copy()
    broken.translate_sites([0], [0.2, 0, 0], frac_coords=False)
    swollen = Structure(Lattice(broken.lattice.matrix * 1.1), broken.species, broken.frac_coords)
    log = MatchLog()
    one, two = matching.rms_displacements([broken, swollen], [doubled, doubled], log=log)
    n = len(doubled)
    assert one == pytest.approx(0.2 * np.sqrt((1 - 1 / n) / n), rel=1e-3)
    assert two == pytest.approx(one * 1.05, rel=0.02)  # measured in the mean of the two lattices
    assert log.compared == 2


def test_displacements_of_different_crystals_and_broken_cells_are_none(monkeypatch):
    flat = Structure(Lattice([[5, 0, 0], [5, 1e-9, 0], [0, 0, 5]]), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cubic = Structure(Lattice.cubic(3), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    needle = Structure(Lattice.tetragonal(2, 7), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    log = MatchLog()
    assert matching.rms_displacements([flat, needle], [cubic, cubic], log=log) == [None, None]
    assert (log.compared, log.unreducible) == (1, 1)

    class Endless:
        def __init__(self, **_options):
            pass

        def get_rms_dist(self, *_args):
            while True:
                pass

    monkeypatch.setattr("pymatgen.core.structure_matcher.StructureMatcher", Endless)
    log = MatchLog()
    assert matching.rms_displacements([cubic], [cubic], time_limit=0.2, log=log) == [None]
    assert log.timed_out == 1


@pytest.mark.parametrize(
    "lattice",
    [
        Lattice([[5, 0, 0], [5, 1e-9, 0], [0, 0, 5]]),
        Lattice.from_parameters(200, 0.3, 0.3, 90, 90, 90),
        Lattice.cubic(0.001),
        Lattice(np.zeros((3, 3))),
        Lattice(np.full((3, 3), np.nan)),
    ],
)
def test_degenerate_cells_neither_hang_nor_match(lattice):
    broken = Structure(lattice, ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    log = MatchLog()
    assert group_equal([ROCK_SALT, broken, broken], log=log).tolist() == [0, 1, 2]
    assert log.unreducible == 2


@pytest.mark.slow
def test_real_oxides_are_grouped_as_by_the_plain_matcher():
    from crystalgraph.crystals.conversion import to_structures
    from crystalgraph.io.datasets import load_dataset

    corpus = load_dataset("corpus").crystals
    small = (corpus.num_atoms <= 12).nonzero()[:, 0]
    oxides = [
        k for k in small.tolist() if {8, 22} <= set(corpus.atomic_numbers[corpus.ptr[k] : corpus.ptr[k + 1]].tolist())
    ]
    structures = to_structures(corpus[oxides[:120]])
    plain, kept, expected = StructureMatcher(), [], []
    for k, s in enumerate(structures):
        same = (
            j
            for j in kept
            if structures[j].reduced_formula == s.reduced_formula
            and (plain.fit(structures[j], s) or plain.fit(s, structures[j]))
        )
        expected.append(next(same, k))
        kept += [k] if expected[-1] == k else []
    assert group_equal(structures).tolist() == expected
