"""Checkpoints: what is saved comes back, and a half-written one never takes the place of a good one."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from crystalgraph.errors import InputError
from crystalgraph.training.checkpoint import (
    load_checkpoint,
    module_tensors,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)


def trained(seed: int, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for _ in range(steps):
        step(module, optimizer)
    return module, optimizer


def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def test_restored_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    module, optimizer = trained(0, 5)
    tensors = module_tensors("net", module) | optimizer_tensors("opt", optimizer)
    save_checkpoint(tmp_path / "c.safetensors", tensors, {"step": 5, "note": "ü"})
    other, other_optimizer = trained(1, 0)
    loaded, record = load_checkpoint(tmp_path / "c.safetensors")
    restore_module("net", other, loaded)
    restore_optimizer("opt", other_optimizer, loaded)
    assert record == {"step": 5, "note": "ü"}
    for _ in range(3):
        step(module, optimizer)
        step(other, other_optimizer)
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {"step": 1})

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"a": torch.zeros(2)}, {"step": 2})
    tensors, record = load_checkpoint(path)
    assert record == {"step": 1}
    assert tensors["a"].tolist() == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_programs_can_read_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", {"a": torch.arange(3)}, {"step": 1, "log": [{"loss": float("nan")}]})
    with safe_open(tmp_path / "c.safetensors", framework="np") as file:
        assert file.get_tensor("a").tolist() == [0, 1, 2]


def test_no_byte_of_a_checkpoint_can_be_changed_added_or_lost(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.rand(2, 3), "b": torch.arange(2)}, {"step": 1, "text": "0" * 64})
    whole = path.read_bytes()
    changed = [whole[:k] + bytes([whole[k] ^ 1 << k % 8]) + whole[k + 1 :] for k in range(len(whole))]
    for data in (*changed, *(whole[:k] for k in range(0, len(whole), 7)), whole + b"\0", whole.upper()):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"is damaged \(.*\); put a copy .* or remove it"):
            load_checkpoint(path)
    path.write_bytes(whole)
    assert load_checkpoint(path)[1]["step"] == 1


def test_a_checkpoint_without_a_checksum_is_not_believed(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "c.safetensors", metadata={"record": "{}"})
    with pytest.raises(InputError, match="it has no checksum"):
        load_checkpoint(tmp_path / "c.safetensors")
