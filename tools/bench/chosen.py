"""What `cg-generate --relax` relaxes: crystals chosen by energies, round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pymatgen.core import Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.models.bundle import Model
from crystalgraph.progress import Progress
from crystalgraph.relax.hull import Hull
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.sampling.settings import USUAL_SAMPLING
from crystalgraph.screening.composition import composition_filter
from crystalgraph.screening.descent import Descent
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.outcome import RELAXATION, RELAXED
from crystalgraph.screening.request import GenerationRequest, usual_num
from crystalgraph.screening.rounds import USUAL_ROUNDS, RoundSettings, search_rounds
from crystalgraph.screening.screen import Screen
from tools.bench.arms import MAX_ATOMS


class DescentByScore(Descent):
    """A descent that leaves it to the score which of equal crystals stays."""

    def prefer_lower(self, copies: Sequence[tuple[int, Structure]]) -> list[int]:  # noqa: ARG002
        """None takes a place."""
        return []


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is left of a run with energies when a part of it is left out.

    Attributes:
        rounds: of the search.
        funnel: what differs from the usual `FunnelSettings`.
        descent: what relaxes.
    """

    rounds: RoundSettings = USUAL_ROUNDS
    funnel: Mapping[str, Any] = field(default_factory=dict)
    descent: type[Descent] = Descent


PARTS = {
    "chosen": Parts(),
    "chosen-alone": Parts(rounds=RoundSettings(parents=0, largest_factor=1.0)),
    "chosen-free": Parts(funnel={"hold_symmetry": False}),
    "chosen-prototypes": Parts(
        rounds=RoundSettings(prototypes=1000, prototypes_per_relaxation=1000, energies_per_relaxation=0, parents=0)
    ),
    "chosen-drawn": Parts(rounds=RoundSettings(prototypes=0, parents=0)),
    "chosen-by-score": Parts(
        rounds=RoundSettings(drawn=16, prototypes=0, parents=0, kept_share=0.125, energies_per_relaxation=1),
        funnel={"first_steps_per_relaxation": 1},
        descent=DescentByScore,
    ),
}
"""By the name of the arm. Where nothing is chosen by energies, all that enters is relaxed: of what is drawn the best
eighth of each formula by score, where the usual run gives the better half an energy."""


class ChosenCrystals:
    """The crystals that a run with energies relaxes, as they were drawn; known phases are among them.

    Args:
        name: of the arm, of `PARTS`.
        model: the model.
        system: of the crystals.
        seed: of everything.
        hulls: of the known phases, by each potential: the first relaxes, and the next gives the energies after the
            first steps, as in `crystalgraph.screening.funnel`.
        running: workers that hold the potentials.
        progress: told how far the search is.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        system: ChemicalSystem,
        seed: int,
        *,
        hulls: Mapping[str, Hull],
        running: Workers,
        progress: Progress | None = None,
    ) -> None:
        self._parts = PARTS[name]
        self._model, self._system, self._seed = model, system, seed
        self._hulls, self._running, self._progress = hulls, running, progress
        self._counts: dict[str, int] = {}

    def draw(self, n: int) -> list[Structure]:
        """Those that a run with ``--relax n`` relaxes; fewer when nothing more comes."""
        request = GenerationRequest(system=self._system, num=usual_num(n), max_atoms=MAX_ATOMS, seed=self._seed)
        sampler = Sampler(
            self._model,
            list(self._system.atomic_numbers),
            torch.Generator().manual_seed(self._seed),
            max_atoms=MAX_ATOMS,
            n_draws=USUAL_SAMPLING.n_draws_with_energies,
            use_prototypes=False,
        )
        screen = Screen(request, composition_filter(request, sampler.formulas))
        potential, *confirm = self._hulls
        settings = FunnelSettings(
            potential=potential, confirm=tuple(confirm), limit=n, seed=self._seed, **self._parts.funnel
        )
        descent = self._parts.descent(self._hulls, settings, self._running, progress=self._progress)
        search_rounds(sampler, screen, descent, progress=self._progress, settings=self._parts.rounds)
        statuses = [outcome.funnel_status for outcome in descent.outcomes]
        chosen = [k for k, status in enumerate(statuses) if status in (RELAXED, RELAXATION)]
        self._counts = {"samples drawn": len(screen.samples), "energies": len(statuses), "relaxed": len(chosen)}
        return [screen.structures[k] for k in chosen]

    def remarks(self) -> dict[str, int]:
        """How many samples were drawn for what was relaxed, and how many of them got an energy."""
        return self._counts
