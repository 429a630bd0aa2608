from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.matching import matches
from crystalgraph.errors import InputError
from crystalgraph.io.writing import write_structures
from crystalgraph.known.reference import (
    COMPUTED,
    EXPERIMENTAL,
    NOT_STATED,
    Reference,
    default_reference,
    load_reference,
    reduced_compositions,
    templates_seen,
    union_of_elements,
)
from crystalgraph.known.reference_hull import known_phases

NB_O = ChemicalSystem.parse("Nb-O")
ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure.from_spacegroup(
    221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
NIOBIUM = Structure(Lattice.cubic(3.3), ["Nb", "Nb"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ALL = [ROCK_SALT, PEROVSKITE, NIOBIUM]


def test_inside_and_union_and_reduced():
    crystals = from_structures(ALL)
    inside = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), NB_O)
    assert inside.tolist() == [True, False, True]
    assert union_of_elements(crystals) == ChemicalSystem.parse("NbOSrTi")
    reduced = reduced_compositions(crystals)
    assert reduced[:, [8, 22, 38, 41]].tolist() == [[1, 0, 0, 1], [3, 1, 1, 0], [0, 0, 0, 1]]
    assert reduced.sum(1).tolist() == [2, 5, 1]


@pytest.mark.slow
def test_the_shipped_niobium_oxides():
    known = load_reference("nbo").within(NB_O)
    assert len(known) == 64
    compounds = known.of_whole_system(NB_O)
    assert (len(compounds), compounds.origin.count(EXPERIMENTAL), compounds.origin.count(COMPUTED)) == (40, 12, 28)
    phases = {phase.name: phase for phase in known.phases()}
    expected = {phase.name: phase for phase in known_phases(NB_O)}
    assert set(phases) == set(expected)
    for name, phase in phases.items():
        assert phase.structure == expected[name].structure
        assert phase.is_experimental == expected[name].is_experimental
        assert phase.dft_e_form == expected[name].dft_e_form


@pytest.mark.parametrize("system", ["Nb-O", "Nb", "Ti-O", "Nb-Ti-O", "Cu-Au"])
def test_the_default_has_the_phases_of_the_hull(system):
    system = ChemicalSystem.parse(system)
    known = default_reference(system)
    assert sorted(known.ids) == sorted(phase.name for phase in known_phases(system))


def test_a_system_nobody_knows_has_none():
    assert len(default_reference(ChemicalSystem.parse("Og"))) == 0


def test_files_as_a_reference(tmp_path):
    write_structures(ALL, ["rs", "perovskite", "nb"], tmp_path, "cif")
    (tmp_path / "broken.cif").write_text("")
    found = load_reference(tmp_path)
    assert found.ids == ["nb", "perovskite", "rs"]
    assert set(found.origin) == {NOT_STATED}
    assert set(found.unreadable) == {"broken"}
    assert found.within(NB_O).ids == ["nb", "rs"]
    assert found.of_whole_system(NB_O).ids == ["rs"]
    assert found.of_compositions(reduced_compositions(from_structures([ROCK_SALT * (1, 1, 2)]))).ids == ["rs"]
    assert found.record()["crystals"] == 3
    assert len(found[np.zeros(3, dtype=bool)]) == 0
    before = found.sha256
    (tmp_path / "broken.cif").write_text("else")
    assert load_reference(tmp_path).sha256 != before


def test_what_is_no_reference_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a dataset"):
        load_reference("mp-2025")
    with pytest.raises(InputError, match="holds no structure file"):
        load_reference(tmp_path)
    (tmp_path / "a.cif").write_text("")
    with pytest.raises(InputError, match=r"nothing in .* can be read; a: it holds no crystal"):
        load_reference(tmp_path)


@pytest.mark.slow
def test_templates_are_compared_whatever_the_elements(tmp_path):
    magnesia = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    anti = Structure.from_spacegroup(225, Lattice.cubic(5.4), ["O", "Li"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    fluorite = Structure.from_spacegroup(225, Lattice.cubic(5.0), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    write_structures([ROCK_SALT, fluorite, NIOBIUM], ["rs", "fluorite", "nb"], tmp_path / "known", "cif")
    write_structures([magnesia * (1, 1, 2), anti, PEROVSKITE], ["a", "b", "c"], tmp_path / "learned", "cif")
    known, learned = load_reference(tmp_path / "known"), load_reference(tmp_path / "learned")
    assert dict(zip(known.ids, templates_seen(known, learned), strict=True)) == {
        "fluorite": ("225:a/c", True),
        "nb": ("229:a", False),
        "rs": ("225:a/b", True),
    }


def test_decorated_has_every_way_to_put_elements_in():
    """SrTiO3 with two elements, in order of electronegativity: (Sr)(TiO3) is NbO4 and (SrTi)(O3) is Nb2O3."""
    crystals = from_structures(ALL)
    reference = Reference(name="all", crystals=crystals, ids=["rs", "p", "nb"], origin=[NOT_STATED] * 3, sha256="")
    asked = {"NbO4": [4, 1], "Nb2O3": [3, 2], "Nb3O": [1, 3], "NbO": [1, 1], "Nb": [0, 1]}
    compositions = np.zeros((len(asked), 119), dtype=np.int64)
    compositions[:, [8, 41]] = list(asked.values())
    found = reference.decorated(compositions)
    put_in = list(zip(found.ids, [s.composition.reduced_formula for s in found.structures], strict=True))
    # As they are; then everything of one species or more as niobium; then of two or more as a niobium oxide.
    assert Counter(put_in) == Counter(
        {("rs", "NbO"): 1, ("nb", "Nb"): 1, ("rs", "Nb"): 1, ("p", "Nb"): 1, ("p", "NbO4"): 1, ("p", "Nb2O3"): 1}
    )
    perovskite = found.structures[put_in.index(("p", "Nb2O3"))]
    assert matches(perovskite, PEROVSKITE.copy().replace_species({"Sr": "Nb", "Ti": "Nb"}))
    only_oxides = reference.decorated(compositions[:1])
    assert only_oxides.ids == ["p"]
    assert len(reference.decorated(compositions[:0])) == 0
