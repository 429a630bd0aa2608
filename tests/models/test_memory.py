"""What arrangements were seen with: names and distances checked against pymatgen, sums against plain loops."""

import math

import pytest
import torch
from pymatgen.core import Element

from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.memory import LEAST, REACHES, Memory, arrangements
from crystalgraph.symmetry.decorate import ranked_elements
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.template import Templates


@pytest.fixture(scope="module")
def seen() -> Templates:
    return extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 60)]).templates


def test_arrangements_keep_letters_and_the_order_of_electronegativity(seen: Templates) -> None:
    names, elements = arrangements(seen), ranked_elements(seen).tolist()
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


@pytest.mark.parametrize("own", [True, False])
def test_familiarity_is_the_sum_over_crystals_of_the_arrangement(seen: Templates, own: bool) -> None:
    memory = Memory(seen)
    members: dict[str, set[tuple[int, ...]]] = {}
    elements = [tuple(z for z in row if z) for row in ranked_elements(seen).tolist()]
    for name, row in zip(arrangements(seen), elements, strict=True):
        members.setdefault(name, set()).add(row)
    found = memory.familiarity(memory.find(seen), ranked_elements(seen), own=own)
    assert found.shape == (len(seen), len(REACHES))
    scale = [0] + [Element.from_Z(z).mendeleev_no or 0 for z in range(1, 119)]
    checked = 0
    for k in range(0, len(seen), 7):
        one = seen[k]
        atoms = [int(one.multiplicity[one.atomic_numbers == z].sum()) for z in elements[k]]
        total = [0.0] * len(REACHES)
        for other in members[arrangements(one)[0]]:
            if other == elements[k] and not own:
                continue
            pairs = zip(atoms, other, elements[k], strict=True)
            apart = [n * abs(scale[a] - scale[b]) for n, a, b in pairs]
            distance = sum(apart) / sum(atoms)
            total = [t + math.exp(-distance / reach) for t, reach in zip(total, REACHES, strict=True)]
            checked += other != elements[k]
        assert found[k].tolist() == pytest.approx([math.log(1 + t / LEAST) for t in total], rel=1e-5, abs=1e-5)
    assert checked > 20


def test_what_was_never_seen_is_unfamiliar(seen: Templates) -> None:
    memory = Memory(seen[:100])
    names = set(arrangements(seen[:100]))
    found = memory.familiarity_of(seen)
    for name, row in zip(arrangements(seen), found.tolist(), strict=True):
        assert (row == [0.0] * len(REACHES)) == (name not in names)
    assert memory.familiarity_of(seen[:0]).shape == (0, len(REACHES))
    assert Memory(seen[:0]).familiarity_of(seen).abs().max() == 0


def test_copies_are_kept_once(seen: Templates) -> None:
    twice = Memory(Templates.concatenate([seen, seen]))
    assert twice.templates.names() == Memory(seen).templates.names()
    assert torch.equal(twice.familiarity_of(seen), Memory(seen).familiarity_of(seen))
