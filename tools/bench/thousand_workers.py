"""How many workers one scheduler serves: a thousand simulated ones, whose tasks sleep as long as relaxations last.

    python -m tools.bench thousand_workers --lengths-from tools/results/engine.json

Scheduler, simulated workers and client are processes of this machine. A task has the arguments and the answer of a
relaxation, and sleeps for one of the measured times, stretched or shrunk to a mean length; the mean is made shorter
until the scheduler is what everything waits for. Client and scheduler are the ones of real runs (`Workers.answers`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.known.reference_hull import REFERENCE_SETTINGS, reference_hull
from crystalgraph.relax.hull import Hull
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings, structure_record
from tools.bench.record import RESULTS, command_line, record_head, write_result
from tools.bench.tables import thousand_workers as table

_EACH = 250  # simulated workers in one process
_NO_EXTRAS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.worker.memory.monitor-interval": "60s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


async def sleep(_crystal: dict[str, Any], _settings: RelaxSettings, _hull: object, seconds: float) -> dict[str, Any]:
    """What a worker does instead of a relaxation, with the answer of one."""
    await asyncio.sleep(seconds)
    return answer()


def answer() -> dict[str, Any]:
    """The record of a relaxation."""
    return Relaxation(status="converged", structure=crystal(), initial_energy=-8.1, energy=-8.2, n_steps=31).to_dict()


def crystal() -> Structure:
    """Twelve atoms."""
    return Structure(
        Lattice.from_parameters(5, 5, 6, 90, 100, 90),
        ["Nb"] * 4 + ["O"] * 8,
        [[0.07 * k, (0.31 * k) % 1, (0.17 * k) % 1] for k in range(12)],
    )


def simulate(address: str, number: int) -> None:
    """Be some workers until the scheduler ends."""
    import dask
    from distributed import Worker

    async def live() -> None:
        workers = [Worker(address, nthreads=1, dashboard=False, memory_limit=0) for _ in range(number)]
        for start in range(0, number, 50):
            await asyncio.gather(*workers[start : start + 50])
        await asyncio.gather(*(worker.finished() for worker in workers))

    logging.getLogger("distributed").setLevel(logging.ERROR)  # a thousand greetings
    with dask.config.set(_NO_EXTRAS):
        asyncio.run(live())


@contextmanager
def cluster(number: int) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler with simulated workers: its address, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        scheduler = subprocess.Popen(
            [*command, "--no-dashboard", "--scheduler-file", str(file)], stderr=subprocess.DEVNULL
        )
        while not file.is_file():
            time.sleep(0.2)
        address = json.loads(file.read_text())["address"]
        shares = [min(_EACH, number - start) for start in range(0, number, _EACH)]
        context = multiprocessing.get_context("spawn")
        hosts = [context.Process(target=simulate, args=(address, share), daemon=True) for share in shares]
        for host in hosts:
            host.start()
        try:
            _wait_for(address, number)
            yield address, psutil.Process(scheduler.pid)
        finally:
            for host in hosts:
                host.kill()
            scheduler.kill()
            scheduler.wait()


def _wait_for(address: str, number: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(number, timeout=600)


def measure(
    address: str, process: psutil.Process, hull: Hull, lengths: Sequence[float], mean: float, each: int
) -> dict[str, Any]:
    """Some tasks for each worker: how long they took, and how busy the scheduler was meanwhile."""
    chooser, scale = random.Random(0), mean * len(lengths) / sum(lengths)
    job = (structure_record(crystal()), RelaxSettings(), hull)
    with Workers(scheduler=address) as workers:
        times = [scale * chooser.choice(lengths) for _ in range(each * workers.number)]
        jobs = ((f"{mean}-{k}", (*job, seconds)) for k, seconds in enumerate(times))
        before, started = sum(process.cpu_times()[:2]), time.perf_counter()
        answers = list(workers.answers(sleep, jobs))
        wall, busy = time.perf_counter() - started, sum(process.cpu_times()[:2]) - before
        number = workers.number
    assert sorted(key for key, _, _ in answers) == sorted(f"{mean}-{k}" for k in range(len(times)))
    return {
        "mean_seconds": mean,
        "tasks": len(times),
        "lost": sum(answer is None for _, answer, _ in answers),
        "wall": wall,
        "tasks_per_second": len(times) / wall,
        "workers_at_work": sum(times) / (wall * number),
        "scheduler_busy": busy / wall,
        "scheduler_memory_mb": process.memory_info().rss / 2**20,
        "cpu_ms_per_task": busy / len(times) * 1000,
    }


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = command_line("thousand_workers", __doc__)
    parser.add_argument("--workers", type=int, default=1000, help="simulated; [1000]")
    parser.add_argument("--each", type=int, default=4, help="tasks for each worker; [4]")
    parser.add_argument("--means", default="20,10,5,2,1", help="mean seconds of a task; [20,10,5,2,1]")
    parser.add_argument("--lengths-from", type=Path, default=RESULTS / "engine.json", help="result of `engine`")
    parser.add_argument("--out", type=Path, default=RESULTS / "thousand_workers.json")
    options = parser.parse_args(arguments)
    lengths = json.loads(options.lengths_from.read_text())["lengths"]
    hull, found = reference_hull(ChemicalSystem.parse("Nb-O"), settings=REFERENCE_SETTINGS), list[dict[str, Any]]()
    with cluster(options.workers) as (address, process):
        for mean in map(float, options.means.split(",")):
            found.append(measure(address, process, hull, lengths, mean, options.each))
            print(found[-1], flush=True)
    record = {"workers": options.workers, "cores": psutil.cpu_count(), "means": found}
    write_result(options.out, record_head("thousand_workers", arguments) | record)
    print(table(record))
    return 0
