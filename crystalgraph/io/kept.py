"""What was worked out once, found again by the checksum of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crystalgraph.io.sealed import read_sealed, write_sealed

LOGGER = logging.getLogger("crystalgraph.io")


def kept(folder: Path | None, depends_on: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """Read what was kept, or compute it and keep it.

    A file that is damaged is said and made anew; where none can be written this is said, and nothing else changes.

    Args:
        folder: where it is kept; None keeps nothing.
        depends_on: all that the result depends on, as JSON has it.
        compute: gives what JSON has: no NaN or infinity, and keys of mappings are texts.
    """
    if folder is None:
        return compute()
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    path = folder / f"{key}.json"
    try:
        content = read_sealed(path)
        if content["depends_on"] != depends_on:
            raise ValueError("it depends on something else")
        return content["result"]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOGGER.warning("%s is not believed (%s); it is computed again", path, error)
    result = compute()
    try:
        write_sealed(path, {"depends_on": depends_on, "result": result})
    except OSError as error:
        LOGGER.warning("%s cannot be written (%s); the next run computes it again", path, error)
    return result
