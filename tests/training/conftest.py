"""A few hundred real crystals to train on in seconds."""

from dataclasses import replace

import pytest
import torch

from crystalgraph.io.datasets import Dataset, load_dataset
from crystalgraph.training.config import DataConfig
from crystalgraph.training.corpus import Corpus, prepare


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """Every eightieth crystal of the corpus, and all its niobium oxides."""
    dataset = load_dataset("corpus")
    chosen = torch.zeros(len(dataset), dtype=torch.bool)
    chosen[::80] = True
    chosen |= torch.from_numpy(dataset.columns["chemsys"] == "Nb-O")
    columns = {name: values[chosen.numpy()] for name, values in dataset.columns.items()}
    return replace(dataset, crystals=dataset.crystals[chosen], columns=columns)


@pytest.fixture(scope="session")
def small_corpus(small_dataset: Dataset) -> Corpus:
    return prepare(small_dataset, DataConfig(system="Nb-O", max_atoms=20, max_sites=8))
