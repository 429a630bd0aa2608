"""Checkpoints that survive a kill, and are believed only if every byte is as it was written."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_bytes

_LENGTH = 8  # bytes that say how long the header of a safetensors file is
_OPEN = b"0" * 64
_SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save_checkpoint(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors and a JSON record in one safetensors file, atomically.

    Its metadata holds the checksum of the whole file with zeros in the checksum's place.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = save(copies, metadata={"record": json.dumps(record), "sha256": _OPEN.decode()})
    seal = _seal(data)
    write_bytes(path, data[: seal[0]] + hashlib.sha256(data).hexdigest().encode() + data[seal[1] :])


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        InputError: if a byte of it is not as it was written.
    """
    data = path.read_bytes()
    try:
        start, end = _seal(data)
        if hashlib.sha256(data[:start] + _OPEN + data[end:]).hexdigest().encode() != data[start:end]:
            raise ValueError("its checksum does not fit its content")
        header = json.loads(data[_LENGTH : _header_end(data)])
        return load(data), json.loads(header["__metadata__"]["record"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); put a copy of it in its place, or remove it to begin the training anew with "
            "--resume"
        ) from None


def _seal(data: bytes) -> tuple[int, int]:
    """Where the checksum stands, as far as the header goes."""
    found = _SEAL.search(data, _LENGTH, _header_end(data))
    if found is None:
        raise ValueError("it has no checksum")
    return found.span(1)


def _header_end(data: bytes) -> int:
    return min(_LENGTH + int.from_bytes(data[:_LENGTH], "little"), len(data))


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, names prefixed."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def restore_module(prefix: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Undo ``module_tensors``."""
    start = prefix + "."
    module.load_state_dict({name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)})


def optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counts of an optimiser, names prefixed."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, moments in state.items()
        for name, value in moments.items()
    }


def restore_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo ``optimizer_tensors``; groups and their settings stay those of ``optimizer``."""
    state: dict[int, dict[str, Tensor]] = {}
    start = prefix + "."
    for name, tensor in tensors.items():
        if name.startswith(start):
            index, moment = name[len(start) :].split(".", 1)
            state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
