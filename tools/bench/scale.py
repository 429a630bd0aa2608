"""How CPU time and memory grow with the number of crystals that are judged.

    python -m tools.bench scale

Raw samples of the model for Nb-O, and copies of them whose cells and atoms were moved at random, are read and checked
(100,000 of them), and evaluated as `cg-evaluate` does (10,000). Each size runs in a process of its own, whose peak
memory is what is said.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms

from crystalgraph.models.bundle import Model, load_model
from crystalgraph.relax.atoms import to_atoms
from tools.bench.engine import samples
from tools.bench.record import RESULTS, command_line, record_head, write_result
from tools.bench.tables import scale as table

SEEDS = 500
"""Samples that are drawn; the rest are moved copies."""

STRAIN, MOVE = 0.05, 0.2
"""Standard deviations: of the components of the strain, and of the moves of atoms in Å."""


def write_crystals(path: Path, n: int, model: Model) -> None:
    """Some crystals as extxyz."""
    first, rng = [to_atoms(structure) for structure in samples(model, min(n, SEEDS), 12)], np.random.default_rng(0)
    with path.open("w") as file:
        for k in range(n):
            atoms = first[k % len(first)]
            ase.io.write(file, atoms if k < len(first) else _moved(atoms, rng), format="extxyz")


def _moved(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    strain = rng.normal(scale=STRAIN, size=(3, 3))
    moved: Atoms = atoms.copy()
    moved.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    moved.positions += rng.normal(scale=MOVE, size=moved.positions.shape)
    return moved


def check(path: Path) -> None:
    """Read crystals and say which are strictly valid."""
    from crystalgraph.crystals.validity import strict_validity
    from crystalgraph.io.load import load

    strict_validity(load(path).crystals)


def judge(path: Path) -> None:
    """All that `cg-evaluate` does without energies, its files and page included."""
    from crystalgraph.runs.evaluate import evaluate

    evaluate(path, system="Nb-O", out=path.with_suffix(".judged"))


STAGES: dict[str, Callable[[Path], None]] = {"read, strictly valid": check, "cg-evaluate": judge}


def measure(stage: str, path: Path) -> tuple[float, float]:
    """CPU seconds of a stage, imports included, and the peak memory of this process in MB."""
    torch.set_num_threads(1)
    STAGES[stage](path)
    status = Path("/proc/self/status").read_text()  # rusage would count what the parent had before
    return time.process_time(), int(status.partition("VmHWM:")[2].split()[0]) / 1024


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """CPU time and memory against the number of crystals, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, what, label in zip(
        figure.subplots(1, 2), ("cpu_seconds", "memory_mb"), ("CPU seconds", "peak memory, MB"), strict=True
    ):
        axes.spines[["top", "right"]].set_visible(False)
        for stage in STAGES:
            own = [row for row in rows if row["stage"] == stage]
            axes.plot([row["crystals"] for row in own], [row[what] for row in own], "o-", label=stage)
        axes.set(xscale="log", yscale="log", xlabel="crystals", ylabel=label)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = command_line("scale", __doc__)
    parser.add_argument("--model", default="nbo")
    parser.add_argument("--evaluated", default="1000,3000,10000", help="sizes; [1000,3000,10000]")
    parser.add_argument("--read", default="1000,10000,100000", help="sizes; [1000,10000,100000]")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args(arguments)
    model, rows = load_model(options.model), list[dict[str, Any]]()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for stage, sizes in zip(STAGES, (options.read, options.evaluated), strict=True):
            for size in map(int, sizes.split(",")):
                path = Path(folder) / f"{size}.extxyz"
                if not path.exists():
                    write_crystals(path, size, model)
                with context.Pool(1) as pool:
                    cpu, memory = pool.apply(measure, (stage, path))
                rows.append({"stage": stage, "crystals": size, "cpu_seconds": cpu, "memory_mb": memory})
                print(rows[-1], flush=True)
    write_result(options.out, record_head("scale", arguments, model) | {"rows": rows})
    plot(rows, options.out.with_suffix(".png"))
    print(table(rows))
    return 0
