"""Species become one in every way that keeps their order, and the symmetry that comes of it is found."""

import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.io.structures import from_structures, to_structures
from crystalgraph.training.corpus import Corpus
from crystalgraph.training.pool import merged_species, template_pool

LAYERED = Structure.from_spacegroup(
    123,
    Lattice.tetragonal(4.2 / 2**0.5, 4.2),
    ["Mg", "Mn", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]],
)
"""A rock salt of two cations in alternate layers."""


def test_ordered_rock_salt_merges_to_rock_salt(as_template_set) -> None:
    templates, counts = template_pool(as_template_set(LAYERED))
    assert set(templates.names()) == {"123:a.O b.Mg c.Mn d.O", "221:a.O", "123:a.O b.O c.O d.Mg", "225:a.O b.Mg"}
    assert counts.tolist() == [1, 1, 1, 1]


def test_every_way_to_merge() -> None:
    perovskite = Structure.from_spacegroup(
        221, Lattice.cubic(4.0), ["Ba", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    made = [s for crystals in merged_species(from_structures([perovskite])) for s in to_structures(crystals)]
    assert sorted(s.composition.formula for s in made) == ["Ba1 O4", "O5", "Ti2 O3"]


def test_every_template_has_a_crystal_with_that_symmetry(small_corpus: Corpus) -> None:
    data = small_corpus.training[torch.arange(0, len(small_corpus.training), 9)]
    templates, counts = template_pool(data)
    first, which = data.templates.distinct()
    names = dict(zip(templates.names(), counts.tolist(), strict=True))
    for name, n in zip(data.templates[first].names(), torch.bincount(which).tolist(), strict=True):
        assert names[name] >= n
    assert len(names) == len(templates) > len(first)
    assert int(templates.num_atoms.max()) <= int(data.templates.num_atoms.max())
