import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.symmetry.children import LOOSE, children

CHALCOPYRITE = Structure.from_spacegroup(
    122,
    Lattice.tetragonal(5.3, 10.4),
    ["Cu", "Fe", "S"],
    [[0, 0, 0], [0, 0, 0.5], [0.26, 0.25, 0.125]],
).get_primitive_structure()


def derived(structure):
    return to_structures(children(from_structures([structure])).crystals())


def test_two_orbits_of_as_many_atoms_are_exchanged():
    """The cations of a perovskite change places: titanium has twelve oxygen atoms around it then, not six."""
    cubic = Structure.from_spacegroup(221, Lattice.cubic(4), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
    (found,) = derived(cubic)
    assert found.composition == cubic.composition
    (titanium,) = [site for site in found if site.species_string == "Ti"]
    distances = sorted(n.nn_distance for n in found.get_neighbors(titanium, 4) if n.species_string == "O")
    assert distances[:12] == pytest.approx([4 / 2**0.5] * 12, rel=1e-4)


def test_small_distortions_are_undone():
    cubic = Structure.from_spacegroup(221, Lattice.cubic(4), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
    distorted = cubic.copy()
    distorted.translate_sites([1], [0, 0, 0.03])  # 0.12 Å
    assert SpacegroupAnalyzer(distorted, symprec=0.02).get_space_group_number() == 99
    assert LOOSE > 0.12
    groups = [SpacegroupAnalyzer(found, symprec=0.02).get_space_group_number() for found in derived(distorted)]
    assert 221 in groups


def test_a_parent_is_not_its_own_child():
    rock_salt = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0] * 3, [0.5] * 3])
    assert derived(rock_salt.get_primitive_structure()) == []


@pytest.mark.parametrize("n", [1, 3])
def test_no_template_comes_twice(n):
    found = children(from_structures([CHALCOPYRITE] * n))
    names = found.templates.names()
    assert len(set(names)) == len(names)
    assert torch.isfinite(found.log_volume).all()
