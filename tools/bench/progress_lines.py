"""Progress of a benchmark, as lines that a log can hold."""

from __future__ import annotations

import time


class ProgressLines:
    """Prints how far each stage is, not more often than every half minute, and its end."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, state: str = "", /) -> None:
        """Print, or not yet."""
        now = time.monotonic()
        if done == total or now - self._last.get(stage, -60.0) > 30:
            self._last[stage] = now
            print(f"{stage}: {done} of {total}{f', {state}' if state else ''}", flush=True)
