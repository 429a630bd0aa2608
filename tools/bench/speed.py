"""Raw crystals per second on one core, as a ratio to PyXtal's random crystals of the same compositions.

    python -m tools.bench speed --out tools/results/generate.json

Ours: draw, expand, strict check and discriminator score of every sample, in three forms: the best of sixteen draws as
`cg-generate` does by default, one draw as with ``--raw``, both refined, and one draw in one pass as with ``--fast``.
PyXtal: ``from_random`` with the composition of samples picked from ours, once in a group drawn at random from those
that hold the composition (as in a random search), once in the very group of our sample. Its own distance check is part
of it; a failed attempt costs time and gives no crystal. All run in this process, in turn, on one thread; imports and
model loading are not counted.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyxtal import pyxtal

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.models.bundle import load_model
from crystalgraph.sampling.sampler import Sampler
from crystalgraph.symmetry.enumerate import is_possible
from crystalgraph.symmetry.wyckoff import wyckoff_table
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import speed as table

NIOBIUM, OXYGEN = 41, 8


def draw_ours(sampler: Sampler, n: int) -> tuple[Crystals, torch.Tensor, float, float]:
    """Draw, check and score; returns crystals, groups, the share strictly valid and seconds."""
    started = time.perf_counter()
    samples = sampler.draw(n)
    valid = strict_validity(samples.crystals).valid
    sampler.model.score(samples.crystals, samples.space_group_number)
    return samples.crystals, samples.space_group_number, valid.double().mean().item(), time.perf_counter() - started


def random_group(crystal: Crystals, chooser: random.Random) -> int:
    """A space group, drawn at random from those in which the crystal's composition has a place."""
    counts = composition(crystal)
    while True:
        number = chooser.randint(1, 230)
        if is_possible(number, {NIOBIUM: counts["Nb"], OXYGEN: counts["O"]}, max_sites=12):
            return number


def composition(crystal: Crystals) -> dict[str, int]:
    """Atoms in the primitive cell."""
    return {
        "Nb": int((crystal.atomic_numbers == NIOBIUM).sum()),
        "O": int((crystal.atomic_numbers == OXYGEN).sum()),
    }


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of PyXtal: whether it gave a crystal, whether that is strictly valid, and the seconds it took."""

    made: bool
    valid: bool
    seconds: float


def draw_pyxtal(number: int, crystal: Crystals, seed: int) -> Attempt:
    """One random crystal of a group and composition; what we think of it is not part of the time."""
    cells = round(1 / torch.linalg.det(wyckoff_table().centring[number]).item())
    counts = composition(crystal)
    made = pyxtal(random_state=np.random.default_rng(seed))
    started = time.perf_counter()
    try:
        made.from_random(3, number, list(counts), [n * cells for n in counts.values()])
    except Exception:  # noqa: BLE001 - PyXtal raises several kinds of error when it finds no crystal; a failed attempt
        return Attempt(made=False, valid=False, seconds=time.perf_counter() - started)
    seconds = time.perf_counter() - started
    valid = bool(made.valid) and bool(strict_validity(from_structures([made.to_pymatgen()])).valid)
    return Attempt(made=bool(made.valid), valid=valid, seconds=seconds)


def main(arguments: Sequence[str]) -> None:
    """Measure in turn and write."""
    parser = command_line("speed", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", type=int, default=512, help="crystals of ours in a round")
    parser.add_argument("--pyxtal", type=int, default=200, help="crystals of PyXtal in a round, each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chooser = random.Random(options.seed)
    model, elements = load_model("nbo"), [OXYGEN, NIOBIUM]
    forms: dict[str, dict[str, Any]] = {"default": {}, "raw": {"n_draws": 1}, "fast": {"fast": True}}
    samplers = {
        name: Sampler(model, elements, torch.Generator().manual_seed(options.seed), **form)
        for name, form in forms.items()
    }
    seconds_of = dict.fromkeys(samplers, 0.0)
    strict: dict[str, list[float]] = {name: [] for name in samplers}
    for sampler in samplers.values():
        draw_ours(sampler, 128)  # first calls pay for lazy tables
    theirs: dict[str, list[Attempt]] = {"PyXtal, random group": [], "PyXtal, same group": []}
    for number in range(options.rounds):
        for name, sampler in samplers.items():
            crystals, groups, valid, seconds = draw_ours(sampler, options.ours)
            seconds_of[name] += seconds
            strict[name].append(valid)
            print(f"round {number + 1} of {options.rounds}: {name} {options.ours / seconds:.0f}/s", flush=True)
        for i in chooser.sample(range(options.ours), options.pyxtal):
            seed = options.seed + 1000 * number + i
            theirs["PyXtal, random group"].append(draw_pyxtal(random_group(crystals[i], chooser), crystals[i], seed))
            theirs["PyXtal, same group"].append(draw_pyxtal(int(groups[i]), crystals[i], seed))
    result = record_head("speed", arguments, model)
    result |= {"seed": options.seed, "threads": 1, "ours": {}, "theirs": {}}
    for name, seconds in seconds_of.items():
        rate = options.rounds * options.ours / seconds
        result["ours"][name] = {"per_second": rate, "strict": float(np.mean(strict[name]))}
    for name, attempts in theirs.items():
        made, spent = sum(a.made for a in attempts), sum(a.seconds for a in attempts)
        valid = sum(a.valid for a in attempts)
        row = {"tried": len(attempts), "made": made, "strict": valid / made, "per_second": made / spent}
        for form, ours in result["ours"].items():
            ratio = ours["per_second"] / row["per_second"]
            ratio_valid = ratio * ours["strict"] / row["strict"]
            row[f"ratio_{form}"], row[f"ratio_strictly_valid_{form}"] = ratio, ratio_valid
        result["theirs"][name] = row
    write_result(options.out, result)
    print(table(result))
