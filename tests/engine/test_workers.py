"""Work in processes of this machine, and of a cluster that somebody else keeps."""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from operator import add
from pathlib import Path

import psutil
import pytest
from distributed import Client

from crystalgraph.engine.connection import client_of
from crystalgraph.engine.workers import Workers, at_work
from crystalgraph.errors import InputError, RunError

SCHEDULER = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
WORKER = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard"]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    """The jobs of the tests can be imported, here and in the workers."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def jobs():
    return importlib.import_module("stand_in_jobs")


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler in a process of its own, and a function that adds a worker process."""
    file, processes = tmp_path / "scheduler.json", []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}

    def start(command):
        log = (tmp_path / f"{len(processes)}.log").open("w")
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log))
        return processes[-1]

    start([*SCHEDULER, "--port", "0", "--scheduler-file", str(file)])
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)  # it is being written
    address = json.loads(file.read_text())["address"]
    yield address, lambda: start([*WORKER, "--no-nanny", address])
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_answers_and_maps_of_two_processes(jobs):
    with Workers(2) as workers:
        found = {key: answer for key, answer, death in workers.answers(add, ((str(k), (k, k)) for k in range(300)))}
        assert found == {str(k): 2 * k for k in range(300)}
        assert list(workers.map(add, [(k, 1) for k in range(50)])) == list(range(1, 51))
        assert len(set(workers.map(jobs.process, [(k,) for k in range(40)]))) == 2
        assert list(workers.map(add, [])) == []
        with at_work(workers) as same:
            assert same is workers


def test_one_process_maps_in_this_one(jobs):
    with Workers(1) as workers:
        assert list(workers.map(os.getpid, [(), ()])) == [os.getpid()] * 2
        with pytest.raises(KeyError):
            list(workers.map(jobs.raising, [(KeyError("a bug"),)]))


@pytest.mark.slow
def test_a_job_that_kills_workers_is_given_up_and_no_other(jobs, tmp_path):
    with Workers(2) as workers:
        given = [(f"{tmp_path.name}-{k}", (k, str(tmp_path))) for k in range(12)]
        found = {
            int(key.rpartition("-")[2]): (answer, death) for key, answer, death in workers.answers(jobs.deadly, given)
        }
    assert sorted(found) == list(range(12))
    answer, death = found.pop(3)
    assert answer is None
    assert "the worker died of it" in death
    assert found == {k: (k**2, None) for k in range(12) if k != 3}
    assert (tmp_path / "calls").read_text().split().count("3") == 2, "once among others, once alone"


@pytest.mark.slow
def test_errors_of_jobs_come_back(jobs):
    with Workers(2) as workers:
        with pytest.raises(InputError, match="no such thing"):
            list(workers.map(jobs.raising, [(InputError("no such thing"),)] * 2))
        with pytest.raises(RunError, match="a worker failed: KeyError: 'a bug'") as failed:
            list(workers.map(jobs.raising, [(KeyError("a bug"),)] * 2))
        assert "in raising" in "".join(failed.value.__notes__)


@pytest.mark.slow
def test_a_cluster_of_others_whose_worker_is_killed_in_the_middle_loses_nothing(cluster, jobs):
    address, add_worker = cluster
    victim = add_worker()
    add_worker()
    with Workers(scheduler=address) as workers:
        answers = workers.map(jobs.slow_square, [(k,) for k in range(40)])
        found = [next(answers)]
        victim.send_signal(signal.SIGKILL)
        found += answers
    assert found == [k**2 for k in range(40)]


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_said(cluster, jobs):
    address, add_worker = cluster
    add_worker()
    with Workers(scheduler=address) as workers:
        answers = workers.map(jobs.slow_square, [(k,) for k in range(100)])
        next(answers)
        os.kill(_pid_of_scheduler(address), signal.SIGKILL)
        with pytest.raises(RunError, match="scheduler was lost; what is finished is kept"):
            list(answers)


def _pid_of_scheduler(address):
    port = int(address.rpartition(":")[2])
    (pid,) = {c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
    return pid


@pytest.mark.slow
def test_a_cluster_that_cannot_work_is_said_before_any_work(cluster, monkeypatch):
    address, add_worker = cluster
    monkeypatch.setattr("crystalgraph.engine.connection._PATIENCE", 8.0)
    with pytest.raises(InputError, match="has no workers; start one with"), Workers(scheduler=address):
        pass
    add_worker()
    monkeypatch.setattr("crystalgraph.engine.connection._PATIENCE", 60.0)
    monkeypatch.setattr("crystalgraph.__version__", "99.0")
    with pytest.raises(InputError, match=r"needs crystalgraph 99\.0, and there"), Workers(scheduler=address):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nowhere", "ftp://a:1", "tcp://", "", ":"])
def test_no_scheduler_at_an_address(address, monkeypatch):
    monkeypatch.setattr("crystalgraph.engine.connection._PATIENCE", 0.3)
    with pytest.raises(InputError, match="no scheduler answers at") as refused, Workers(scheduler=address):
        pass
    assert {thing.status for thing in gc.get_objects() if isinstance(thing, Client)} <= {"closed"}
    assert "\n" not in str(refused.value)


def test_too_few_workers():
    with pytest.raises(InputError, match="workers 0 is not a number of processes; give 1 or more"):
        Workers(0)


@pytest.mark.slow
def test_nobody_without_the_credentials_reaches_the_workers():
    with Workers(1) as workers:
        address = workers._client().scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        for other in (address, address.replace("tls", "tcp")):
            with pytest.raises((OSError, TypeError, AssertionError)):  # the last is how dask ends a broken handshake
                client_of(other, 2, None)
        assert {thing.status for thing in gc.get_objects() if isinstance(thing, Client)} <= {"closed", "running"}


@pytest.mark.slow
def test_a_cluster_is_asked_before_any_work_for_its_size_and_its_potentials(cluster, monkeypatch):
    from crystalgraph.relax.many import ready_for

    address, add_worker = cluster
    add_worker()
    with Workers(scheduler=address) as workers:
        assert workers.number == 1
        assert not workers.is_this_process
        ready_for(workers, ["ase.calculators.emt:EMT"])
        monkeypatch.setattr(
            "crystalgraph.relax.many.potential_identity", lambda name: {"name": name, "version": "0", "sha256": "other"}
        )
        with pytest.raises(InputError, match=r"is .* for a worker, and .*other.* here; install the same"):
            ready_for(workers, ["ase.calculators.lj:LennardJones"])


@pytest.mark.slow
def test_a_device_is_shared_by_the_threads_of_one_process(jobs):
    with Workers(2, device="cpu:0") as workers:
        sharing = workers.sharing()
        assert sharing is workers.sharing()
        assert len(set(sharing.map(jobs.process, [(k,) for k in range(100)]))) == 1
        assert len(set(workers.map(jobs.process, [(k,) for k in range(40)]))) == 2
    with Workers(2) as workers:
        assert workers.sharing() is workers
