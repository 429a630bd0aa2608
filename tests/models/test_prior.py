"""The prior over templates: what may not matter does not, what is hidden is hidden."""

import pytest
import torch

from crystalgraph.io.datasets import load_dataset
from crystalgraph.models import prior as module
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.substitute import substitute
from crystalgraph.symmetry.template import Templates


@pytest.fixture(scope="module")
def templates() -> Templates:
    return extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 300)]).templates


@pytest.fixture
def prior() -> TemplatePrior:
    torch.manual_seed(0)
    made = TemplatePrior(width=16).eval()
    with torch.no_grad():
        made.score[-1].weight.mul_(100)  # so that differences show
    return made


def test_order_of_sites_and_company_do_not_matter(prior: TemplatePrior, templates: Templates) -> None:
    weights = prior.log_weights(templates)
    assert weights.std() > 0.1
    backwards = torch.arange(len(templates) - 1, -1, -1)
    assert torch.allclose(prior.log_weights(templates[backwards]), weights.flip(0), atol=1e-5)
    last = templates[len(templates) - 1]
    turned = substitute(last, last.atomic_numbers)
    turned = Templates(
        space_group_number=last.space_group_number,
        num_sites=last.num_sites,
        position=last.position.flip(0),
        atomic_numbers=turned.atomic_numbers.flip(0),
    )
    assert torch.allclose(prior.log_weights(turned), weights[-1:], atol=1e-5)


def test_chunks_change_nothing(prior: TemplatePrior, templates: Templates, monkeypatch) -> None:
    whole = prior.log_weights(templates)
    monkeypatch.setattr(module, "BATCH", 7)
    assert torch.allclose(prior.log_weights(templates), whole, atol=1e-5)
    assert len(prior.log_weights(templates[:0])) == 0


def test_elements_and_operators_matter(prior: TemplatePrior, templates: Templates) -> None:
    chosen = templates[templates.num_sites > 1]
    other_element = substitute(chosen, torch.where(chosen.atomic_numbers == 8, 16, 8))
    assert not torch.allclose(prior.log_weights(chosen), prior.log_weights(other_element), atol=1e-3)


def test_hidden_identities_are_not_seen(templates: Templates) -> None:
    torch.manual_seed(0)
    blind = TemplatePrior(width=16, hidden=0.999999)
    first = blind(templates, torch.Generator().manual_seed(0))
    with torch.no_grad():
        blind.element.weight.normal_()
        blind.space_group.weight.normal_()
    assert torch.equal(blind(templates, torch.Generator().manual_seed(0)), first)
    assert not torch.allclose(blind(templates), first)
