"""A connection to a dask scheduler that leaves nothing to the garbage collector."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from distributed import Client


class Connection(Client):
    """A client that is closed by whoever made it, also where it could not be made.

    Dask's own is closed when it is collected, which can happen while a lock is held that closing needs: forever.
    """

    def start(self, **options: Any) -> None:
        """As dask has it."""
        try:
            super().start(**options)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Close the connection; within a second, or it is left to itself."""
        with suppress(Exception):  # nobody is there to say goodbye to, perhaps
            self.close(timeout=1)
        self.status = "closed"
