"""A few hundred real crystals to train on in seconds."""

import pytest
import torch

from crystalgraph.crystals.table import CrystalTable
from crystalgraph.io.datasets import load_dataset
from crystalgraph.training.config import DataConfig
from crystalgraph.training.corpus import Corpus, prepare


@pytest.fixture(scope="session")
def small_dataset() -> CrystalTable:
    """Every eightieth crystal of the corpus, and all its niobium oxides."""
    dataset = load_dataset("corpus")
    chosen = torch.zeros(len(dataset), dtype=torch.bool)
    chosen[::80] = True
    chosen |= torch.from_numpy(dataset.columns["chemsys"] == "Nb-O")
    return dataset[chosen]


@pytest.fixture(scope="session")
def small_corpus(small_dataset: CrystalTable) -> Corpus:
    return prepare(small_dataset, DataConfig(system="Nb-O", max_atoms=20, max_sites=8))
