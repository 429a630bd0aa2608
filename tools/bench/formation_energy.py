"""Predict formation energies of oxides with twenty lines of PyG, and with matminer's features and a random forest.

    python -m tools.bench formation_energy --out tools/results/formation_energy.json

Both learn from the same crystals of the corpus (oxides of the Materials Project, at most 20 atoms); a fifth of the
formulas is held out, so that no formula is on both sides. Takes about five minutes on a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import CGConv, global_mean_pool
from torch_geometric.nn.models.schnet import GaussianSmearing

from crystalgraph.chemistry.features import magpie_features
from crystalgraph.chemistry.system import Formula
from crystalgraph.graphs.dataset import CrystalGraphDataset
from crystalgraph.io.datasets import load_dataset
from tools.bench.record import command_line, record_head, write_result
from tools.bench.tables import formation_energy as table

OXYGEN = 8


class Net(torch.nn.Module):
    """Three crystal-graph convolutions and a mean over the atoms."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.element = torch.nn.Embedding(119, width)
        self.basis = GaussianSmearing(0.0, 5.0, 32)
        self.layers = torch.nn.ModuleList(CGConv(width, 32, batch_norm=True) for _ in range(3))
        self.head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.SiLU(), torch.nn.Linear(width, 1))

    def forward(self, data: Data) -> torch.Tensor:
        """Formation energy of each crystal, (n, 1), eV/atom."""
        (j, i), cell = data.edge_index, data.cell[data.batch]
        vectors = data.pos[j] - data.pos[i] + torch.einsum("nk,nkl->nl", data.edge_shift.float(), cell[i])
        h, edges = self.element(data.z), self.basis(vectors.norm(dim=1))
        for layer in self.layers:
            h = layer(h, data.edge_index, edges)
        return self.head(global_mean_pool(h, data.batch))


def train(training: list[Data], test: list[Data], epochs: int) -> float:
    """Train, and return the mean absolute error on the test set, eV/atom."""
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, epochs=epochs, steps_per_epoch=-(-len(training) // 64)
    )
    for epoch in range(epochs):
        errors = []
        for batch in DataLoader(training, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = (net(batch) - batch.y).abs().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            errors.append(loss.item())
        print(f"epoch {epoch + 1} of {epochs}: training error {np.mean(errors):.3f} eV/atom", flush=True)
    net.eval()
    with torch.no_grad():
        apart = [(net(batch) - batch.y).abs() for batch in DataLoader(test, batch_size=256)]
    return torch.cat(apart).mean().item()


def main(arguments: Sequence[str]) -> None:
    """Train both and write their errors."""
    parser = command_line("formation_energy", __doc__)
    parser.add_argument("--crystals", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    corpus = load_dataset("corpus")
    crystals, energy = corpus.crystals, corpus.columns["formation_energy_per_atom"]
    has_oxygen = torch.zeros(len(crystals), dtype=torch.bool)
    has_oxygen[crystals.batch[crystals.atomic_numbers == OXYGEN]] = True
    fits = (
        (corpus.columns["source"] == "materials-project")
        & np.isfinite(energy)
        & has_oxygen.numpy()
        & (crystals.num_atoms <= 20).numpy()
    )
    chosen = rng.permutation(np.flatnonzero(fits))[: options.crystals]
    formulas = corpus.columns["formula"][chosen]
    held_out = np.isin(formulas, rng.permutation(np.unique(formulas))[: len(np.unique(formulas)) // 5])
    target = energy[chosen]

    graphs = CrystalGraphDataset(
        crystals[chosen.tolist()], cutoff=5.0, max_neighbors=12, targets={"e_form": target.tolist()}
    )
    parts = [[graphs[int(k)] for k in np.flatnonzero(side)] for side in (~held_out, held_out)]
    network = train(parts[0], parts[1], options.epochs)

    features = magpie_features([Formula.parse(formula) for formula in formulas])
    forest = RandomForestRegressor(300, n_jobs=1, random_state=options.seed).fit(features[~held_out], target[~held_out])
    errors = {
        "mean of the training set": np.abs(target[held_out] - target[~held_out].mean()).mean(),
        "matminer features, random forest": np.abs(forest.predict(features[held_out]) - target[held_out]).mean(),
        "graph network": network,
    }
    record = record_head("formation_energy", arguments) | {
        "training": int((~held_out).sum()),
        "test": int(held_out.sum()),
        "seed": options.seed,
        "mean_absolute_error": {name: float(error) for name, error in errors.items()},
    }
    write_result(options.out, record)
    print(table(record))
