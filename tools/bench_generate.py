"""Raw crystals per second on one core, as a ratio to PyXtal's random crystals of the same compositions and groups.

    python tools/bench_generate.py --out tools/results/generate.json

Ours: draw, expand, strict check and discriminator score of every sample. PyXtal: ``from_random`` with the space group
and the composition of samples picked from ours; its own distance check is part of it, a failed attempt costs time and
gives no crystal. Both run in this process, in turn, on one thread; imports and model loading are not counted.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from pyxtal import pyxtal

from crystalgraph.crystals import Crystals
from crystalgraph.evaluation.validity import strict_validity
from crystalgraph.io.atomic import write_json
from crystalgraph.models.bundle import load_model
from crystalgraph.sampling.sample import Sampler
from crystalgraph.symmetry.wyckoff import wyckoff_table

NIOBIUM, OXYGEN = 41, 8


def draw_ours(sampler: Sampler, n: int) -> tuple[Crystals, torch.Tensor, float, float]:
    """Draw, check and score; returns crystals, groups, the share strictly valid and seconds."""
    started = time.perf_counter()
    samples = sampler.draw(n)
    valid = strict_validity(samples.crystals).valid
    sampler.model.score(samples.crystals, samples.space_group_number)
    return samples.crystals, samples.space_group_number, valid.double().mean().item(), time.perf_counter() - started


def draw_pyxtal(number: int, crystal: Crystals, seed: int) -> tuple[bool, float]:
    """One random crystal of a group and composition; returns success and seconds."""
    cells = round(1 / torch.linalg.det(wyckoff_table().centring[number]).item())
    counts = {"Nb": int((crystal.atomic_numbers == NIOBIUM).sum()), "O": int((crystal.atomic_numbers == OXYGEN).sum())}
    made = pyxtal(random_state=np.random.default_rng(seed))
    started = time.perf_counter()
    try:
        made.from_random(3, number, list(counts), [n * cells for n in counts.values()])
    except Exception:  # noqa: BLE001 - PyXtal raises several kinds of error when it finds no crystal; each is a failed attempt
        return False, time.perf_counter() - started
    return bool(made.valid), time.perf_counter() - started


def main() -> None:
    """Measure in turn and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", type=int, default=512, help="crystals of ours in a round")
    parser.add_argument("--pyxtal", type=int, default=12, help="crystals of PyXtal in a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chooser = random.Random(options.seed)
    sampler = Sampler(load_model("nbo"), [OXYGEN, NIOBIUM], torch.Generator().manual_seed(options.seed))
    draw_ours(sampler, 128)  # first calls pay for lazy tables
    rounds = []
    for number in range(options.rounds):
        crystals, groups, strict, seconds = draw_ours(sampler, options.ours)
        picked = chooser.sample(range(options.ours), options.pyxtal)
        theirs = [draw_pyxtal(int(groups[i]), crystals[i], options.seed + i) for i in picked]
        made, spent = sum(success for success, _ in theirs), sum(s for _, s in theirs)
        ours_rate, their_rate = options.ours / seconds, made / spent
        rounds.append(
            {
                "ours_per_second": ours_rate,
                "ours_strict": strict,
                "pyxtal_per_second": their_rate,
                "pyxtal_made": made,
                "pyxtal_tried": options.pyxtal,
                "ratio": ours_rate / their_rate if their_rate else None,
            }
        )
        print(f"round {number + 1}: ours {ours_rate:.0f}/s, PyXtal {their_rate:.2f}/s ({made}/{options.pyxtal} made)")
    ours = np.mean([options.ours / r["ours_per_second"] for r in rounds])
    total_spent = sum(r["pyxtal_made"] / r["pyxtal_per_second"] for r in rounds if r["pyxtal_made"])
    total_made = sum(r["pyxtal_made"] for r in rounds)
    ratio = (options.ours / ours) / (total_made / total_spent)
    write_json(options.out, {"seed": options.seed, "threads": 1, "ratio": ratio, "rounds": rounds})
    print(f"ratio over all rounds: {ratio:.0f}")


if __name__ == "__main__":
    main()
