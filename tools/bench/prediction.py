"""Predict the crystals of held-out formulas, and compare with substitution of the nearest prototypes.

    cg-train configs/prediction.toml --out runs/prediction
    python -m tools.bench prediction --model runs/prediction/model --cases 300 --workers 2 \
        --potential sevennet-0 --relax 6 --relaxed-cases 80 --out tools/results/prediction.json

trains without a tenth of the formulas of the corpus, an hour on 2 cores, then asks for crystals of these: formula
and size of the primitive cell are given, the crystal is the truth, every polymorph a case of its own. It counts as
predicted where one of the first 1 or 20 samples matches it (StructureMatcher with the tolerances of CDVAE and DiffCSP,
0.3, 0.5 and 10°), and RMSE is the mean over predicted cases of the displacement of the best such sample, over
(volume per atom)^(1/3).

The arms: *drawn*, samples in draw order, of templates that the discriminator has weighed and each filled in the way
that it chooses of as many as ``cg-generate`` draws; *ranked*, what ``cg-generate`` gives without energies: of
``N_DRAWN`` such samples and known crystals of the training set in the templates' place the different ones that come
first by score and template; *nearest prototypes*, training crystals of as many atoms and the same stoichiometry with
the elements put in by electronegativity, those with the nearest elements by Mendeleev number first, one of each
protostructure before any comes twice; *likeliest prototypes*, those that ``cg-generate`` takes, in its order: by what
the model has learned of templates and of elements that replace each other. With --potential also what its energies
make of them: the different ones with the lowest *single points*, of ``N_PROTOTYPES`` nearest prototypes, and of ours:
what ``cg-generate`` gives an energy, the known crystals and the half of ``N_DRAWN`` samples that scores higher. With
--relax K the first K of these are relaxed, for --relaxed-cases cases, and come by the energy they end with. Finished
energies are kept, so that a run that was killed goes on. The energies that the discriminator has learned are of
systems without a held-out compound; the potentials have seen crystals of any formula.

References:
    T. Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022 (tolerances).
    R. Jiao et al., Crystal Structure Prediction by Joint Equivariant Diffusion, NeurIPS 2023 (match rate, RMSE).
    D. G. Pettifor, Solid State Commun. 51, 31 (1984) (the chemical scale, whose order pymatgen's numbers are).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, gcd, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalgraph.chemistry.elements import mendeleev_numbers
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.crystals.reference_index import TIME_LIMIT, ReferenceIndex, searchable
from crystalgraph.crystals.time_limit import TimeUp, cpu_limit
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.evaluation.rates import Rate
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.models.prototypes import protostructures
from crystalgraph.progress import relabelled
from crystalgraph.relax.potentials import check_judges, potential_identity
from crystalgraph.sampling.draws import Draws
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.screening.rank import rank
from crystalgraph.screening.rounds import USUAL_ROUNDS
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.species import number_of_species, ranked_elements, species_rank
from crystalgraph.symmetry.substitute import element_volume_rule, substitute
from crystalgraph.training.batches import step_rng
from crystalgraph.training.config import Config
from crystalgraph.training.corpus import held_out_checksum, prepare
from tools.bench.prediction_energies import by_single_point, relaxed
from tools.bench.progress_lines import ProgressLines
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import prediction as table

N_DRAWN = 100
"""Samples of a case, of which the discriminator chooses."""

N_SAMPLES = 20
"""Most samples of an arm that count."""

N_PROTOTYPES = 100
"""Nearest prototypes, and known crystals in our templates' place, of which energies choose."""

PROTOTYPES, LIKELIEST, DRAWN, RANKED = "nearest prototypes", "likeliest prototypes", "drawn", "ranked"
"""Arms that no energy of a potential has a part in."""

OURS = "ours"
"""What energies choose from, beside the nearest prototypes."""


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
    """The samples of our two arms, and those of which energies choose; none where no template fits."""
    elements, counts = (part.tolist() for part in case.atomic_numbers.unique(return_counts=True))
    unit, size = gcd(*counts), int(case.num_atoms)
    formula = {z: n // unit for z, n in zip(elements, counts, strict=True)}
    try:
        sampler = Sampler(model, elements, rng, formula=formula, min_atoms=size, max_atoms=size)
    except InputError:
        return dict.fromkeys((LIKELIEST, DRAWN, RANKED, OURS), case[:0])
    drawn = sampler.draw(N_DRAWN)
    prototypes = sampler.prototypes(N_PROTOTYPES)  # all as they are, then all refined
    known = prototypes.crystals[prototypes.validity.valid]
    everything = Crystals.concatenate([prototypes.crystals, drawn.crystals])
    best = torch.tensor(first_distinct(everything, _ranked(prototypes, drawn)), dtype=torch.long)
    scored = [k for k in rank(drawn.score.tolist()) if bool(drawn.score[k].isfinite())]
    better = torch.tensor(scored[: ceil(USUAL_ROUNDS.kept_share * len(scored))], dtype=torch.long)
    return {
        LIKELIEST: known[:N_SAMPLES],
        DRAWN: drawn.crystals[:N_SAMPLES],
        RANKED: everything[best],
        OURS: Crystals.concatenate([known, drawn.crystals[better]]),
    }


def _ranked(*parts: Draws) -> list[int]:
    """Positions of crystals of one formula by the scores of crystal and template together; only those with a score."""
    totals = [
        total
        for draws in parts
        for total in (draws.score if draws.template_score is None else draws.score + draws.template_score).tolist()
    ]
    return [k for k in rank(totals) if isfinite(totals[k])]


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


def propose(path: str, case: Crystals, nearest: Crystals, seed: int, number: int) -> dict[str, Crystals]:
    """The samples of all arms without energies, and ours of which energies choose, in a process of its own."""
    torch.set_num_threads(1)
    return {PROTOTYPES: nearest[:N_SAMPLES]} | our_samples(load_model(path), case, step_rng(seed, 40, number))


def compare_all(case: Crystals, samples: Mapping[str, Crystals]) -> dict[str, Outcome]:
    """Match the samples of all arms, in a process of its own."""
    (truth,) = to_structures(case)
    return {arm: compare(truth, crystals) for arm, crystals in samples.items()}


def add_energies(
    samples: Sequence[dict[str, Crystals]],
    pools: Mapping[str, Sequence[Crystals]],
    workers: Workers,
    options: argparse.Namespace,
) -> dict[str, list[float]]:
    """Add the arms that a potential's energies order to the samples of each case.

    Args:
        samples: of each case, by arm.
        pools: what energies choose from: of each case, by name.
        workers: that do the work.
        options: of the command line.

    Returns:
        CPU seconds that the relaxations of each case took, by name of the pool.
    """
    seconds: dict[str, list[float]] = {}
    progress = ProgressLines()
    for name, of_cases in pools.items():
        orders = by_single_point(of_cases, options.potential, options.cache, workers)
        chosen = list(workers.map(first_distinct, list(zip(of_cases, orders, strict=True))))
        for own, pool, best in zip(samples, of_cases, chosen, strict=True):
            own[f"{name}, by single points"] = pool[torch.tensor(best, dtype=torch.long)]
        print(f"{name}: single points of {sum(map(len, of_cases))} crystals", flush=True)
    for name in pools if options.relax else ():
        some = samples[: options.relaxed_cases]
        lists = [to_structures(own[f"{name}, by single points"][: options.relax]) for own in some]
        lowest, seconds[name] = relaxed(lists, options.potential, options.cache, workers, relabelled(progress, name))
        for own, structures in zip(some, lowest, strict=True):
            nothing = own[PROTOTYPES][:0]
            own[f"{name}, relaxed"] = from_structures(structures) if structures else nothing
    return seconds


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


def arms_of(outcomes: Sequence[Mapping[str, Outcome]]) -> list[str]:
    """Every arm that some of the cases have, in the order in which they were made."""
    return list(dict.fromkeys(arm for outcome in outcomes for arm in outcome))


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = command_line("prediction", __doc__)
    parser.add_argument("--model", required=True, help="folder of a model that was trained with holdout_by = formula")
    parser.add_argument("--cases", type=int, default=1000, help="held-out crystals, picked at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--potential", help="gives energies; without one none are asked for")
    parser.add_argument("--relax", type=int, default=0, help="crystals that it relaxes for a case, from each pool")
    parser.add_argument("--relaxed-cases", type=int, default=100, help="cases for which it does")
    parser.add_argument("--cache", type=Path, help="folder of finished energies; default: that of the package")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    if options.potential is not None:
        check_judges(options.potential, ())
    elif options.relax:
        raise InputError(f"{options.relax} crystals to relax, but nothing to relax them by; add --potential sevennet-0")
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
    nearest = [baseline.predict(cases[[k]], N_PROTOTYPES) for k in range(len(cases))]
    folder = str(Path(options.model).resolve())  # workers have folders of their own
    jobs = [(folder, cases[[k]], nearest[k], options.seed, k) for k in range(len(cases))]
    samples: list[dict[str, Crystals]] = []
    with Workers(options.workers) as workers:
        for proposed in workers.map(propose, jobs):
            samples.append(proposed)
            if len(samples) % 100 == 0:
                print(f"{len(samples)} of {len(cases)}, {time.monotonic() - started:.0f} s", flush=True)
        pools = {PROTOTYPES: nearest, OURS: [own.pop(OURS) for own in samples]}
        seconds = {} if options.potential is None else add_energies(samples, pools, workers, options)
        outcomes = list(workers.map(compare_all, [(cases[[k]], own) for k, own in enumerate(samples)]))
    n_elements = number_of_species(cases).tolist()
    groups = {"all": outcomes} | {
        name: [outcome for outcome, n in zip(outcomes, n_elements, strict=True) if n == wanted]
        for name, wanted in (("binary", 2), ("ternary", 3))
    }
    found = {
        group: {arm: figures([outcome[arm] for outcome in some if arm in outcome]) for arm in arms_of(some)}
        for group, some in groups.items()
        if some
    }
    record = record_head("prediction", arguments, model) | {
        "seed": options.seed,
        "held_out": len(corpus.heldout),
        "n_drawn": N_DRAWN,
        "n_prototypes": N_PROTOTYPES,
        "energies": None
        if options.potential is None
        else potential_identity(options.potential)
        | {
            "relaxed": options.relax,
            "cpu_seconds": {name: {"mean": float(np.mean(own)), "most": max(own)} for name, own in seconds.items()},
        },
        "groups": found,
    }
    write_result(options.out, record)
    print(table(found))
