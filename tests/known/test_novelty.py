from collections import Counter

import numpy as np
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.matching import matches
from crystalgraph.io.load import load
from crystalgraph.known.novelty import substituted, templates_seen

ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure.from_spacegroup(
    221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
NIOBIUM = Structure(Lattice.cubic(3.3), ["Nb", "Nb"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_templates_are_compared_whatever_the_elements():
    magnesia = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    anti = Structure.from_spacegroup(225, Lattice.cubic(5.4), ["O", "Li"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    fluorite = Structure.from_spacegroup(225, Lattice.cubic(5.0), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    known = load({"rs": ROCK_SALT, "fluorite": fluorite, "nb": NIOBIUM})
    learned = load({"a": magnesia * (1, 1, 2), "b": anti, "c": PEROVSKITE})
    assert dict(zip(known.ids, templates_seen(known, learned), strict=True)) == {
        "fluorite": ("225:a/c", True),
        "nb": ("229:a", False),
        "rs": ("225:a/b", True),
    }


def test_substituted_has_every_way_to_put_elements_in():
    """SrTiO3 with two elements, in order of electronegativity: (Sr)(TiO3) is NbO4 and (SrTi)(O3) is Nb2O3."""
    learned = load({"rs": ROCK_SALT, "p": PEROVSKITE, "nb": NIOBIUM})
    counts = {"NbO4": [4, 1], "Nb2O3": [3, 2], "Nb3O": [1, 3], "NbO": [1, 1], "Nb": [0, 1]}
    compositions = np.zeros((len(counts), 119), dtype=np.int64)
    compositions[:, [8, 41]] = list(counts.values())
    table = substituted(learned, compositions)
    put_in = list(zip(table.ids, [s.composition.reduced_formula for s in table.structures], strict=True))
    # As they are; then everything of one species or more as niobium; then of two or more as a niobium oxide.
    assert Counter(put_in) == Counter(
        {("rs", "NbO"): 1, ("nb", "Nb"): 1, ("rs", "Nb"): 1, ("p", "Nb"): 1, ("p", "NbO4"): 1, ("p", "Nb2O3"): 1}
    )
    perovskite = table.structures[put_in.index(("p", "Nb2O3"))]
    assert matches(perovskite, PEROVSKITE.copy().replace_species({"Sr": "Nb", "Ti": "Nb"}))
    assert substituted(learned, compositions[:1]).ids == ["p"]
    assert len(substituted(learned, compositions[:0])) == 0
