"""Draw raw crystals from a model: templates in a random order, every one filled once before any is filled again.

A template can be filled in several ways, of which the discriminator chooses one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import softmax

from crystalgraph.crystals import Crystals
from crystalgraph.errors import InputError
from crystalgraph.evaluation.validity import strict_validity
from crystalgraph.models.bundle import Model
from crystalgraph.models.generator import Generator, Sites
from crystalgraph.sampling.templates import WeightedTemplates, decorate, element_counts, reduced_formula
from crystalgraph.symmetry.enumerate import enumerate_templates, possible_sizes, random_templates
from crystalgraph.symmetry.template import Templates

#: Crystals expanded together; larger batches gain nothing on a CPU.
BATCH = 128

#: Ways to fill a template, of which the discriminator chooses one.
N_DRAWS = 4

#: Templates filled on trial before anything is drawn, likeliest first, and how often each.
N_TRIED, N_TRIALS = 1500, 2

#: How much a unit of the score, 0.1 eV/atom, weighs among templates of one formula. Chosen on seven systems that were
#: trained on (V-O, Mn-O, Ta-N, Fe-S, Li-Co-O, Ca-Si, Al-Ni): more finds no lower energies among fewer templates.
TRIAL_WEIGHT = 2.0

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
        space_group_number: of the templates, (n,).
        template_key: name of each template, length n.
    """

    crystals: Crystals
    space_group_number: Tensor
    template_key: list[str]

    def __len__(self) -> int:
        return len(self.template_key)


@torch.no_grad()
def fill(generator: Generator, templates: Templates, rng: torch.Generator, n_passes: int | None = None) -> Crystals:
    """Fill each template once.

    Args:
        generator: the network.
        templates: what to fill; the order is kept.
        rng: draws the noise.
        n_passes: through the network; as many as it was trained for if None.

    Returns:
        Primitive cells, coordinates in [0, 1), float64, on the CPU.
    """
    order = torch.argsort(templates.num_atoms, stable=True)
    made = []
    for chunk in order.split(BATCH):
        sites = Sites.of(templates[chunk], dtype=torch.float32, device=generator.radii.device)
        states = generator.passes(sites, generator.noise(sites, rng), n_passes or generator.n_passes)
        made.append(states[-1].crystals.to(device="cpu", dtype=torch.float64))
    crystals = Crystals.concatenate(made)[torch.argsort(order)]
    return crystals.replace(frac_coords=crystals.frac_coords % 1.0)


def fill_best(
    model: Model, templates: Templates, rng: torch.Generator, n_draws: int = N_DRAWS, n_passes: int | None = None
) -> Crystals:
    """Fill each template several times and keep the strictly valid crystal that the discriminator scores highest.

    Args:
        model: generator and discriminator.
        templates: what to fill; the order is kept.
        rng: draws the noise.
        n_draws: ways to fill each template. Where none is strictly valid the first is kept.
        n_passes: as for ``fill``.

    Returns:
        As ``fill``, one crystal per template.
    """
    draws = [fill(model.generator, templates, rng, n_passes) for _ in range(n_draws)]
    scores = torch.full((n_draws, len(templates)), -torch.inf)
    for drawn, row in zip(draws, scores, strict=True):
        valid = strict_validity(drawn).valid
        row[valid] = model.score(drawn[valid], templates.space_group_number[valid]).nan_to_num(-torch.inf)
    chosen = scores.argmax(0) * len(templates) + torch.arange(len(templates))
    return Crystals.concatenate(draws)[chosen]


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
        n_draws: ways to fill a template, of which the discriminator chooses one.
        fast: one pass through the generator, which is faster and less often right.
        guided: whether, among templates of one formula, those weigh more whose crystals, filled on trial, the
            discriminator scores high.

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
        n_draws: int = 1,
        fast: bool = False,
        guided: bool = True,
    ) -> None:
        self.model, self.rng, self._temperature, self._guided = model, rng, temperature, guided
        self._n_draws, self._n_passes = n_draws, 1 if fast else model.generator.n_passes
        self._min_atoms, self._max_atoms = min_atoms, max_atoms
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
        weights = self.model.prior.log_weights(templates) / self._temperature
        if not self._guided or len(templates) == 0:
            return torch.softmax(weights, 0)
        tried = weights.topk(min(N_TRIED, len(templates))).indices.sort().values
        chance, formula = torch.softmax(weights[tried], 0), reduced_formula(templates[tried])
        share = torch.zeros_like(chance).index_add(0, formula, chance)[formula]
        scores = TRIAL_WEIGHT * self._try(templates[tried])
        within = softmax(weights[tried] + scores / self._temperature, formula)
        return torch.zeros_like(weights).index_put((tried,), share * within)

    def _try(self, templates: Templates) -> Tensor:
        """Mean score of the strictly valid among some crystals of each template, (n,); the worst where none is."""
        scores = []
        for _ in range(N_TRIALS):
            crystals = fill(self.model.generator, templates, self.rng, self._n_passes)
            valid = strict_validity(crystals).valid
            score = torch.full((len(templates),), torch.nan, dtype=torch.float64)
            score[valid] = self.model.score(crystals[valid], templates.space_group_number[valid]).double()
            scores.append(score)
        mean = torch.stack(scores).nanmean(0)
        known = mean[~mean.isnan()]
        return mean.nan_to_num(float(known.min()) if len(known) else 0.0)

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
        if self._n_draws == 1:
            crystals = fill(self.model.generator, templates, self.rng, self._n_passes)
        else:
            crystals = fill_best(self.model, templates, self.rng, self._n_draws, self._n_passes)
        return Samples(
            crystals=crystals,
            space_group_number=templates.space_group_number,
            template_key=templates.names(),
        )
