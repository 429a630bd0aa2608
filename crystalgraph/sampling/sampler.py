"""Draw raw crystals from a model: templates in a random order, every one filled once before any is filled again.

A template can be filled in several ways, of which the discriminator chooses one: by the generator, from noise, and,
where a formula is asked for and a training crystal has the arrangement, by that crystal, the asked elements in its
place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import softmax

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.errors import InputError
from crystalgraph.models.bundle import Model
from crystalgraph.models.prototypes import DrawnPrototypes
from crystalgraph.models.sites import Sites, State
from crystalgraph.sampling.surrogate import relax_on_surrogate
from crystalgraph.sampling.templates import WeightedTemplates, decorate, element_counts, reduced_formula
from crystalgraph.symmetry.enumerate import enumerate_templates, possible_sizes, random_templates
from crystalgraph.symmetry.substitute import element_volume_rule
from crystalgraph.symmetry.template import Templates

#: Crystals expanded together; larger batches gain nothing on a CPU.
BATCH = 128

#: Ways to fill a template, of which the discriminator chooses one. Of 200 held-out templates one choice among 1, 4, 16
#: and 64 is the real crystal for 0.39, 0.50, 0.55 and 0.57; drawing takes twice as long with sixteen as with one.
N_DRAWS = 16

#: Steps that a crystal takes downhill with a model that has learned energies.
REFINE_STEPS = 20

#: Templates filled on trial before anything is drawn, likeliest first, and the steps downhill that they take then.
N_TRIED, TRIAL_STEPS = 1500, 3

#: How much a unit of the score, 0.1 eV/atom, weighs among templates of one formula. Chosen on seven systems that were
#: trained on (V-O, Mn-O, Ta-N, Fe-S, Li-Co-O, Ca-Si, Al-Ni): more finds no lower energies among fewer templates.
TRIAL_WEIGHT = 2.0

#: How much the logarithm of how familiar a template is weighs beside the prior's, where a formula is asked for. Chosen
#: on 300 crystals of held-out formulas that no figure counts: for 0.49 of them the real template is drawn first, for
#: 0.44 with half of this, for 0.21 without.
FAMILIARITY_WEIGHT = 2.0

#: Most orbits of one element in an enumerated template.
MAX_SITES = 8

#: With fewer corpus templates than this for a formula and group, all that fit are enumerated beside them, and get at
#: least this share of the draws.
FEW_TEMPLATES = 40
FEW_SHARE = 0.5

#: Most enumerated templates: of each size of one formula in one group, and of all others together.
MAX_ENUMERATED = 400
N_EXPLORED = 4000


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Raw crystals in draw order.

    Attributes:
        crystals: primitive cells, float64.
        remembered: whether each is a training crystal with the asked elements in its place, refined, (n,), bool.
        space_group_number: of the templates, (n,).
        template_key: name of each template, length n.
    """

    crystals: Crystals
    remembered: Tensor
    space_group_number: Tensor
    template_key: list[str]

    def __len__(self) -> int:
        return len(self.template_key)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Templates that were filled.

    Attributes:
        crystals: primitive cells, coordinates in [0, 1), float64, on the CPU.
        remembered: which of them set out from a training crystal, not from noise, (n,), bool.
    """

    crystals: Crystals
    remembered: Tensor


@torch.no_grad()
def fill(
    model: Model,
    templates: Templates,
    rng: torch.Generator,
    *,
    n_draws: int = 1,
    n_passes: int | None = None,
    n_refine: int = 0,
    recall: bool = True,
) -> Filled:
    """Fill each template once.

    Args:
        model: its generator fills, its prototype library recalls, its discriminator chooses and refines.
        templates: what to fill; the order is kept.
        rng: draws the noise.
        n_draws: ways for the generator to fill each template. The strictly valid one with the highest score is kept;
            where none is valid, the first.
        n_passes: through the generator; as many as it was trained for if None.
        n_refine: steps that what is kept takes downhill, see ``relax_on_surrogate``; for a model that has learned
            energies.
        recall: whether a training crystal of the arrangement, where there is one, takes the steps downhill too, and is
            kept in place of what was generated if it is strictly valid and scores higher then.
    """
    made = _generated(model, templates, rng, n_draws, n_passes or model.generator.n_passes, n_refine)
    remembered = torch.zeros(len(templates), dtype=torch.bool)
    if recall:
        rule = element_volume_rule(model.generator.element_volume.cpu())
        recalled = model.library.draw(templates, rule, rng)
        known = recalled.known.nonzero().flatten()
        if len(known):
            there = _recalled(model, recalled, known, n_refine)
            groups = templates.space_group_number[known]
            remembered[known] = _scores(model, there, groups) > _scores(model, made[known], groups)
            index = torch.arange(len(templates)).index_put((known,), len(templates) + torch.arange(len(known)))
            made = Crystals.concatenate([made, there])[torch.where(remembered, index, torch.arange(len(templates)))]
    return Filled(crystals=made, remembered=remembered)


def _generated(
    model: Model, templates: Templates, rng: torch.Generator, n_draws: int, n_passes: int, n_refine: int
) -> Crystals:
    """What the generator makes of templates, from noise."""
    generator = model.generator
    order = torch.argsort(templates.num_atoms, stable=True)
    made = []
    for chunk in order.split(BATCH):
        sites = Sites.of(templates[chunk], dtype=torch.float32, device=generator.radii.device)
        draws = [generator.recycle(sites, generator.noise(sites, rng), n_passes)[-1] for _ in range(n_draws)]
        state = draws[0] if n_draws == 1 else _best(model, sites, draws)
        made.append(_placed(relax_on_surrogate(model.discriminator, sites, state, n_refine)))
    return Crystals.concatenate(made)[torch.argsort(order)]


def _recalled(model: Model, recalled: DrawnPrototypes, known: Tensor, n_refine: int) -> Crystals:
    """The remembered crystals of those templates for which there is one."""
    own = recalled.parametrised[known]
    order = torch.argsort(own.templates.num_atoms, stable=True)
    made = []
    for chunk in order.split(BATCH):
        sites = Sites.of(own.templates[chunk], dtype=torch.float32, device=model.generator.radii.device)
        state = State.of(sites, own[chunk])
        made.append(_placed(relax_on_surrogate(model.discriminator, sites, state, n_refine)))
    return Crystals.concatenate(made)[torch.argsort(order)]


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


def steps_downhill(model: Model, asked: int | None = None, *, fast: bool = False) -> int:
    """Steps that a crystal takes downhill: as asked, or as many as usual, none where the model knows no way.

    Args:
        model: whose discriminator leads.
        asked: steps asked for, if any.
        fast: whether all is to be fast.

    Raises:
        InputError: if steps are asked for and the model has learned no energies.
    """
    if asked and not model.knows_energies:
        raise InputError(
            f"model {model.name!r} has learned no energies, so it cannot refine crystals; ask for 0 steps, or train"
            " with energies.systems above 0"
        )
    if asked is not None:
        return asked
    return REFINE_STEPS if model.knows_energies and not fast else 0


class Sampler:
    """Raw crystals of one request, draw after draw.

    Args:
        model: the model.
        elements: atomic numbers of the system; every crystal has all of them.
        rng: draws templates and noise.
        formula: atomic number -> atoms in the reduced formula, where one formula is asked for.
        space_group_number: where one group is asked for.
        min_atoms: smallest primitive cell.
        max_atoms: largest primitive cell.
        temperature: of the choice of templates: below 1 likely ones come even earlier, above 1 unlikely ones too.
        explore: share of the draws that go to templates which no crystal of the pool has, put together from the
            compositions of the pool and the positions of any space group.
        n_draws: ways to fill a template, of which the discriminator chooses one; by default ``N_DRAWS``, or one where
            all is to be fast.
        fast: one pass through the generator, which is faster and less often right.
        guided: whether anything but the prior weighs templates: for a formula how familiar they are, for a system how
            likely something new is to come of them, and among those of one formula the discriminator's score of
            crystals that they are filled with on trial.
        n_refine: steps that every crystal takes downhill, see ``fill``; by default as ``steps_downhill`` says.

    Raises:
        InputError: if nothing fits the request; the message names what would.
    """

    def __init__(
        self,
        model: Model,
        elements: list[int],
        rng: torch.Generator,
        *,
        formula: dict[int, int] | None = None,
        space_group_number: int | None = None,
        min_atoms: int = 1,
        max_atoms: int = 20,
        temperature: float = 1.0,
        explore: float = 0.0,
        n_draws: int | None = None,
        fast: bool = False,
        guided: bool = True,
        n_refine: int | None = None,
    ) -> None:
        self.model, self.rng, self._temperature, self._guided = model, rng, temperature, guided
        self._n_draws = n_draws or (1 if fast else N_DRAWS)
        self._n_passes = 1 if fast else model.generator.n_passes
        # Who names a formula asks for its structure, who names a system asks for what is not known.
        self._recall, self._seek_new = formula is not None and not fast, formula is None
        self._min_atoms, self._max_atoms = min_atoms, max_atoms
        self._n_refine = steps_downhill(model, n_refine, fast=fast)
        self.choices = self._choose(elements, formula, space_group_number, explore)
        self._waiting = torch.zeros(0, dtype=torch.long)

    def _choose(
        self,
        elements: list[int],
        formula: dict[int, int] | None,
        space_group_number: int | None,
        explore: float,
    ) -> WeightedTemplates:
        everything = decorate(self.model.pool, elements if formula is None else sorted(formula))
        everything = everything[(everything.num_atoms >= self._min_atoms) & (everything.num_atoms <= self._max_atoms)]
        if formula is not None:
            counts = element_counts(everything, sorted(formula))
            unit = torch.tensor([formula[z] for z in sorted(formula)])
            everything = everything[(counts * unit.sum() == counts.sum(1, keepdim=True) * unit).all(1)]
        found = everything
        if space_group_number is not None:
            found = everything[everything.space_group_number == space_group_number]

        more = found[:0]
        if formula is not None and space_group_number is not None:
            explore = max(explore, FEW_SHARE) if len(found) < FEW_TEMPLATES else explore
            if explore:
                more = self._enumerate(formula, space_group_number)
        elif explore and len(everything):
            more = random_templates(
                everything, N_EXPLORED, self.rng, max_sites=MAX_SITES, space_group_number=space_group_number
            )
        if len(more):
            known = set(found.names())
            more = more[[k for k, name in enumerate(more.names()) if name not in known]]
        if len(found) == len(more) == 0:
            raise InputError(self._nothing_fits(formula, space_group_number))
        share = 0.0 if len(more) == 0 else 1.0 if len(found) == 0 else explore
        weights = torch.cat([(1 - share) * self._likelihood(found), share * self._likelihood(more)])
        return WeightedTemplates(templates=Templates.concatenate([found, more]), weights=weights)

    def _likelihood(self, templates: Templates) -> Tensor:
        """How likely each template is beside the others, (n,), sum 1.

        The discriminator has a say among templates of one formula, not between formulas. Of many templates the
        likeliest are tried on, and the others left out.
        """
        weights = self.model.prior.log_weights(templates)
        if self._guided and self._recall:
            weights = weights + FAMILIARITY_WEIGHT * self.model.library.substitution_likelihood(templates)
        if self._guided and self._seek_new:
            weights = weights + self.model.library.good_turing_novelty(templates)
        weights = weights / self._temperature
        if not self._guided or len(templates) == 0:
            return torch.softmax(weights, 0)
        tried = weights.topk(min(N_TRIED, len(templates))).indices.sort().values
        chance, formula = torch.softmax(weights[tried], 0), reduced_formula(templates[tried])
        share = torch.zeros_like(chance).index_add(0, formula, chance)[formula]
        scores = TRIAL_WEIGHT * self._try(templates[tried])
        within = softmax(weights[tried] + scores / self._temperature, formula)
        return torch.zeros_like(weights).index_put((tried,), share * within)

    def _try(self, templates: Templates) -> Tensor:
        """Score of a crystal of each template, (n,); the worst of all where it is not strictly valid."""
        n_refine = min(self._n_refine, TRIAL_STEPS)
        crystals = fill(
            self.model, templates, self.rng, n_passes=self._n_passes, n_refine=n_refine, recall=self._recall
        ).crystals
        valid = strict_validity(crystals).valid
        scores = torch.full((len(templates),), torch.nan, dtype=torch.float64)
        scores[valid] = self.model.score(crystals[valid], templates.space_group_number[valid]).double()
        known = scores[~scores.isnan()]
        return scores.nan_to_num(float(known.min()) if len(known) else 0.0)

    def _enumerate(self, formula: dict[int, int], space_group_number: int) -> Templates:
        """All templates that fit; of very many some at random."""
        unit = sum(formula.values())
        found = self.model.pool[:0]
        for size in possible_sizes(space_group_number, formula, self._max_atoms, MAX_SITES):
            if size < self._min_atoms:
                continue
            counts = {z: n * size // unit for z, n in formula.items()}
            more = enumerate_templates(
                space_group_number, counts, max_sites=MAX_SITES, limit=MAX_ENUMERATED, rng=self.rng
            )
            if more is not None:
                found = Templates.concatenate([found, more])
        return found

    def _nothing_fits(self, formula: dict[int, int] | None, space_group_number: int | None) -> str:
        from ase.data import chemical_symbols

        fewest, most = self._min_atoms, self._max_atoms
        size = f"{fewest} to {most} atoms" if fewest > 1 else f"at most {most} atoms"
        if formula is None:
            group = "" if space_group_number is None else f" in space group {space_group_number}"
            return (
                f"no template of model {self.model.name!r} fits the system{group} with {size};"
                " allow more atoms, drop the space group, or name a formula"
            )
        name = "".join(f"{chemical_symbols[z]}{n if n > 1 else ''}" for z, n in formula.items())
        if space_group_number is None:
            return f"no template for {name} with {size}; allow more atoms or name a space group"
        sizes = possible_sizes(space_group_number, formula, 4 * most, MAX_SITES)
        allowed = (
            f"possible sizes are {', '.join(map(str, sizes[:6]))} atoms" if sizes else "no larger cell fits either"
        )
        return (
            f"{name} does not fit space group {space_group_number} with {size} in a primitive cell;"
            f" {allowed}; raise --max-atoms or choose another group"
        )

    def _next(self, n: int) -> Tensor:
        """Positions of the next n templates: weighted orders without replacement, one after another."""
        while len(self._waiting) < n:
            noise = torch.rand(len(self.choices), generator=self.rng, dtype=torch.float64).clamp_min(1e-300)
            order = torch.argsort(noise.log() / self.choices.weights, descending=True, stable=True)
            self._waiting = torch.cat([self._waiting, order])
        chosen, self._waiting = self._waiting[:n], self._waiting[n:]
        return chosen

    def draw(self, n: int) -> Samples:
        """The next n raw crystals; nothing is dropped."""
        templates = self.choices.templates[self._next(n)]
        filled = fill(
            self.model,
            templates,
            self.rng,
            n_draws=self._n_draws,
            n_passes=self._n_passes,
            n_refine=self._n_refine,
            recall=self._recall,
        )
        return Samples(
            crystals=filled.crystals,
            remembered=filled.remembered,
            space_group_number=templates.space_group_number,
            template_key=templates.names(),
        )
