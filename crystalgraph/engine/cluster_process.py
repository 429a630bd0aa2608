"""A process that keeps a dask cluster on this machine, for `crystalgraph.engine.local_cluster`.

It reads one line, how many workers of how many threads, what they load and the credentials, writes one line, the
address, and ends with all its workers when its standard input is closed: also where the run that started it was killed.
A cluster inside of the run would import the run's main module again in each worker, which scripts without a guard do
not survive. Where it is safe, workers are forks of one process that has loaded what all of them need.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import forkserver, set_forkserver_preload
from multiprocessing.util import get_temp_dir
from pathlib import Path

import dask
import psutil
from distributed import LocalCluster
from distributed.security import Security


def main() -> None:
    """Work in the present folder, which is removed at the end."""
    wanted, folder = json.loads(sys.stdin.readline()), Path.cwd()
    if wanted["load"]:
        _load_once(wanted["load"])
    try:
        cluster = LocalCluster(
            n_workers=wanted["workers"],
            threads_per_worker=wanted["threads"],
            host="127.0.0.1",
            protocol="tls://",
            security=Security(**wanted["security"]),
            dashboard_address=None,
        )
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
    finally:
        _end_processes()
        with suppress(OSError):  # there may be no place for one
            shutil.rmtree(get_temp_dir())
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # without the goodbyes of workers that are gone


def _load_once(modules: Sequence[str]) -> None:
    """Load modules in the process that workers become forks of."""
    set_forkserver_preload(["distributed", *modules])
    try:
        forkserver.ensure_running()  # now, so that dask has nothing else loaded there
    except OSError:  # the name of its socket, in the folder of temporary files, is too long
        return
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})


def _end_processes() -> None:
    """End what this process has started, children's children first, so that CPU time of theirs comes to be counted."""
    here = psutil.Process()
    ours = here.children()
    _kill([process for process in here.children(recursive=True) if process not in ours])
    _kill(here.children(recursive=True))


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)
