"""Memory that is given back is there for the next tensor: the kernel is not asked for its pages again."""

import platform
import subprocess
import sys

import pytest

from crystalgraph.runs import heap

FAULTS = """
import resource, torch
from crystalgraph.runs.heap import keep_freed_memory
keep_freed_memory()
for _ in range(20):
    torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    """20 times 40 MB are 200,000 pages of 4 kB."""
    command = [sys.executable, "-c", FAULTS]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert faults < 20_000


def test_without_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.keep_freed_memory()
