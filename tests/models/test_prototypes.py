"""What protostructures were seen with: names and distances checked against pymatgen, sums against plain loops."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from pymatgen.core import Element, Lattice, Structure

from crystalgraph.chemistry.membership import is_within
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.reference_index import ReferenceIndex
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from crystalgraph.models.prototypes import ALIKE, NEAR, UNSEEN, PrototypeLibrary, protostructures
from crystalgraph.sampling.templates import atoms_in_cell, decorate
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, ranked_elements
from crystalgraph.symmetry.substitute import element_volume_rule, keep_volume
from crystalgraph.symmetry.template import Templates
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import is_held_out, systems_left_out

pytestmark = pytest.mark.slow


def library_of(templates: Templates) -> PrototypeLibrary:
    """Of crystals whose parameters do not matter."""
    n = len(templates)
    return PrototypeLibrary(
        ParametrisedTemplates(
            templates=templates,
            log_volume=torch.zeros(n),
            shape=torch.zeros(n, 5),
            u=torch.zeros(len(templates.position), 3),
        )
    )


@pytest.fixture(scope="module")
def seen() -> Templates:
    return extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 60)]).templates


def test_protostructures_keep_letters_and_the_order_of_electronegativity(seen: Templates) -> None:
    names, elements = protostructures(seen), ranked_elements(seen).tolist()
    assert len(set(names)) < len(seen)
    for template, name, own in zip(seen.names(), names, elements, strict=True):
        own = [Element.from_Z(z) for z in own if z]
        assert own == sorted(own, key=lambda element: element.X)
        roles = {str(element): str(Element.from_Z(rank + 1)) for rank, element in enumerate(own)}
        group, sites = template.split(":")
        put = sorted(f"{letter}.{roles[element]}" for letter, element in (s.split(".") for s in sites.split()))
        # equivalent choices of letters may be named by another one
        assert name.startswith(group + ":")
        assert len(name.split(":")[1].split()) == len(put)
        assert sorted(s.split(".")[1] for s in name.split(":")[1].split()) == sorted(s.split(".")[1] for s in put)


def test_substitution_likelihood_is_the_sum_over_crystals_of_the_protostructure(seen: Templates) -> None:
    library = library_of(seen)
    members: dict[str, set[tuple[int, ...]]] = {}
    elements = [tuple(z for z in row if z) for row in ranked_elements(seen).tolist()]
    for name, row in zip(protostructures(seen), elements, strict=True):
        members.setdefault(name, set()).add(row)
    found = library.substitution_likelihood(seen)
    scale = [0] + [Element.from_Z(z).mendeleev_no or 0 for z in range(1, 119)]
    checked = 0
    for k in range(0, len(seen), 7):
        one, total = seen[k], 0.0
        atoms = [int(one.multiplicity[one.atomic_numbers == z].sum()) for z in elements[k]]
        for other in members[protostructures(one)[0]]:
            apart = [n * abs(scale[a] - scale[b]) for n, a, b in zip(atoms, other, elements[k], strict=True)]
            total += 1 / (sum(apart) / sum(atoms) + NEAR) ** 3
            checked += other != elements[k]
        assert float(found[k]) == pytest.approx(math.log(total))
    assert checked > 20


def test_good_turing_novelty_is_the_share_of_crystals_alone_in_their_protostructure(seen: Templates) -> None:
    elements = [tuple(row) for row in ranked_elements(seen).tolist()]
    crystals = set(zip(protostructures(seen), seen.num_free.tolist(), elements, strict=True))  # equal ones count once
    members = Counter(name for name, _, _ in crystals)
    found = library_of(seen).good_turing_novelty(seen).exp().tolist()
    for asked in (0, 1, 4, 12):
        alike = [math.exp(-((math.log((1 + asked) / (1 + n)) / ALIKE) ** 2) / 2) for _, n, _ in crystals]
        alone = sum(a for a, (name, _, _) in zip(alike, crystals, strict=True) if members[name] == 1)
        expected = (alone + 0.5) / (sum(alike) + 1)
        assert found[seen.num_free.tolist().index(asked)] == pytest.approx(expected)
    assert (library_of(seen[:0]).good_turing_novelty(seen) == 0).all()
    assert len(library_of(seen).good_turing_novelty(seen[:0])) == 0


def test_far_elements_add_more_with_a_reach(seen: Templates) -> None:
    """Of one crystal the sum has one term, whose logarithm is minus its distance over the reach."""
    library = library_of(seen[:1])
    alike = [k for k, name in enumerate(protostructures(seen)) if name == protostructures(seen[:1])[0]]
    short, wide = (library.substitution_likelihood(seen[torch.tensor(alike)], reach) for reach in (5.0, 10.0))
    apart = short > math.log(UNSEEN)
    assert torch.allclose(short[apart], 2 * wide[apart])
    assert float(short[0]) == float(wide[0]) == 0.0


@pytest.mark.slow
def test_good_turing_novelty_foretells_what_other_crystals_bring() -> None:
    found = extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 5)]).templates
    first, rest = found[torch.arange(0, len(found), 2)], found[torch.arange(1, len(found), 2)]
    library, known = library_of(first), set(protostructures(first))
    foretold = library.good_turing_novelty(rest).exp()
    unseen = torch.tensor([name not in known for name in protostructures(rest)]).double()
    for few, many in ((0, 1), (1, 3), (3, 6), (6, 12), (12, 60)):
        own = (rest.num_free >= few) & (rest.num_free < many)
        assert own.sum() > 200
        assert float(foretold[own].mean()) == pytest.approx(float(unseen[own].mean()), abs=0.1)


def test_what_was_never_seen_is_unlikely(seen: Templates) -> None:
    names = set(protostructures(seen[:100]))
    found = library_of(seen[:100]).substitution_likelihood(seen)
    for name, value in zip(protostructures(seen), found.tolist(), strict=True):
        assert name in names or value == pytest.approx(math.log(UNSEEN))
    assert len(library_of(seen).substitution_likelihood(seen[:0])) == 0
    assert (library_of(seen[:0]).substitution_likelihood(seen) == math.log(UNSEEN)).all()


def test_copies_are_kept_once(seen: Templates) -> None:
    twice = library_of(Templates.concatenate([seen, seen]))
    once = library_of(seen)
    assert twice.parametrised.templates.names() == once.parametrised.templates.names()
    assert torch.equal(twice.substitution_likelihood(seen), once.substitution_likelihood(seen))


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    return load_dataset("corpus").crystals[torch.arange(0, 37_855, 60)]


@pytest.mark.slow
def test_drawn_is_the_crystal_itself_where_nothing_is_nearer(crystals: Crystals) -> None:
    found = extract(crystals)
    library = PrototypeLibrary(found.parametrised)
    asked = library.parametrised.templates
    drawn = library.draw(asked, keep_volume, torch.Generator().manual_seed(0))
    assert drawn.known.all()
    assert drawn.parametrised.templates.names() == asked.names()
    made = drawn.parametrised.crystals()
    # alone of its protostructure, a crystal can only be drawn for itself
    names = protostructures(asked)
    alone = [k for k, name in enumerate(names) if names.count(name) == 1]
    assert len(alone) > 50
    index = ReferenceIndex(to_structures(crystals))
    sources = to_structures(made[alone])
    assert all(index.find(structure) >= 0 for structure in sources)


def test_drawn_has_the_asked_elements_and_volume(crystals: Crystals) -> None:
    found = extract(crystals)
    library = PrototypeLibrary(found.parametrised)
    n_species = number_of_species(library.parametrised.templates)
    pool = library.parametrised.templates[(n_species == 2).nonzero().flatten()]
    asked = decorate(pool, [41, 8])
    volume = torch.ones(119)
    volume[41] = 20
    rule = element_volume_rule(volume)
    drawn = library.draw(asked, rule, torch.Generator().manual_seed(0))
    assert drawn.known.all()
    assert drawn.parametrised.templates.names() == asked.names()
    plain = library.draw(asked, keep_volume, torch.Generator().manual_seed(0))
    grown = (drawn.parametrised.log_volume - plain.parametrised.log_volume).exp()
    niobium = atoms_in_cell(asked)[:, [41]][:, 0] / asked.num_atoms
    assert (grown >= 1).all()
    assert grown.max() <= (1 + 19 * niobium).max() + 1e-9
    nothing = library.draw(asked[:0], rule, torch.Generator())
    assert len(nothing.known) == 0


@pytest.mark.slow
def test_near_elements_are_drawn_far_more_often() -> None:
    cell, sites = Lattice.cubic(4.2), [[0, 0, 0], [0.5, 0.5, 0.5]]
    near, far, other = (
        Structure.from_spacegroup(225, cell, pair, sites) for pair in (["Ca", "O"], ["Cs", "I"], ["Mg", "O"])
    )
    rock_salt, asked = extract(from_structures([near, far])).parametrised, extract(from_structures([other])).templates
    library = PrototypeLibrary(replace(rock_salt, log_volume=torch.tensor([1.0, 2.0]).double()))
    found = [
        library.draw(asked, keep_volume, torch.Generator().manual_seed(k)).parametrised.log_volume for k in range(50)
    ]
    assert sum(float(volume) < 1.5 for volume in found) > 45


@pytest.mark.slow
def test_the_nearest_crystals_come_first_and_several_of_one_template() -> None:
    """Olivine's template is that of other crystals, too; rock salt has nothing free, and so one crystal."""
    cell, sites = Lattice.cubic(4.2), [[0, 0, 0], [0.5, 0.5, 0.5]]
    salts = [Structure.from_spacegroup(225, cell, pair, sites) for pair in (["Cs", "I"], ["Ca", "O"], ["Na", "Cl"])]
    tall = [
        Structure.from_spacegroup(136, Lattice.tetragonal(4.6, c), pair, [[0, 0, 0], [0.3, 0.3, 0]])
        for c, pair in ((3.0, ["Pb", "O"]), (2.9, ["Ti", "O"]), (3.3, ["V", "F"]), (3.1, ["Zr", "O"]))
    ]
    library = PrototypeLibrary(extract(from_structures([*salts, *tall])).parametrised)
    magnesia = Structure.from_spacegroup(225, cell, ["Mg", "O"], sites)
    titania = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 3.0), ["Ti", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
    asked = extract(from_structures([titania, magnesia])).templates
    found = library.nearest(asked, keep_volume, 3)
    rutile, salt = asked.names()
    assert found.templates.names() == [rutile, salt, rutile, rutile]
    lengths = found[torch.tensor([0, 2, 3])].crystals().lattice[:, 2, 2].tolist()
    assert lengths == pytest.approx([2.9, 3.1, 3.3]), "titanium itself, zirconium, then vanadium with fluorine"
    assert library.nearest(asked, keep_volume, 1).templates.names() == [rutile, salt]
    assert len(library.nearest(asked[:0], keep_volume, 3)) == 0
    assert len(library.nearest(extract(from_structures(salts[:1])).templates[[0]], keep_volume, 3)) == 1


@pytest.mark.slow
def test_the_shipped_library_holds_nothing_of_the_systems_left_out() -> None:
    model = load_model("nbo")
    templates, data = model.library.parametrised.templates, Config.model_validate(model.record["config"]).data
    assert len(templates) > 20_000
    for system in systems_left_out(data):
        assert not is_within(templates.atomic_numbers, templates.batch, len(templates), system).any()
    held = [is_held_out(name, data.holdout, data.seed) for name in templates.prototypes()]
    assert not any(held)
