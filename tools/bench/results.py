"""The committed results: how each is repeated, when it was measured, and whether the shipped weights gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tools.bench.record import ROOT

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is certain of a result whose file does not say it.

    Attributes:
        commands: that repeat it, one after the other.
        date: of the commit that brought the file, ISO; used where the file has none.
        training: config of a training that was made for this alone; empty where the shipped weights are meant.
        has_model: whether weights of a generator have a part in it at all.
    """

    commands: tuple[str, ...]
    date: str
    training: str = ""
    has_model: bool = True

    @property
    def benchmark(self) -> str:
        """Its name and what tells it from others of that name, such as "tools.bench heldout --shipped"."""
        words = self.commands[-1].split()[2:4]
        return " ".join(words + ["--shipped"] * ("--shipped" in self.commands[-1]))


def _bench(name: str, *options: str, result: str = "") -> str:
    return " ".join(["python -m tools.bench", name, *options, f"--out tools/results/{result or name}.json"])


_PEERS = "--samples 300 --relaxed 100 --workers 2 --teachers chgnet --arms"
_ARMS = "substitution,raw,screened"

MEASUREMENTS = {
    "peers": Measurement(commands=(_bench("peers", _PEERS, _ARMS, "--seeds 0,1,2"),), date="2026-11-30"),
    "peers_chosen": Measurement(
        commands=(_bench("peers", _PEERS, "chosen --seeds 0,1,2", result="peers_chosen"),), date="2026-11-30"
    ),
    "peers_tio": Measurement(
        commands=(_bench("peers", "--system Ti-O", _PEERS, _ARMS, "--seeds 0", result="peers_tio"),), date="2026-11-30"
    ),
    "peers_mgmno": Measurement(
        commands=(_bench("peers", "--system Mg-Mn-O", _PEERS, _ARMS, "--seeds 0", result="peers_mgmno"),),
        date="2026-11-30",
    ),
    "peers_time": Measurement(
        commands=(
            _bench(
                "peers",
                "--samples 0 --minutes 4 --seeds 0,1,2 --workers 2",
                "--arms substitution,files,evolution,search --files runs/wyformer_nbo",
                result="peers_time",
            ),
        ),
        date="2026-11-30",
    ),
    "raw": Measurement(
        commands=("cg-generate --raw 1000 --seed 2 --out runs/raw", _bench("raw", "runs/raw")), date="2026-11-30"
    ),
    "raw_fast": Measurement(
        commands=(
            "cg-generate --raw 1000 --seed 2 --fast --out runs/raw-fast",
            _bench("raw", "runs/raw-fast", result="raw_fast"),
        ),
        date="2026-11-30",
    ),
    "heldout_shipped": Measurement(
        commands=(_bench("heldout", "--shipped", result="heldout_shipped"),), date="2026-11-28"
    ),
    "heldout": Measurement(commands=(_bench("heldout", "--runs runs"),), date="2026-11-24"),
    "splits": Measurement(
        commands=(_bench("splits", "--runs runs"),), date="2026-11-28", training="configs/splits.toml"
    ),
    "prediction": Measurement(
        commands=(
            "cg-train configs/prediction.toml --out runs/prediction",
            _bench(
                "prediction",
                "--model runs/prediction/model --workers 2 --cases 300 --potential sevennet-0 --relax 6"
                " --relaxed-cases 80",
            ),
        ),
        date="2026-12-01",
        training="configs/prediction.toml",
    ),
    "search": Measurement(commands=(_bench("search", "--relax 8 --workers 2"),), date="2026-11-30"),
    "rediscovery": Measurement(
        commands=(
            "cg-generate --minutes 15 --max-atoms 24 --workers 2 --out runs/rediscovery",
            _bench("rediscovery", "runs/rediscovery"),
        ),
        date="2026-11-30",
    ),
    "funnel": Measurement(commands=(_bench("funnel", "--num 90 --potential chgnet --workers 2"),), date="2026-11-24"),
    "generate": Measurement(commands=(_bench("speed", "--rounds 2", result="generate"),), date="2026-11-28"),
    "engine": Measurement(commands=(_bench("engine"),), date="2026-11-30"),
    "scale": Measurement(commands=(_bench("scale"),), date="2026-11-30"),
    "thousand_workers": Measurement(
        commands=(
            "python -m tools.bench engine --out engine.json",
            _bench("thousand_workers", "--lengths-from engine.json"),
        ),
        date="2026-11-29",
        has_model=False,
    ),
    "judge": Measurement(
        commands=(_bench("judge", "--cache runs/hulls --workers 2"),), date="2026-11-29", has_model=False
    ),
    "foreign": Measurement(
        commands=(
            _bench(
                "foreign",
                "runs/matgen_baselines/sample_structures --cache runs/hulls --workers 2",
                "--potentials sevennet-0 chgnet diep --relax 50",
            ),
        ),
        date="2026-11-30",
    ),
    "formation_energy": Measurement(commands=(_bench("formation_energy"),), date="2026-11-23", has_model=False),
}
"""By the name of the file in ``tools/results``, without ending."""


def load(folder: Path, name: str) -> dict[str, Any]:
    """The content of a result file."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def shipped_weights() -> str:
    """SHA-256 of the weights that ship, from their record."""
    return json.loads((ROOT / "crystalgraph" / "weights" / "nbo" / "model.json").read_text())["sha256"]


def weights(record: Record) -> list[str]:
    """SHA-256 of all weights that a result says it is of; empty where it does not say."""
    if "models" in record:
        return sorted(set(record["models"].values()))
    checksum = record.get("model", {}).get("sha256") or record.get("model_sha256")
    return [checksum] if checksum else []


def is_of_shipped(name: str, record: Record, shipped: str) -> bool:
    """Whether a result is of the shipped weights, or of none, and says so."""
    return not MEASUREMENTS[name].has_model or weights(record) == [shipped]


def provenance(name: str, record: Record, shipped: str) -> str:
    """How and when a result was measured and with which weights, with a mark where these are not the shipped ones."""
    measurement = MEASUREMENTS[name]
    checksums = ", ".join(f"`{checksum[:12]}`" for checksum in weights(record))
    commands = "\n".join(measurement.commands)
    lines = [f"```sh\n{commands}\n```", "", f"`{name}.json`, {record.get('date', measurement.date)}"]
    recorded = record.get("command")
    if recorded and recorded not in measurement.commands:
        lines[-1] += f", written by `{recorded}`"
    if not measurement.has_model:
        return "\n".join([lines[0], "", f"{lines[-1]}; no weights of a generator have a part in it."])
    training = f" It is a training of its own, `{measurement.training}`." if measurement.training else ""
    if is_of_shipped(name, record, shipped):
        lines[-1] += f", with the shipped weights {checksums}."
    elif checksums:
        lines[-1] += "."
        lines += ["", f"> **Measured with other weights than those shipped** ({checksums}).{training}"]
    else:
        lines[-1] += "."
        lines += ["", f"> **Which weights this was measured with is not recorded.**{training}"]
    return "\n".join(lines)
