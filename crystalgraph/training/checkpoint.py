"""Checkpoints that survive a kill: safetensors written beside the old one and then put in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_checkpoint(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors and a JSON record in one file, atomically."""
    temporary = path.with_name(path.name + ".part")
    save_file(
        {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()},
        temporary,
        metadata={"record": json.dumps(record)},
    )
    temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote."""
    with safe_open(path, framework="pt") as file:
        record = json.loads((file.metadata() or {}).get("record", "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118 - not a mapping


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
