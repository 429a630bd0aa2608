"""A process that keeps a dask cluster on this machine, for `crystalgraph.engine.local_cluster`.

It reads one line, how many workers of how many threads and the credentials, writes one line, the address, and ends
with all its workers when its standard input is closed: also where the run that started it was killed. A cluster inside
of the run would import the run's main module again in each worker, which scripts without a guard do not survive.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import psutil
from distributed import LocalCluster
from distributed.security import Security


def main() -> None:
    """Work in the present folder, which is removed at the end."""
    wanted, folder = json.loads(sys.stdin.readline()), Path.cwd()
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
        processes = psutil.Process().children(recursive=True)
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=5)  # so that their CPU time counts
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # without the goodbyes of workers that are gone
