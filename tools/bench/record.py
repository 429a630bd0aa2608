"""What every benchmark reads and writes alike: its command line, and the head of its result."""

from __future__ import annotations

import argparse
import datetime
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.io.atomic import write_json
from crystalgraph.io.provenance import versions

if TYPE_CHECKING:
    from crystalgraph.models.bundle import Model

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout."""

CONFIGS, RESULTS = ROOT / "configs", ROOT / "tools" / "results"


def command_line(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for the options of a benchmark, whose module's docstring is its help."""
    return argparse.ArgumentParser(
        prog=f"python -m tools.bench {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def record_head(
    name: str,
    arguments: Sequence[str],
    model: Model | Mapping[str, Any] | None = None,
    models: Mapping[str, Model] | None = None,
) -> dict[str, Any]:
    """How a result was made: command, date, weights and versions.

    Args:
        name: of the benchmark.
        arguments: of its command line.
        model: whose figures these are, or what the record of a run says of it (name, sha256); None where no model has
            a part in them.
        models: instead of one, several by the name that the result gives them.

    Returns:
        For JSON: ``command``, ``date``, ``model`` (name, sha256 of the weights, data) or ``models`` (name -> sha256),
        ``versions``.
    """
    head: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "tools.bench", name, *arguments]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if isinstance(model, Mapping):
        head["model"] = {"name": model["name"], "sha256": model["sha256"]}
    elif model is not None:
        data = model.record.get("config", {}).get("data")
        head["model"] = {"name": model.name, "sha256": model.checksum, "data": data}
    if models is not None:
        head["models"] = {title: each.checksum for title, each in models.items()}
    return head | {"versions": versions()}


def write_result(path: Path, record: Mapping[str, Any]) -> None:
    """Write a result; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
