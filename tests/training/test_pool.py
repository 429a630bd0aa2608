"""Species become one in every way that keeps their order, and the symmetry that comes of it is found."""

import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.symmetry.species import number_of_species
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.pool import merged_species, template_pool

LAYERED = Structure.from_spacegroup(
    123,
    Lattice.tetragonal(4.2 / 2**0.5, 4.2),
    ["Mg", "Mn", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]],
)
"""A rock salt of two cations in alternate layers."""


def test_ordered_rock_salt_merges_to_rock_salt(as_parametrised) -> None:
    templates = template_pool(as_parametrised(LAYERED))
    assert set(templates.names()) == {"123:a.O b.Mg c.Mn d.O", "221:a.O", "123:a.O b.O c.O d.Mg", "225:a.O b.Mg"}


def test_every_way_to_merge() -> None:
    perovskite = Structure.from_spacegroup(
        221, Lattice.cubic(4.0), ["Ba", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    made = [s for crystals in merged_species(from_structures([perovskite])) for s in to_structures(crystals)]
    assert sorted(s.composition.formula for s in made) == ["Ba1 O4", "O5", "Ti2 O3"]


@pytest.mark.slow
def test_every_template_has_a_crystal_with_that_symmetry(small_corpus: Corpus) -> None:
    data = small_corpus.training[torch.arange(0, len(small_corpus.training), 9)]
    templates = template_pool(data)
    names = set(templates.names())
    assert len(names) == len(templates)
    assert set(data.templates.prototypes()) <= set(templates.prototypes())
    assert int(templates.num_atoms.max()) <= int(data.templates.num_atoms.max())


def test_templates_that_differ_in_elements_only_are_kept_once(as_parametrised) -> None:
    rutiles = [
        Structure.from_spacegroup(136, Lattice.tetragonal(a, 3.0), [metal, anion], [[0, 0, 0], [0.3, 0.3, 0]])
        for metal, anion, a in (("Ti", "O", 4.6), ("Mg", "F", 4.7), ("O", "Ti", 4.6))
    ]
    pool = template_pool(as_parametrised(*rutiles))
    assert pool[number_of_species(pool) == 2].names() == ["136:a.Ti f.O", "136:a.O f.Ti"]
