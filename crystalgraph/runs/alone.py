"""A run has its folder and its process to itself: no second one on the folder, no thread that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from threadpoolctl import threadpool_limits

from crystalgraph.io.claim import claimed

N_THREADS = 1
"""Threads of PyTorch, BLAS and OpenMP in a process. Sums over several are rounded otherwise, and tensors of crystals
are so small that a second one costs more than it gives."""

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Work with `N_THREADS` in this process, whatever ``OMP_NUM_THREADS`` and the number of cores say."""
    earlier = torch.get_num_threads()
    with threadpool_limits(N_THREADS):
        torch.set_num_threads(N_THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(earlier)


def alone(run: Callable[P, T]) -> Callable[P, T]:
    """Decorate a run that writes the folder that its keyword argument ``out`` names, or nothing if that is None.

    A second run on the folder is refused with an InputError before it begins.
    """

    @wraps(run)
    def run_alone(*arguments: P.args, **options: P.kwargs) -> T:
        out = options.get("out")
        with claimed(None if out is None else Path(str(out))), one_thread():
            return run(*arguments, **options)

    return run_alone
