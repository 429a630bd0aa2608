"""Keep a dask cluster of Slurm jobs, for ``cg-generate --scheduler`` and ``cg-evaluate --scheduler``.

    python -m tools.slurm_cluster --jobs 10 --cores 32 --memory 96GB --walltime 08:00:00 --script
    python -m tools.slurm_cluster --jobs 10 --cores 32 --memory 96GB --walltime 08:00:00

The first line prints the script of a job and submits nothing. The second submits the jobs, prints the address of the
scheduler, which runs in this process, and waits: Ctrl-C ends the jobs. Each core gets a worker of one thread. PBS, LSF
and others go the same way with another class of dask-jobqueue (``pip install 'crystalgraph[cluster]'``).
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from typing import Any


def slurm_cluster(cores: int, memory: str, walltime: str, queue: str | None, prologue: Sequence[str]) -> Any:
    """A cluster without jobs, one worker a core.

    Args:
        cores: of a job.
        memory: of a job, such as "96GB"; a core needs about 2 GB.
        walltime: of a job, HH:MM:SS.
        queue: partition; None is the usual one.
        prologue: lines of the job before its workers start, such as one that enters the environment.
    """
    from dask_jobqueue import SLURMCluster

    threads = [f"export {name}=1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")]
    return SLURMCluster(
        cores=cores,
        processes=cores,
        memory=memory,
        walltime=walltime,
        queue=queue,
        job_script_prologue=[*threads, *prologue],
        scheduler_options={"allowed_failures": 0, "dashboard": False},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a job script, or keep the cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="jobs to submit")
    parser.add_argument("--cores", type=int, required=True, help="of each job")
    parser.add_argument("--memory", required=True, help="of each job, about 2 GB a core")
    parser.add_argument("--walltime", required=True, help="of each job, HH:MM:SS")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--prologue", action="append", default=[], help="line before the workers start, also several")
    parser.add_argument("--script", action="store_true", help="print the script of a job and end")
    options = parser.parse_args(arguments)
    with slurm_cluster(options.cores, options.memory, options.walltime, options.queue, options.prologue) as cluster:
        if options.script:
            print(cluster.job_script())
            return
        cluster.scale(jobs=options.jobs)
        print(cluster.scheduler_address, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
