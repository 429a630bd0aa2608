"""The last phase: a discriminator learns the energy above the hull, forces and stress of the model's own crystals.

It is a new and wider one than that of the adversarial phase, for it need not be fast enough to train against. Its score
is the energy above the hull before relaxation, of which it has learned examples in other systems, with the sign turned.
The generator stays as it is.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.energy_model import learned_energy
from crystalgraph.models.generator import Generator
from crystalgraph.training.batches import step_rng
from crystalgraph.training.checkpoint import module_tensors, optimizer_tensors, restore_module, restore_optimizer
from crystalgraph.training.config import EnergiesConfig
from crystalgraph.training.descent import descend
from crystalgraph.training.labels import Labelled, Labels
from crystalgraph.training.threads import Threads

#: eV/atom; what lies outside is as good or as bad as the end.
RANGE = -0.3, 2.0

#: eV/atom and eV/Å, from where an error counts by its size and not by its square.
LARGE_ERROR = 0.2

#: How much errors of each kind weigh.
WEIGHT = {"energy": 1.0, "force": 3.0, "strain": 1.0}


def robust(error: Tensor) -> Tensor:
    """Mean Huber loss of errors, in units of a large one; 0 where there are none."""
    if error.numel() == 0:
        return error.sum()
    return huber_loss(error, torch.zeros_like(error), delta=LARGE_ERROR) / LARGE_ERROR


class Energies:
    """Train a discriminator on labelled crystals; ``scorer`` is the result.

    Args:
        labels: the finished phase before; what it holds is kept in the checkpoints.
        discriminator: trained in place.
        config: steps, rates.
        seed: of the run.
        threads: parts of a batch that are worked out at the same time, see ``Threads``.
        round_number: how often this was done before, from 0; each draws its own batches.
    """

    name = "energies"

    def __init__(
        self,
        labels: Labels,
        discriminator: Discriminator,
        config: EnergiesConfig,
        seed: int,
        threads: int = 1,
        round_number: int = 0,
    ) -> None:
        self.labels, self.discriminator, self.scorer = labels, discriminator, copy.deepcopy(discriminator)
        self.config, self.seed, self.steps = config, seed, config.steps
        self.optimizer = torch.optim.AdamW(discriminator.parameters(), betas=(0.9, 0.98), weight_decay=1e-3)
        self._threads, self._round = Threads(threads), round_number
        self._data: Labelled | None = None

    @property
    def average(self) -> Generator:
        """The generator, as it was."""
        return self.labels.model.generator

    @property
    def data(self) -> Labelled:
        """The labelled crystals whose cells can be searched for neighbours, float32."""
        if self._data is None:
            labelled = self.labels.labelled
            crystals = labelled.crystals.to(dtype=torch.float32)
            cells = crystals.lattice, crystals.frac_coords, crystals.num_atoms
            self._data = Labelled(
                crystals=crystals,
                space_group_number=labelled.space_group_number,
                e_above_hull=labelled.e_above_hull.float(),
                forces=labelled.forces.float(),
                stress=labelled.stress.float(),
            )[searchable_cells(*cells, self.discriminator.cutoff).nonzero().flatten()]
        return self._data

    def step(self, step: int) -> dict[str, float]:
        """Take one step and return what to log."""
        parameters = list(self.discriminator.parameters())

        def part(_number: int, index: Tensor) -> tuple[dict[str, float], tuple[Tensor, ...]]:
            some = self.data[index].to(self.discriminator.radii.device)
            graph = self.discriminator.graph(some.crystals)
            learned = learned_energy(self.discriminator, graph, some.space_group_number, create_graph=True)
            inside = (some.e_above_hull > RANGE[0]) & (some.e_above_hull < RANGE[1])
            volume, num_atoms = some.crystals.volume, some.crystals.num_atoms
            errors = {
                "energy": learned.e_above_hull - some.e_above_hull.clamp(*RANGE),
                "force": (learned.forces - some.forces)[inside[some.crystals.batch]],
                "strain": (learned.strain_energy - (volume / num_atoms)[:, None, None] * some.stress)[inside],
            }
            loss = torch.stack([WEIGHT[name] * robust(error) for name, error in errors.items()]).sum()
            values = {name: error.abs().mean().item() for name, error in errors.items()}
            return values, torch.autograd.grad(loss, parameters)

        index = torch.randint(
            len(self.data), (self.config.batch_size,), generator=step_rng(self.seed, 32, step, self._round)
        )
        values, gradients = self._threads.gradients(part, index)
        return values | descend(self.discriminator, self.scorer, gradients, [self.optimizer], self.config, step)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resumed run needs."""
        return (
            self.labels.tensors()
            | module_tensors("discriminator", self.discriminator)
            | module_tensors("scorer", self.scorer)
            | optimizer_tensors("optimizer", self.optimizer)
        )

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        self.labels.restore(tensors)
        restore_module("discriminator", self.discriminator, tensors)
        restore_module("scorer", self.scorer, tensors)
        restore_optimizer("optimizer", self.optimizer, tensors)
