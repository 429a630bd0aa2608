"""The script of a Slurm job, as dask-jobqueue writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_job_has_a_worker_of_one_thread_for_each_core(tmp_path):
    arguments = ["--cores", "8", "--memory", "24GB", "--walltime", "02:00:00", "--queue", "long", "--script"]
    done = subprocess.run(
        [sys.executable, "-m", "tools.slurm_cluster", *arguments, "--prologue", "source env/bin/activate"],
        cwd=ROOT,
        env={"DASK_TEMPORARY_DIRECTORY": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (tmp_path / "job").write_text(done.stdout)
    subprocess.run(["/bin/bash", "-n", tmp_path / "job"], check=True)
    lines = done.stdout.splitlines()
    for line in ("#SBATCH -p long", "#SBATCH --cpus-per-task=8", "#SBATCH -t 02:00:00", "source env/bin/activate"):
        assert line in lines
    (command,) = [line for line in lines if "dask_worker" in line]
    assert "--nthreads 1 " in command
    assert "--nworkers 8 " in command
    assert lines.index("export OMP_NUM_THREADS=1") < lines.index(command)
