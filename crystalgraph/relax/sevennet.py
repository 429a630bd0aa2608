"""SevenNet as a calculator: crystal by crystal on a CPU, and those of many threads together on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import e3nn
import sevenn._keys as keys
import sevenn.checkpoint
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from sevenn.atom_graph_data import AtomGraphData
from sevenn.calculator import SevenNetCalculator
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch_geometric.data import Batch

from crystalgraph.relax.atoms import quiet
from crystalgraph.relax.interaction import pack
from crystalgraph.relax.together import Together

_MOST_ATOMS = 1024  # evaluated together; memory grows with them

_VOIGT = [0, 1, 2, 4, 5, 3]  # xx, yy, zz, yz, xz, xy, of what SevenNet keeps as xx, yy, zz, xy, yz, zx

_SHARED = dict[tuple[Path, str], "_SharedModel"]()
_LOADING = threading.Lock()


def make(file: Path, read: Callable[[], Any], device: str) -> SevenNet | SharedSevenNet:
    """A calculator with packed convolutions, whose ``type_map`` has the atomic numbers that it knows.

    Args:
        file: of the weights.
        read: gives what the file holds; SevenNet would unpickle it.
        device: "cpu" makes a model; on any other one the calculators of this process share one.
    """
    if device == "cpu":
        return _load(file, read, device)
    with _LOADING:
        if (file, device) not in _SHARED:
            _SHARED[file, device] = _SharedModel(_load(file, read, device))
    return SharedSevenNet(_SHARED[file, device])


def _load(file: Path, read: Callable[[], Any], device: str) -> SevenNet:
    usual = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(optimize_einsums=False)  # half of the time, for products that `pack` replaces
    try:
        with patch.object(sevenn.checkpoint, "torch_load", lambda *_, **__: read()), quiet():
            calculator = SevenNet(model=file, device="cpu")
    finally:
        e3nn.set_optimization_defaults(**usual)
    pack(calculator.model.requires_grad_(False))
    calculator.model.to(device)
    return calculator


def _graph(atoms: Atoms, cutoff: float) -> AtomGraphData:
    return AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff, with_shift=False))


def _with_energy(model: Any, data: AtomGraphData) -> AtomGraphData:
    """A crystal, or several, with the energy, which takes a third of the time of all derivatives."""
    with torch.no_grad():
        data = model._preprocess(data)
        for name, module in model.named_children():
            data = data if name == "force_output" else module(data)
    return data


class SevenNet(SevenNetCalculator):
    """SevenNet without derivatives where only the energy is asked for."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """As ASE has it."""
        if properties != ["energy"]:
            super().calculate(atoms, properties, system_changes)
            return
        Calculator.calculate(self, atoms, properties, system_changes)
        data = _with_energy(self.model, _graph(atoms, self.cutoff))
        self.results = {"energy": float(data[keys.PRED_TOTAL_ENERGY])}


class _SharedModel:
    """A model on a device, and the crystals of all threads that it is asked for."""

    def __init__(self, calculator: SevenNet) -> None:
        self.model, self.cutoff, self.type_map = calculator.model, calculator.cutoff, calculator.type_map
        self.model.set_is_batch_data(True)
        self._device = next(self.model.parameters()).device
        self.energies = Together(self._energies, _size, _MOST_ATOMS)
        self.derivatives = Together(self._derivatives, _size, _MOST_ATOMS)

    def _batch(self, graphs: Sequence[AtomGraphData]) -> Any:
        return Batch.from_data_list(list(graphs)).to(self._device)

    def _energies(self, graphs: Sequence[AtomGraphData]) -> list[dict[str, Any]]:
        data = _with_energy(self.model, self._batch(graphs))
        return [{"energy": energy} for energy in data[keys.PRED_TOTAL_ENERGY].tolist()]

    def _derivatives(self, graphs: Sequence[AtomGraphData]) -> list[dict[str, Any]]:
        data = self.model(self._batch(graphs))
        energies, forces, stresses = (
            data[name].detach().cpu() for name in (keys.PRED_TOTAL_ENERGY, keys.PRED_FORCE, keys.PRED_STRESS)
        )
        of_crystals = forces.split([_size(graph) for graph in graphs])
        return [
            {"energy": float(energy), "forces": force.numpy(), "stress": -stress.numpy()[_VOIGT]}
            for energy, force, stress in zip(energies, of_crystals, stresses, strict=True)
        ]


def _size(graph: AtomGraphData) -> int:
    return int(graph[keys.NUM_ATOMS])


class SharedSevenNet(Calculator):
    """A SevenNet that threads share; each has a calculator of this kind."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  # as ASE has it

    def __init__(self, shared: _SharedModel) -> None:
        super().__init__()
        self._shared, self.type_map = shared, shared.type_map

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """As ASE has it."""
        super().calculate(atoms, properties, system_changes)
        asked = self._shared.energies if properties == ["energy"] else self._shared.derivatives
        self.results = dict(asked.answer(_graph(atoms, self._shared.cutoff)))
