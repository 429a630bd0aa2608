"""A few hundred real crystals to train on in seconds."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pymatgen.core import Structure

from crystalgraph.config import DataConfig
from crystalgraph.geometry.lattice import code_from_lattice
from crystalgraph.io.datasets import Dataset, load_dataset
from crystalgraph.io.structures import from_structures
from crystalgraph.symmetry.extract import extract
from crystalgraph.training.corpus import Corpus, TemplateSet, prepare


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
    return prepare(small_dataset, DataConfig(system="Nb-O", max_sites=8))


@pytest.fixture(scope="session")
def as_template_set() -> Callable[..., TemplateSet]:
    """Makes a template set of structures."""

    def made(*structures: Structure) -> TemplateSet:
        found = extract(from_structures(structures))
        log_volume, shape = code_from_lattice(found.lattice)
        names = [f"case-{i}" for i in range(len(structures))]
        return TemplateSet(
            templates=found.templates,
            log_volume=log_volume,
            shape=shape,
            u=found.u,
            prototypes=found.templates.prototypes(),
            ids=names,
        )

    return made
