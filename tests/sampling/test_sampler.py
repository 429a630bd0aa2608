"""Draws: the request holds by construction, every template comes once before any comes twice, seeds repeat."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from crystalgraph.crystals.validity import strict_validity
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import UNSEEN, PrototypeLibrary
from crystalgraph.sampling.draws import GENERATOR, PROTOTYPE
from crystalgraph.sampling.filling import EACH, fill
from crystalgraph.sampling.sampler import Sampler, resolve_surrogate_steps
from crystalgraph.sampling.settings import USUAL_SAMPLING, SamplingSettings
from crystalgraph.sampling.templates import atoms_in_cell, decorate, formulas_of
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.substitute import element_volume_rule
from crystalgraph.symmetry.wyckoff import wyckoff_table

NIOBIUM, OXYGEN = 41, 8


@pytest.fixture(scope="module")
def model() -> Model:
    """An untrained model: what is promised here does not depend on weights."""
    torch.manual_seed(0)
    dataset = load_dataset("corpus")
    pool = extract(dataset.crystals[torch.arange(0, 37_855, 60)]).templates
    return Model(
        name="untrained",
        generator=Generator(width=16, n_stages=1, n_passes=2).eval(),
        discriminator=Discriminator(width=8).eval(),
        prior=TemplatePrior(width=8).eval(),
        pool=pool,
        library=PrototypeLibrary(extract(load_dataset("corpus").crystals[:0]).parametrised),
        record={},
        checksum="",
    )


def sampler(model: Model, seed: int = 0, **asked: object) -> Sampler:
    return Sampler(model, [NIOBIUM, OXYGEN], torch.Generator().manual_seed(seed), **asked)


@pytest.mark.slow
def test_every_template_is_drawn_once_before_any_is_drawn_twice(model: Model) -> None:
    source = sampler(model)
    n = len(source.choices)
    seen = Counter(key for size in (7, n - 7) for key in source.draw(size).template_names)
    assert len(seen) == n
    assert set(seen.values()) == {1}
    assert set(Counter(source.draw(n).template_names).values()) == {1}


@pytest.mark.slow
def test_same_seed_same_crystals_whatever_the_steps(model: Model) -> None:
    first, again, other = sampler(model), sampler(model), sampler(model, seed=1)
    one, two = first.draw(20), again.draw(20)
    assert torch.equal(one.crystals.frac_coords, two.crystals.frac_coords)
    assert torch.equal(one.crystals.lattice, two.crystals.lattice)
    assert one.template_names == two.template_names
    assert other.draw(20).template_names != one.template_names


@pytest.mark.slow
def test_the_best_valid_draw_is_kept(model: Model) -> None:
    templates = sampler(model).choices.templates
    groups = templates.space_group_number
    rng = torch.Generator().manual_seed(5)
    draws = [fill(model, templates, rng, n_draws=1).crystals for _ in range(3)]
    best = fill(model, templates, torch.Generator().manual_seed(5), n_draws=3).crystals
    scores, valid = (
        torch.stack([judged(d) for d in draws])
        for judged in (lambda d: model.score(d, groups), lambda d: strict_validity(d).valid)
    )
    scores = scores.masked_fill(~valid | scores.isnan(), -torch.inf)
    assert set(scores.argmax(0).tolist()) == {0, 1, 2}
    for k in range(len(templates)):
        equal = [
            torch.equal(best[k].lattice, d[k].lattice) & torch.equal(best[k].frac_coords, d[k].frac_coords)
            for d in draws
        ]
        assert any(equal)
        assert scores[equal.index(True), k] >= scores[:, k].max() - 1e-4  # rounding decides between equal draws


@pytest.mark.slow
def test_relaxed_is_what_the_surrogate_makes_of_it(model: Model) -> None:
    """Each chunk's crystals, whatever their order, are those of the same noise, relaxed."""
    templates = sampler(model).choices.templates[:10]
    plain, relaxed = (
        fill(model, templates, torch.Generator().manual_seed(1), surrogate_steps=n).crystals for n in (0, 3)
    )
    assert torch.equal(plain.atomic_numbers, relaxed.atomic_numbers)
    lower = model.score(relaxed, templates.space_group_number) - model.score(plain, templates.space_group_number)
    moved = (plain.lattice != relaxed.lattice).flatten(1).any(1)
    assert moved.any()
    assert (lower[moved] > 0).all()
    assert (lower[~moved] == 0).all()


def test_surrogate_relaxation_needs_energies(model: Model) -> None:
    assert resolve_surrogate_steps(model) == resolve_surrogate_steps(model, 0) == 0
    with pytest.raises(InputError, match="learned no energies"):
        sampler(model, surrogate_steps=5)
    knowing = replace(model, record={"calculator": {}})
    assert resolve_surrogate_steps(knowing) == USUAL_SAMPLING.surrogate_steps
    assert (resolve_surrogate_steps(knowing, fast=True), resolve_surrogate_steps(knowing, 7, fast=True)) == (0, 7)


@pytest.mark.slow
def test_forms_of_a_draw(model: Model) -> None:
    templates = sampler(model, guided=False).draw(30).template_names
    forms = {"usual": {}, "fast": {"fast": True}, "best": {"n_draws": 3}, "fast best": {"n_draws": 3, "fast": True}}
    drawn = {name: sampler(model, guided=False, **form).draw(30) for name, form in forms.items()}
    for samples in drawn.values():
        assert samples.template_names == templates
    different = {samples.crystals.frac_coords.sum().item() for samples in drawn.values()}
    assert len(different) == len(forms)
    for form, settings in {"usual": {"n_draws": USUAL_SAMPLING.n_draws}, "fast": {"n_passes": 1}}.items():
        source = sampler(model, guided=False)
        source.rng = torch.Generator().manual_seed(0)
        chosen = source.choices.templates[source._next(30)]
        again = fill(model, chosen, source.rng, use_prototypes=False, **settings).crystals
        assert torch.equal(drawn[form].crystals.frac_coords, again.frac_coords)


@pytest.mark.slow
def test_formula_group_and_size_hold(model: Model) -> None:
    source = sampler(model, formula={NIOBIUM: 2, OXYGEN: 5}, space_group_number=15, max_atoms=14)
    samples = source.draw(60)
    counts = atoms_in_cell(source.choices.templates)[:, [NIOBIUM, OXYGEN]]
    assert (5 * counts[:, 0] == 2 * counts[:, 1]).all()
    assert (samples.space_group_number == 15).all()
    assert samples.crystals.num_atoms.max() <= 14
    assert ((samples.crystals.frac_coords >= 0) & (samples.crystals.frac_coords <= 1)).all()


@pytest.mark.slow
def test_one_size_of_cell_can_be_asked_for(model: Model) -> None:
    asked = {"formula": {NIOBIUM: 1, OXYGEN: 2}, "min_atoms": 12, "max_atoms": 12}
    assert set(sampler(model, **asked).draw(30).crystals.num_atoms.tolist()) == {12}
    with pytest.raises(InputError, match="no template for NbO2 with 13 to 14 atoms"):
        sampler(model, **asked | {"min_atoms": 13, "max_atoms": 14})


def test_what_cannot_be_is_refused_and_what_can_be_is_named(model: Model) -> None:
    with pytest.raises(InputError, match="possible sizes are 21"):
        sampler(model, formula={NIOBIUM: 2, OXYGEN: 5}, space_group_number=225, max_atoms=14)
    with pytest.raises(InputError, match="does not fit space group 230"):
        sampler(model, formula={NIOBIUM: 1, OXYGEN: 1}, space_group_number=230, max_atoms=8)


def test_lower_temperature_keeps_to_likely_templates(model: Model) -> None:
    temperatures = 0.5, 1.0, 4.0
    cold, plain, hot = (sampler(model, temperature=value, guided=False).choices.weights for value in temperatures)
    assert torch.allclose(cold, plain.square() / plain.square().sum())
    assert cold.max() > plain.max() > hot.max()
    logs = model.prior.log_weights(sampler(model, guided=False).choices.templates)
    assert torch.allclose(plain.log().diff(), logs.diff(), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_templates_that_score_high_on_trial_weigh_more(
    model: Model, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """A score that only depends on the group multiplies weights by a power of e, and no formula gains by it."""

    def score(_model: Model, _crystals: object, space_group_number: torch.Tensor) -> torch.Tensor:
        return space_group_number / 100

    monkeypatch.setattr(Model, "score", score)
    form = {"temperature": temperature, "settings": SamplingSettings(n_tried=40, trial_weight=1.5)}
    plain, guided = sampler(model, guided=False, **form).choices, sampler(model, **form).choices
    templates = guided.templates
    assert templates.names() == plain.templates.names()
    tried = guided.weights > 0
    assert tried.sum() == 40
    assert plain.weights[tried].min() >= plain.weights[~tried].max()
    valid = strict_validity(fill(model, templates, torch.Generator().manual_seed(3)).crystals).valid
    sure = tried & valid & templates.num_free.eq(0)  # each of their crystals is the same, up to the volume
    raised = (guided.weights / plain.weights).log() - 1.5 * templates.space_group_number / 100 / temperature
    ratio = atoms_in_cell(templates)[:, [NIOBIUM, OXYGEN]].double()
    ratio = ratio[:, 0] / ratio[:, 1]
    spread = [raised[sure & (ratio == of)] for of in ratio[sure].unique()]
    assert max(map(len, spread)) > 2
    assert all(gains.max() - gains.min() < 1e-6 for gains in spread)
    share = plain.weights * tried / plain.weights[tried].sum()
    for of in ratio[tried].unique():
        assert guided.weights[ratio == of].sum().item() == pytest.approx(share[ratio == of].sum().item())
    assert len(sampler(model, **form).draw(100)) == 100  # also of those that were not tried


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{}, {"space_group_number": 62}, {"formula": {NIOBIUM: 1, OXYGEN: 2}}])
def test_exploring_goes_where_no_crystal_of_the_pool_is(model: Model, asked: dict[str, object]) -> None:
    known = set(sampler(model).choices.templates.names())
    some, all_new = (sampler(model, explore=share, **asked) for share in (0.3, 1.0))
    names = some.choices.templates.names()
    assert len(set(names)) == len(names)
    is_new = torch.tensor([name not in known for name in names])
    # so few templates of the pool have the formula that more are enumerated than were asked for
    share = USUAL_SAMPLING.few_share if "formula" in asked else 0.3
    assert some.choices.weights[is_new].sum().item() == pytest.approx(share)
    drawn = all_new.draw(40)
    assert len(drawn) == 40
    assert not known & set(drawn.template_names)
    assert drawn.crystals.num_atoms.max() <= 20
    if "space_group_number" in asked:
        assert (drawn.space_group_number == 62).all()
    if "formula" in asked:
        niobium, oxygen = atoms_in_cell(all_new.choices.templates)[:, [NIOBIUM, OXYGEN]].T
        assert (oxygen == 2 * niobium).all()


def test_exploring_one_formula_in_one_group(model: Model) -> None:
    asked = {"formula": {NIOBIUM: 1, OXYGEN: 2}, "space_group_number": 14, "max_atoms": 12}
    plain, new = (set(sampler(model, **asked, explore=share).choices.templates.names()) for share in (0.0, 0.8))
    assert plain <= new


@pytest.fixture(scope="module")
def with_prototypes(model: Model) -> Model:
    """The same model, with the crystals of its pool as prototypes."""
    crystals = load_dataset("corpus").crystals[torch.arange(0, 37_855, 60)]
    found = extract(crystals)
    return replace(model, library=PrototypeLibrary(found.parametrised))


@pytest.mark.slow
def test_a_prototype_wins_where_it_scores_higher(with_prototypes: Model, model: Model) -> None:
    templates = sampler(model, guided=False).choices.templates
    seed = torch.Generator().manual_seed
    plain = fill(model, templates, seed(2))
    filled = fill(with_prototypes, templates, seed(2))
    fast = fill(with_prototypes, templates, seed(2), use_prototypes=False)
    assert set(plain.sources) == set(fast.sources) == {GENERATOR}
    from_prototype = torch.tensor([source == PROTOTYPE for source in filled.sources])
    assert torch.equal(fast.crystals.frac_coords, plain.crystals.frac_coords)
    assert 0 < from_prototype.sum() < len(templates)
    assert strict_validity(filled.crystals).valid[from_prototype].all()
    groups, chosen = templates.space_group_number, from_prototype
    generated = strict_validity(plain.crystals).valid & chosen
    assert (model.score(filled.crystals, groups) > model.score(plain.crystals, groups))[generated].all()
    assert torch.equal(filled.crystals[~chosen].frac_coords, plain.crystals[~chosen].frac_coords)
    rng = seed(2)
    fill(model, templates, rng)  # draws the same noise
    drawn = with_prototypes.library.draw(templates, element_volume_rule(model.generator.element_volume), rng)
    assert drawn.known[chosen].all()
    per_cell = wyckoff_table().centring[templates.space_group_number].det() / templates.num_atoms
    wanted, filled_volume = (
        drawn.parametrised.log_volume.exp() * per_cell,
        filled.crystals.volume / filled.crystals.num_atoms,
    )
    equal = torch.isclose(filled_volume, wanted, rtol=1e-4)
    assert equal[from_prototype].all()
    assert not equal[~from_prototype].any()


@pytest.mark.slow
def test_only_a_formula_is_answered_from_prototypes(with_prototypes: Model) -> None:
    formula = {NIOBIUM: 1, OXYGEN: 2}
    asked, fast, system = (
        torch.tensor([s == PROTOTYPE for s in sampler(with_prototypes, guided=False, **form).draw(100).sources])
        for form in ({"formula": formula}, {"formula": formula, "fast": True}, {})
    )
    assert asked.any()
    assert not asked.all()
    assert not fast.any()
    assert not system.any()


@pytest.mark.slow
def test_for_a_system_templates_weigh_more_that_promise_something_new(with_prototypes: Model, model: Model) -> None:
    free = sampler(model).choices.templates.num_free.double()
    plain, asked = (sampler(one, guided=False).choices for one in (model, with_prototypes))
    assert torch.equal(plain.weights, asked.weights)
    new = sampler(with_prototypes).choices
    assert torch.equal(new.templates.num_free.double(), free)
    assert float(new.weights @ free) > 1.3 * float(sampler(model).choices.weights @ free)
    formula = {NIOBIUM: 1, OXYGEN: 2}
    one, other = (sampler(m, formula=formula, fast=True).choices.weights for m in (model, with_prototypes))
    assert torch.equal(one, other)


@pytest.mark.slow
def test_draws_are_judged_once_and_as_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = sampler(model, guided=False).draw(40)
    valid = strict_validity(draws.crystals).valid
    scores = model.score(draws.crystals[valid], draws.space_group_number[valid]).double()
    assert 0 < valid.sum() < 40
    assert torch.equal(draws.score[valid], scores)
    assert draws.score[~valid].isnan().all()
    first = draws.first(7)
    assert (len(first), first.template_names) == (7, draws.template_names[:7])
    assert torch.equal(first.crystals.frac_coords, draws.crystals[:7].frac_coords)
    assert torch.equal(first.validity.valid, valid[:7])
    monkeypatch.setattr(Model, "score", None)
    monkeypatch.setattr("crystalgraph.sampling.draws.strict_validity", None)
    assert torch.equal(draws.score[valid], scores)
    assert torch.equal(draws.validity.valid, valid)


@pytest.mark.slow
def test_known_crystals_speak_for_templates_where_a_formula_is_requested(with_prototypes: Model) -> None:
    source = sampler(with_prototypes, formula={NIOBIUM: 1, OXYGEN: 2})
    for draws in (source.draw(20), source.prototypes(5)):
        assert draws.template_score is not None
        likely = with_prototypes.library.substitution_likelihood(draws.templates)
        likely = likely + USUAL_SAMPLING.prior_weight * with_prototypes.prior.log_weights(draws.templates)
        rest = draws.template_score - USUAL_SAMPLING.familiarity_weight * likely
        known = torch.tensor([source == PROTOTYPE for source in draws.sources], dtype=torch.float64)
        assert torch.allclose(rest, USUAL_SAMPLING.known_bonus * known)
    for other in ({"formula": None}, {"fast": True}, {"use_prototypes": False}):
        asked = {"formula": {NIOBIUM: 1, OXYGEN: 2}} | other
        assert sampler(with_prototypes, **asked).draw(5).template_score is None


@pytest.mark.slow
def test_prototypes_are_known_crystals_with_the_requested_elements(with_prototypes: Model) -> None:
    """Each template that is known, the nearest crystals of all before the second nearest of any."""
    source = sampler(with_prototypes, formula={NIOBIUM: 1, OXYGEN: 2}, guided=False, use_prototypes=False)
    drawn = source.prototypes(1000)
    assert set(drawn.sources) == {PROTOTYPE}
    names = source.choices.templates.names()
    likelihood = with_prototypes.library.substitution_likelihood(source.choices.templates)
    known = {name for name, value in zip(names, likelihood.tolist(), strict=True) if value > math.log(UNSEEN)}
    assert len(known) > 3
    assert known <= set(drawn.template_names) <= set(names)
    counted = Counter(drawn.template_names)
    assert max(counted.values()) <= EACH
    first = drawn.template_names[: len(counted)]
    assert len(set(first)) == len(first), "no template twice before each was there once"
    assert max(counted.values()) > 1
    counts = atoms_in_cell(drawn.templates)
    assert torch.equal(2 * counts[:, NIOBIUM], counts[:, OXYGEN])
    assert drawn.template_names[:3] == source.prototypes(3).template_names
    assert len(source.prototypes(3)) == 3
    assert set(source.draw(50).sources) == {GENERATOR}


@pytest.mark.slow
def test_formulas_are_drawn_as_often_as_their_weights_say(model: Model) -> None:
    source = sampler(model, guided=False)
    formulas = formulas_of(source.choices.templates)
    chosen = formulas[0]
    inside = torch.tensor([formula == chosen for formula in formulas])
    before = source.choices.weights
    source.reweigh({chosen: 3.0})
    ratio = source.choices.weights / before
    assert torch.allclose(ratio[inside] / ratio[~inside][0], torch.tensor(3.0, dtype=ratio.dtype))
    source.reweigh({})  # of the weights at the start, not of those of before
    assert torch.allclose(source.choices.weights, before)


@pytest.mark.slow
def test_a_formula_without_a_template_is_enumerated(model: Model) -> None:
    """No crystal of the pool has these proportions; the positions of other space groups hold them."""
    formula = {3: 1, 12: 1, 15: 1, 17: 1, NIOBIUM: 1, OXYGEN: 2}
    counts = atoms_in_cell(decorate(model.pool, sorted(formula)))[:, sorted(formula)]
    assert not (counts == counts[:, :1] * torch.tensor([formula[z] for z in sorted(formula)])).all(1).any()
    drawn = sampler(model, formula=formula, max_atoms=14).draw(20)
    counts = atoms_in_cell(drawn.templates)[:, sorted(formula)]
    assert torch.equal(counts, counts[:, :1] * torch.tensor([formula[z] for z in sorted(formula)]))
    assert len(drawn.space_group_number.unique()) > 1
