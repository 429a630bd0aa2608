"""Connections to dask schedulers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from distributed.security import Security

    from crystalgraph.engine.client import Connection

_PATIENCE = 20.0  # seconds of wall time for a scheduler or its first worker to answer


def connected(address: str) -> Connection:
    """A connection to a cluster that exists, whose workers have this version of the package."""
    from crystalgraph import __version__

    advice = "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
    try:
        client = client_of(address, _PATIENCE, None)
    except (OSError, ValueError, TypeError, KeyError, AssertionError) as error:
        why = one_line(error) or type(error).__name__  # a broken handshake has no words
        raise InputError(f"no scheduler answers at {address} ({why}); {advice}") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.end()
        raise InputError(f"the scheduler at {address} has no workers; {advice}") from None
    for worker, version in client.run(_version, on_error="return").items():
        if version != __version__:
            client.end()
            found = f"it cannot be loaded ({one_line(version)})" if isinstance(version, Exception) else version
            raise InputError(f"worker {worker} needs crystalgraph {__version__}, and there: {found}; install it there")
    return client


def client_of(address: str, timeout: float, security: Security | None) -> Connection:
    """A connection that no other call takes for its own, made within some seconds of wall time."""
    from crystalgraph.engine.client import Connection

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it reports each lost worker, as we do
    return Connection(address, timeout=timeout, security=security, set_as_default=False)


def _version() -> str:
    from crystalgraph import __version__

    return __version__


def one_line(text: object) -> str:
    """A text without line breaks, cut at 200 characters."""
    return " ".join(str(text).split())[:200]
