"""Predict the crystals of held-out formulas, and compare with substitution of the nearest prototypes.

    cg-train configs/prediction.toml --out runs/prediction
    python -m tools.bench prediction --model runs/prediction/model --cases 300 --workers 2 \
        --out tools/results/prediction.json

trains without a tenth of the formulas of the corpus, 47 minutes on 2 cores, then asks for crystals of these: formula
and size of the primitive cell are given, the crystal is the truth, every polymorph a case of its own. It counts as
predicted where one of the first 1 or 20 samples matches it (StructureMatcher with the tolerances of CDVAE and DiffCSP,
0.3, 0.5 and 10°), and RMSE is the mean over predicted cases of the displacement of the best such sample, over
(volume per atom)^(1/3).

The arms: *drawn*, samples in draw order, of templates that the discriminator has weighed and each filled in the way
that it chooses of as many as ``cg-generate`` draws; *by score*, of ``N_DRAWN`` such samples the different ones that it
scores highest; *nearest prototypes*, training crystals of as many atoms and the same stoichiometry with the elements
put in by electronegativity, those with the nearest elements by Mendeleev number first, one of each protostructure
before any comes twice. The energies that the discriminator has learned are of systems without a
held-out compound; CHGNet, which gave them, has seen crystals of any formula.

References:
    T. Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022 (tolerances).
    R. Jiao et al., Crystal Structure Prediction by Joint Equivariant Diffusion, NeurIPS 2023 (match rate, RMSE).
    D. G. Pettifor, Solid State Commun. 51, 31 (1984) (the chemical scale, whose order pymatgen's numbers are).
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalgraph.chemistry.elements import mendeleev_numbers
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.reference_index import TIME_LIMIT, ReferenceIndex, searchable
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.models.prototypes import protostructures
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.screening.rank import rank
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, ranked_elements, species_rank
from crystalgraph.symmetry.substitute import element_volume_rule, substitute
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import held_out_checksum, prepare
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import prediction as table

N_DRAWN = 100
"""Samples of a case, of which the discriminator chooses."""

N_SAMPLES = 20
"""Most samples of an arm that count."""

ARMS = ("nearest prototypes", "drawn", "by score")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an arm made of a case.

    Attributes:
        rms: of each sample, None where it does not match.
        timed_out: comparisons that ran out of time, counted as no match.
    """

    rms: list[float | None]
    timed_out: int = 0

    def best(self, n: int) -> float | None:
        """The smallest of the first n, None where none matches."""
        return min((value for value in self.rms[:n] if value is not None), default=None)


class NearestPrototypes:
    """Training crystals with other elements put in, nearest elements first.

    Args:
        training: the crystals.
        element_volume: (119,), Å³/atom.
    """

    def __init__(self, training: ParametrisedTemplates, element_volume: torch.Tensor) -> None:
        self._crystals, self._rule = training.crystals(), element_volume_rule(element_volume)
        self._elements = ranked_elements(self._crystals)
        self._protostructures = protostructures(training.templates)
        self._of: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, counts in enumerate(_stoichiometry(self._crystals)):
            self._of[counts].append(position)

    def predict(self, case: Crystals, n: int) -> Crystals:
        """At most n crystals with the elements and the size of one crystal, no arrangement twice before each came."""
        (counts,), (elements,) = _stoichiometry(case), ranked_elements(case)
        members = torch.tensor(self._of.get(counts, []), dtype=torch.long)
        scale = mendeleev_numbers()
        apart = (scale[self._elements[members][:, : len(counts)]] - scale[elements]).abs()
        distance = (apart * torch.tensor(counts)).sum(1)
        nearest = members[torch.argsort(distance, stable=True)].tolist()
        first = {self._protostructures[k]: k for k in reversed(nearest)}
        ahead = set(first.values())
        order = [k for k in nearest if k in ahead] + [k for k in nearest if k not in ahead]
        sources = self._crystals[torch.tensor(order[:n], dtype=torch.long)]
        return substitute(sources, elements[species_rank(sources)], self._rule)


def _stoichiometry(crystals: Crystals) -> list[tuple[int, ...]]:
    """Atoms of each element of each crystal, least electronegative first."""
    counts = torch.zeros(len(crystals), int(number_of_species(crystals).max()), dtype=torch.long)
    one = torch.ones_like(crystals.atomic_numbers)
    counts.index_put_((crystals.batch, species_rank(crystals)), one, accumulate=True)
    return [tuple(n for n in row if n) for row in counts.tolist()]


def our_samples(model: Model, case: Crystals, rng: torch.Generator) -> dict[str, Crystals]:
    """The samples of our two arms; none where no template fits."""
    elements, counts = (part.tolist() for part in case.atomic_numbers.unique(return_counts=True))
    unit, size = gcd(*counts), int(case.num_atoms)
    formula = {z: n // unit for z, n in zip(elements, counts, strict=True)}
    try:
        sampler = Sampler(model, elements, rng, formula=formula, min_atoms=size, max_atoms=size)
    except InputError:
        return {"drawn": case[:0], "by score": case[:0]}
    drawn = sampler.draw(N_DRAWN)
    valid = strict_validity(drawn.crystals).valid
    scores = torch.full((N_DRAWN,), torch.nan)
    scores[valid] = model.score(drawn.crystals[valid], drawn.space_group_number[valid])
    best = torch.tensor(first_distinct(drawn.crystals, rank(scores.tolist())), dtype=torch.long)
    return {"drawn": drawn.crystals[:N_SAMPLES], "by score": drawn.crystals[best]}


def first_distinct(crystals: Crystals, order: Sequence[int]) -> list[int]:
    """The first ``N_SAMPLES`` of an order of which none equals an earlier one; fewer where there are not so many."""
    index, chosen = ReferenceIndex(), list[int]()
    for k in order:
        if len(chosen) == N_SAMPLES:
            break
        if index.find_or_add(to_structures(crystals[[k]])[0]) == len(chosen):
            chosen.append(k)
    return chosen


def rms_distance(truth: Structure, sample: Structure) -> float | None:
    """Root mean square displacement over (volume per atom)^(1/3), None where the two do not match.

    Raises:
        TimeUp: after ``TIME_LIMIT`` CPU seconds.
    """
    if not searchable(sample.lattice.matrix):
        return None
    try:
        with cpu_limit(TIME_LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist(truth, sample)
    except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError):
        return None
    return None if found is None else float(found[0])


def compare(truth: Structure, samples: Crystals) -> Outcome:
    """Match samples; those with atoms nearer than 0.5 Å match nothing."""
    if len(samples) == 0:
        return Outcome(rms=[])
    possible = strict_validity(samples).cdvae_valid.tolist()
    rms: list[float | None] = []
    timed_out = 0
    for fine, sample in zip(possible, to_structures(samples), strict=True):
        try:
            rms.append(rms_distance(truth, sample) if fine else None)
        except TimeUp:
            rms.append(None)
            timed_out += 1
    return Outcome(rms=rms, timed_out=timed_out)


def predict(path: str, case: Crystals, nearest: Crystals, seed: int, number: int) -> dict[str, Outcome]:
    """All arms on one case, in a process of its own."""
    torch.set_num_threads(1)
    model = load_model(path)
    (truth,) = to_structures(case)
    samples = {"nearest prototypes": nearest, **our_samples(model, case, step_rng(seed, 40, number))}
    return {arm: compare(truth, samples[arm]) for arm in ARMS}


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Match rates and RMSE of an arm on some cases."""
    found: dict[str, Any] = {
        "cases": len(outcomes),
        "without_samples": sum(not outcome.rms for outcome in outcomes),
        "timed_out": sum(outcome.timed_out for outcome in outcomes),
    }
    for n in (1, N_SAMPLES):
        best = [value for outcome in outcomes if (value := outcome.best(n)) is not None]
        found[f"match_{n}"] = Rate(numerator=len(best), denominator=len(outcomes)).record()
        found[f"rmse_{n}"] = float(np.mean(best)) if best else None
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("prediction", __doc__)
    parser.add_argument("--model", required=True, help="folder of a model that was trained with holdout_by = formula")
    parser.add_argument("--cases", type=int, default=1000, help="held-out crystals, picked at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    config = Config.model_validate(model.record["config"])
    if config.data.holdout_by != "formula":
        raise InputError(f"{options.model} has learned from the held-out formulas; train configs/prediction.toml")
    corpus = prepare(load_dataset(config.data.dataset), config.data, workers=options.workers)
    if held_out_checksum(corpus) != model.record["held_out"]:
        raise InputError(f"{options.model} was trained on another split; train configs/prediction.toml again")
    chosen = torch.randperm(len(corpus.heldout), generator=step_rng(options.seed, 41))[: options.cases]
    cases = corpus.heldout[chosen].crystals()
    baseline = NearestPrototypes(corpus.training, corpus.element_volume)
    started = time.monotonic()
    jobs = [
        (str(options.model), cases[[k]], baseline.predict(cases[[k]], N_SAMPLES), options.seed, k)
        for k in range(len(cases))
    ]
    outcomes: list[dict[str, Outcome]] = []
    with Workers(options.workers) as workers:
        for outcome in workers.map(predict, jobs):
            outcomes.append(outcome)
            if len(outcomes) % 100 == 0:
                print(f"{len(outcomes)} of {len(cases)}, {time.monotonic() - started:.0f} s", flush=True)
    n_elements = number_of_species(cases).tolist()
    groups = {"all": outcomes} | {
        name: [outcome for outcome, n in zip(outcomes, n_elements, strict=True) if n == wanted]
        for name, wanted in (("binary", 2), ("ternary", 3))
    }
    found = {
        group: {arm: figures([outcome[arm] for outcome in some]) for arm in ARMS}
        for group, some in groups.items()
        if some
    }
    record = record_head("prediction", arguments, model) | {
        "seed": options.seed,
        "held_out": len(corpus.heldout),
        "n_drawn": N_DRAWN,
        "groups": found,
    }
    write_result(options.out, record)
    print(table(found))
