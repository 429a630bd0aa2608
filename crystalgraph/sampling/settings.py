"""How much work a sampler puts into templates and crystals, and what it weighs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How templates are chosen and filled.

    Attributes:
        n_draws: ways to fill a template, of which the model's score chooses one. Of 200 held-out templates one choice
            among 1, 4, 16 and 64 is the real crystal for 0.39, 0.50, 0.55 and 0.57; drawing takes twice as long with
            sixteen as with one.
        n_draws_with_energies: the same where a potential chooses afterwards, among more crystals for the time.
        surrogate_steps: of surrogate relaxation that a crystal takes, with a model that has learned energies.
        n_tried: templates filled on trial before anything is drawn, likeliest first.
        trial_steps: most steps of surrogate relaxation on trial.
        trial_weight: how much a unit of the score, 0.1 eV/atom, weighs among templates of one formula. Chosen on seven
            systems that were trained on (V-O, Mn-O, Ta-N, Fe-S, Li-Co-O, Ca-Si, Al-Ni): more finds no lower energies
            among fewer templates.
        prior_weight: how much the prior's logarithm weighs beside that of the substitution likelihood, where a formula
            is requested. Chosen by the likelihood of the real templates of 1,000 crystals of held-out formulas that no
            figure counts.
        system_reach: of the substitution likelihood that orders the known crystals of all formulas of a system, see
            `crystalgraph.models.prototypes.PrototypeLibrary.substitution_likelihood`.
        system_weight: how much its logarithm weighs there beside the prior's.
        familiarity_weight: how much the logarithm of how likely known crystals make a template weighs beside the score
            of a crystal, where a formula is requested and crystals are ranked without energies.
        known_bonus: what is added to that for a known crystal, in units of the score. Both chosen on 60 crystals of
            held-out formulas that no figure counts: with them 0.70 of the real crystals come first, 0.67 without this,
            0.39 by score alone.
        max_sites: most orbits of one element in an enumerated template.
        few_templates: with fewer templates of the pool for a formula (and group), what fits is enumerated beside them.
        few_share: least share of the draws that the enumerated ones get then.
        max_enumerated: most enumerated templates of each size of one formula, in all groups together.
        n_groups: picks of a space group to enumerate a formula in, where none is requested.
        n_explored: most enumerated templates where no formula with a group is requested.
    """

    n_draws: int = 16
    n_draws_with_energies: int = 4
    surrogate_steps: int = 20
    n_tried: int = 1500
    trial_steps: int = 3
    trial_weight: float = 2.0
    prior_weight: float = 0.3
    system_reach: float = 5.0
    system_weight: float = 2.0
    familiarity_weight: float = 1.5
    known_bonus: float = 2.0
    max_sites: int = 8
    few_templates: int = 40
    few_share: float = 0.5
    max_enumerated: int = 400
    n_groups: int = 60
    n_explored: int = 4000


USUAL_SAMPLING = SamplingSettings()
"""What every command uses."""
