"""Cells larger than a model learned from come from its own dataset, under its own split."""

from collections import Counter
from dataclasses import replace

import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model
from crystalgraph.runs.larger_cells import with_larger_cells
from crystalgraph.training.config import DataConfig

pytestmark = pytest.mark.slow

LARGEST, SYSTEM = 6, "Ti-O"
"""What the model of these tests seems to have learned from: cells of so many atoms, none of this system."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path / "cache"))


def model(**data):
    """The shipped model, as if it had learned from small oxides of niobium alone."""
    shipped = load_model("nbo")
    config = shipped.record["config"] | {
        "data": DataConfig(dataset="nbo", system=SYSTEM, max_atoms=LARGEST, **data).model_dump()
    }
    card = load_dataset("nbo").source.card
    return replace(shipped, record=shipped.record | {"config": config, "dataset": {"sha256": card["sha256"]}})


def cells(extended):
    """How many crystals of the library have so many atoms in their primitive cells."""
    return Counter(extended.library.parametrised.templates.num_atoms.tolist())


def test_a_model_of_large_enough_cells_is_taken_as_it_is():
    small = model()
    assert with_larger_cells(small, LARGEST) is small


def test_larger_cells_come_on_top():
    small = model(holdout=0.0)
    extended = with_larger_cells(small, 52)
    assert len(extended.pool) > len(small.pool)
    assert cells(small) <= cells(extended)
    assert min(cells(extended) - cells(small)) > LARGEST
    assert extended.checksum == small.checksum
    again = with_larger_cells(small, 52)
    assert again.pool.names() == extended.pool.names()


def test_what_the_training_left_out_stays_out():
    """All prototypes are held out, or all crystals are of the system."""
    for data in ({"holdout": 1 - 1e-9}, {"holdout_systems": ("Nb-O",)}):
        small = model(**data)
        assert cells(with_larger_cells(small, 52)) == cells(small)


def test_another_version_of_the_dataset_is_refused():
    small = model()
    small.record["dataset"] = {"sha256": "0" * 64}
    with pytest.raises(InputError, match=r"learned from another version of 'nbo'.*ask for at most 6 atoms"):
        with_larger_cells(small, 52)
