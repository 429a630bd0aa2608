"""Fill templates: by the generator, from noise, or by a known crystal, the requested elements in its place."""

from __future__ import annotations

import torch
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.models.bundle import Model
from crystalgraph.models.sites import Sites, State
from crystalgraph.sampling.draws import GENERATOR, PROTOTYPE, Draws
from crystalgraph.sampling.surrogate import relax_on_surrogate
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.substitute import element_volume_rule
from crystalgraph.symmetry.template import Templates

#: Crystals expanded together; larger batches gain nothing on a CPU.
BATCH = 128

#: Known crystals that fill one template: those of one protostructure can be different structures.
EACH = 4


@torch.no_grad()
def fill(
    model: Model,
    templates: Templates,
    rng: torch.Generator,
    *,
    n_draws: int = 1,
    n_passes: int | None = None,
    surrogate_steps: int = 0,
    use_prototypes: bool = True,
) -> Draws:
    """Fill each template once.

    Args:
        model: its generator fills, its prototypes are put in, its score chooses, its energies relax.
        templates: what to fill; the order is kept.
        rng: draws the noise.
        n_draws: ways for the generator to fill each template. The strictly valid one with the highest score is kept;
            where none is valid, the first.
        n_passes: through the generator; as many as it was trained for if None.
        surrogate_steps: of the surrogate relaxation of what is kept, see `crystalgraph.sampling.surrogate`; for a model
            that has learned energies.
        use_prototypes: whether a training crystal of the arrangement, where there is one, is relaxed too, and is taken
            in place of what was generated if it is strictly valid and scores higher then.
    """
    crystals = _generated(model, templates, rng, n_draws, n_passes or model.generator.n_passes, surrogate_steps)
    from_prototype = torch.zeros(len(templates), dtype=torch.bool)
    if use_prototypes:
        recalled = model.library.draw(templates, element_volume_rule(model.generator.element_volume.cpu()), rng)
        known = recalled.known.nonzero().flatten()
        if len(known):
            prototypes = refined(model, recalled.parametrised[known], surrogate_steps)
            groups = templates.space_group_number[known]
            from_prototype[known] = _scores(model, prototypes, groups) > _scores(model, crystals[known], groups)
            own = torch.arange(len(templates))
            other = own.index_put((known,), len(templates) + torch.arange(len(known)))
            crystals = Crystals.concatenate([crystals, prototypes])[torch.where(from_prototype, other, own)]
    sources = [PROTOTYPE if chosen else GENERATOR for chosen in from_prototype.tolist()]
    return Draws(crystals=crystals, templates=templates, sources=sources, model=model)


def fill_from_prototypes(model: Model, templates: Templates, n: int, surrogate_steps: int = 0) -> Draws:
    """Fill templates with known crystals that have them, the templates' elements in their place.

    Args:
        model: its library holds the crystals, its energies relax.
        templates: what to fill; those that no crystal has are left out.
        n: most known crystals: the nearest of each template in the order given, then the second ones of those that have
            more, at most `EACH` of one template.
        surrogate_steps: see `given`.
    """
    found = model.library.nearest(templates, element_volume_rule(model.generator.element_volume.cpu()), EACH)
    return given(model, found[torch.arange(min(n, len(found)))], PROTOTYPE, surrogate_steps)


@torch.no_grad()
def given(model: Model, parametrised: ParametrisedTemplates, source: str, surrogate_steps: int = 0) -> Draws:
    """Crystals whose parameters are given: all as they are, then all after some steps on the learned energy.

    That energy may lead away from where a crystal was right, so both come where there are steps.

    Args:
        model: its energies relax.
        parametrised: the crystals.
        source: where they come from, one of those of `crystalgraph.sampling.draws`.
        surrogate_steps: as for `fill`.
    """
    n = len(parametrised)
    ways = sorted({0, surrogate_steps}) if n else []
    crystals = [refined(model, parametrised, steps) for steps in ways] or [parametrised.crystals()]
    return Draws(
        crystals=Crystals.concatenate(crystals),
        templates=parametrised.templates[torch.arange(n).repeat(len(crystals))],
        sources=[source] * (n * len(crystals)),
        model=model,
    )


def _generated(
    model: Model, templates: Templates, rng: torch.Generator, n_draws: int, n_passes: int, surrogate_steps: int
) -> Crystals:
    """What the generator makes of templates, from noise."""
    generator = model.generator
    order = torch.argsort(templates.num_atoms, stable=True)
    parts = []
    for chunk in order.split(BATCH):
        sites = Sites.of(templates[chunk], dtype=torch.float32, device=generator.radii.device)
        draws = [generator.recycle(sites, generator.noise(sites, rng), n_passes)[-1] for _ in range(n_draws)]
        state = draws[0] if n_draws == 1 else _best(model, sites, draws)
        parts.append(_placed(relax_on_surrogate(model.discriminator, sites, state, surrogate_steps)))
    return Crystals.concatenate(parts)[torch.argsort(order)]


@torch.no_grad()
def refined(model: Model, parametrised: ParametrisedTemplates, surrogate_steps: int) -> Crystals:
    """Crystals of templates whose parameters are given, after some steps on the learned energy; the order is kept."""
    order = torch.argsort(parametrised.templates.num_atoms, stable=True)
    parts = []
    for chunk in order.split(BATCH):
        sites = Sites.of(parametrised.templates[chunk], dtype=torch.float32, device=model.generator.radii.device)
        state = State.of(sites, parametrised[chunk])
        parts.append(_placed(relax_on_surrogate(model.discriminator, sites, state, surrogate_steps)))
    return Crystals.concatenate(parts)[torch.argsort(order)]


def _placed(state: State) -> Crystals:
    """The crystals of a state, coordinates in [0, 1), float64, on the CPU."""
    crystals = state.crystals.to(device="cpu", dtype=torch.float64)
    return crystals.replace(frac_coords=crystals.frac_coords % 1.0)


def _scores(model: Model, crystals: Crystals, space_group_number: Tensor) -> Tensor:
    """Score of each crystal, (n,), −∞ where it is not strictly valid."""
    valid = strict_validity(crystals).valid
    scores = torch.full((len(crystals),), -torch.inf)
    scores[valid] = model.score(crystals[valid], space_group_number[valid]).nan_to_num(-torch.inf)
    return scores


def _best(model: Model, sites: Sites, draws: list[State]) -> State:
    """Of each crystal the strictly valid draw with the highest score; the first where none is valid."""
    best, highest = draws[0], torch.full((len(sites),), -torch.inf)
    for state in draws:
        crystals = state.crystals.to(device="cpu", dtype=torch.float64)
        scores = _scores(model, crystals, sites.space_group_number.cpu())
        best = state.where((scores > highest).to(sites.batch.device), sites, best)
        highest = torch.maximum(highest, scores)
    return best
