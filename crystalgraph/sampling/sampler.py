"""Draw raw crystals from a model: templates in a random order, every one filled once before any is filled again.

A template can be filled in several ways, of which the model's score chooses one: by the generator, from noise, and,
where a formula is requested and a training crystal has the arrangement, by that crystal, the requested elements in its
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.errors import InputError
from crystalgraph.models.bundle import Model
from crystalgraph.models.layers import softmax
from crystalgraph.sampling.draws import CHILD, PROTOTYPE, Draws
from crystalgraph.sampling.filling import fill, fill_from_prototypes, given
from crystalgraph.sampling.settings import USUAL_SAMPLING, SamplingSettings
from crystalgraph.sampling.templates import WeightedTemplates, atoms_in_cell, decorate, formula_groups, formulas_of
from crystalgraph.sampling.trials import kept_scores
from crystalgraph.symmetry.children import children
from crystalgraph.symmetry.enumerate import enumerate_templates, possible_sizes, random_templates
from crystalgraph.symmetry.template import Templates

if TYPE_CHECKING:
    from pymatgen.core import Structure


def resolve_surrogate_steps(
    model: Model, requested: int | None = None, *, fast: bool = False, settings: SamplingSettings = USUAL_SAMPLING
) -> int:
    """Steps of surrogate relaxation: as requested, or as many as usual, none where the model has learned no energies.

    Args:
        model: whose energies lead.
        requested: steps requested, if any.
        fast: whether all is to be fast.
        settings: say how many are usual.

    Raises:
        InputError: if steps are requested and the model has learned no energies.
    """
    if requested and not model.knows_energies:
        raise InputError(
            f"model {model.name!r} has learned no energies, so it cannot relax crystals; ask for 0 surrogate relaxation"
            " steps, or train with energies.systems above 0"
        )
    if requested is not None:
        return requested
    return settings.surrogate_steps if model.knows_energies and not fast else 0


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
        n_draws: ways to fill a template, of which the score chooses one; by default as the settings say, or one where
            all is to be fast.
        fast: one pass through the generator, which is faster and less often right.
        guided: whether anything but the prior weighs templates: for a formula how familiar they are, for a system how
            likely something new is to come of them, and among those of one formula the score of crystals that they are
            filled with on trial.
        use_prototypes: whether known crystals have a say in what comes first for a formula: ``draw`` may fill templates
            by them, see ``fill``, and draws come with a template score. Otherwise only ``prototypes`` gives them.
        surrogate_steps: of the surrogate relaxation of every crystal, see ``fill``; by default as
            ``resolve_surrogate_steps`` says.
        settings: how much work goes into it, and what weighs how much.
        trials: folder that keeps what templates scored on trial, see `crystalgraph.sampling.trials`; None keeps none.

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
        use_prototypes: bool = True,
        surrogate_steps: int | None = None,
        settings: SamplingSettings = USUAL_SAMPLING,
        trials: Path | None = None,
    ) -> None:
        self.model, self.rng, self._temperature, self._guided = model, rng, temperature, guided
        self._settings, self._trials = settings, trials
        self._n_draws = n_draws or (1 if fast else settings.n_draws)
        self._n_passes = 1 if fast else model.generator.n_passes
        # Who names a formula asks for its structure, who names a system asks for what is not known.
        self._familiar, self._seek_new = formula is not None and not fast, formula is None
        self._use_prototypes = use_prototypes and self._familiar
        self._min_atoms, self._max_atoms = min_atoms, max_atoms
        self._surrogate_steps = resolve_surrogate_steps(model, surrogate_steps, fast=fast, settings=settings)
        self.choices = self._choose(elements, formula, space_group_number, explore)
        self._waiting = torch.zeros(0, dtype=torch.long)
        self._first_weights = self.choices.weights

    @cached_property
    def formulas(self) -> list[str]:
        """Reduced formula of each template that may be drawn."""
        return formulas_of(self.choices.templates)

    def _choose(
        self,
        elements: list[int],
        formula: dict[int, int] | None,
        space_group_number: int | None,
        explore: float,
    ) -> WeightedTemplates:
        settings = self._settings
        fitting = decorate(self.model.pool, elements if formula is None else sorted(formula))
        fitting = fitting[(fitting.num_atoms >= self._min_atoms) & (fitting.num_atoms <= self._max_atoms)]
        if formula is not None:
            counts = atoms_in_cell(fitting)[:, sorted(formula)]
            unit = torch.tensor([formula[z] for z in sorted(formula)])
            fitting = fitting[(counts * unit.sum() == counts.sum(1, keepdim=True) * unit).all(1)]
        own = fitting
        if space_group_number is not None:
            own = fitting[fitting.space_group_number == space_group_number]

        more = own[:0]
        if formula is not None:
            explore = max(explore, settings.few_share) if len(own) < settings.few_templates else explore
            if explore:
                groups = self._groups() if space_group_number is None else [space_group_number]
                more = self._enumerate(formula, groups)
        elif explore and len(fitting):
            more = random_templates(
                fitting,
                settings.n_explored,
                self.rng,
                max_sites=settings.max_sites,
                space_group_number=space_group_number,
            )
        if len(more):
            known = set(own.names())
            more = more[[k for k, name in enumerate(more.names()) if name not in known]]
        if len(own) == len(more) == 0:
            raise InputError(self._nothing_fits(formula, space_group_number))
        share = 0.0 if len(more) == 0 else 1.0 if len(own) == 0 else explore
        weights = torch.cat([(1 - share) * self._likelihood(own), share * self._likelihood(more)])
        return WeightedTemplates(templates=Templates.concatenate([own, more]), weights=weights)

    def _likelihood(self, templates: Templates) -> Tensor:
        """How likely each template is beside the others, (n,), sum 1.

        The score has a say among templates of one formula, not between formulas. Of many templates the likeliest are
        tried on, and the others left out.
        """
        if self._guided and self._familiar:
            weights = self._familiarity(templates)
        else:
            weights = self.model.prior.log_weights(templates)
        if self._guided and self._seek_new:
            weights = weights + self.model.library.good_turing_novelty(templates)
        weights = weights / self._temperature
        if not self._guided or len(templates) == 0:
            return torch.softmax(weights, 0)
        tried = weights.topk(min(self._settings.n_tried, len(templates))).indices.sort().values
        chance, formula = torch.softmax(weights[tried], 0), formula_groups(templates[tried])
        share = torch.zeros_like(chance).index_add(0, formula, chance)[formula]
        scores = self._settings.trial_weight * self._try(templates[tried])
        within = softmax(weights[tried] + scores / self._temperature, formula, len(tried))
        return torch.zeros_like(weights).index_put((tried,), share * within)

    def _familiarity(self, templates: Templates) -> Tensor:
        """How likely known crystals make each template for its elements, (n,), logarithms up to a constant."""
        prior, library, settings = self.model.prior.log_weights(templates), self.model.library, self._settings
        if self._seek_new:
            return prior + settings.system_weight * library.substitution_likelihood(templates, settings.system_reach)
        return settings.prior_weight * prior + library.substitution_likelihood(templates)

    def _try(self, templates: Templates) -> Tensor:
        """Score of a crystal of each template, (n,); the worst of all where it is not strictly valid."""
        options: dict[str, Any] = {
            "n_passes": self._n_passes,
            "surrogate_steps": min(self._surrogate_steps, self._settings.trial_steps),
            "use_prototypes": self._familiar,
        }
        scores = kept_scores(
            self._trials,
            lambda rng: fill(self.model, templates, rng, **options).score,
            model=self.model,
            templates=templates,
            options=options,
        )
        known = scores[~scores.isnan()]
        return scores.nan_to_num(float(known.min()) if len(known) else 0.0)

    def _groups(self) -> list[int]:
        """Space groups picked as often as the templates of the pool have them, each once."""
        number = self.model.pool.space_group_number
        picked = torch.randint(len(number), (self._settings.n_groups,), generator=self.rng)
        return list(dict.fromkeys(number[picked].tolist()))

    def _enumerate(self, formula: dict[int, int], groups: list[int]) -> Templates:
        """All templates of a formula in some groups; of very many some at random."""
        unit, max_sites, limit = sum(formula.values()), self._settings.max_sites, self._settings.max_enumerated
        found = [self.model.pool[:0]]
        for group in groups:
            for size in possible_sizes(group, formula, self._max_atoms, max_sites):
                if size < self._min_atoms:
                    continue
                counts = {z: n * size // unit for z, n in formula.items()}
                own = max(1, limit // len(groups))
                more = enumerate_templates(group, counts, max_sites=max_sites, limit=own, rng=self.rng)
                found += [] if more is None else [more]
        return Templates.concatenate(found)

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
        sizes = possible_sizes(space_group_number, formula, 4 * most, self._settings.max_sites)
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

    def draw(self, n: int) -> Draws:
        """The next n raw crystals; nothing is dropped."""
        draws = fill(
            self.model,
            self.choices.templates[self._next(n)],
            self.rng,
            n_draws=self._n_draws,
            n_passes=self._n_passes,
            surrogate_steps=self._surrogate_steps,
            use_prototypes=self._use_prototypes,
        )
        return self._with_template_scores(draws)

    def prototypes(self, n: int) -> Draws:
        """Known crystals with the requested elements in their place, those of likely templates first.

        How likely a template is for them the prior and the substitution likelihood say; see `fill_from_prototypes`.

        Args:
            n: most known crystals, see `given`.
        """
        templates = self.choices.templates
        order = torch.argsort(self._familiarity(templates), descending=True, stable=True)
        return self._with_template_scores(fill_from_prototypes(self.model, templates[order], n, self._surrogate_steps))

    def children(self, structures: Sequence[Structure]) -> Draws:
        """Crystals derived from others, see `crystalgraph.symmetry.children` and `crystalgraph.sampling.filling.given`.

        Args:
            structures: the others, of the requested elements.
        """
        derived = children(from_structures(structures))
        derived = derived[(derived.templates.num_atoms <= self._max_atoms).nonzero().flatten()]
        return self._with_template_scores(given(self.model, derived, CHILD, self._surrogate_steps))

    def _with_template_scores(self, draws: Draws) -> Draws:
        """The same; where a formula is requested and no energies follow, what is known has a say beside the score."""
        if not (self._guided and self._use_prototypes):
            return draws
        likely = self._settings.familiarity_weight * self._familiarity(draws.templates)
        known = torch.tensor([source == PROTOTYPE for source in draws.sources], dtype=torch.float64)
        return replace(draws, template_score=likely + self._settings.known_bonus * known)

    def reweigh(self, factors: Mapping[str, float]) -> None:
        """Draw templates of some formulas more or less often from now on.

        Args:
            factors: by reduced formula, above 0, of the weights that the templates had at the start; the others keep
                theirs.
        """
        factor = torch.tensor([factors.get(name, 1.0) for name in self.formulas], dtype=torch.float64)
        weights = self._first_weights * factor
        self.choices = replace(self.choices, weights=weights / weights.sum())
        self._waiting = self._waiting[:0]
