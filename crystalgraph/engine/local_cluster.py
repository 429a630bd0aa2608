"""A dask cluster of processes on this machine, which end with the run that started them.

Threads are limited before NumPy and SciPy load: with more than one, SciPy's make a step many times slower.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crystalgraph.engine.connection import client_of, one_line
from crystalgraph.errors import RunError

if TYPE_CHECKING:
    from distributed.security import Security

    from crystalgraph.engine.client import Connection

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # what tensors give back stays with the process; dask's own setting returns it to the kernel every time
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "PYTHONWARNINGS": "ignore",  # nobody reads them, and as errors they would end the libraries
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # who is to blame is found out here
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # it would look at every thread each hundredth of a second
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "30s",  # of watching itself
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    **{f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": "False" for name in ("TARGET", "SPILL", "PAUSE")},
}

_CREDENTIALS = (
    "tls_ca_file",
    *(f"tls_{who}_{what}" for who in ("client", "scheduler", "worker") for what in ("key", "cert")),
)

_START = "from crystalgraph.engine.cluster_process import main; main()"

_PATIENCE = 120.0  # seconds of wall time to start


class LocalCluster:
    """The process of `crystalgraph.engine.cluster_process`, with credentials that nobody else has.

    Args:
        number: of workers.
        threads: of each.
        load: modules that they need, loaded once for all of one thread where processes can be forked.
    """

    def __init__(self, number: int, threads: int, load: Sequence[str]) -> None:
        from distributed.security import Security

        self._security: Security = Security.temporary()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="crystalgraph-"))
        except OSError as error:
            raise RunError(f"workers need a folder for temporary files ({error}); name one with TMPDIR") from error
        self._log = self._folder / "cluster.log"
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | _ENVIRONMENT | {"DASK_TEMPORARY_DIRECTORY": str(self._folder), "PYTHONPATH": path},
                cwd=self._folder,  # CHGNet leaves a file where it fails
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
        assert self._process.stdin is not None
        credentials = {name: getattr(self._security, name) for name in _CREDENTIALS}
        shared = list(load) if threads == 1 and sys.platform == "linux" else []  # a GPU does not survive a fork
        wanted = {
            "workers": number,
            "threads": threads,
            "load": shared,
            "security": {"require_encryption": True, **credentials},
        }
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()

    def connected(self) -> Connection:
        """A connection to the scheduler, once the workers are there."""
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            address = output.readline().decode().strip() if selector.select(_PATIENCE) else None
        if not address:
            said = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
            last = next((line for line in reversed(said) if line.strip()), "no message")
            code = self._process.poll()
            self.end()
            silent = address is None and code is None
            how = f"no answer for {_PATIENCE:.0f} s" if silent else f"the process ended: {one_line(last)}"
            raise RunError(f"a worker could not start: {how}")
        return client_of(address, _PATIENCE, self._security)

    def end(self) -> None:
        """End the process and its workers; its folder goes with them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)  # where it could not do it itself
