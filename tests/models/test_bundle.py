"""Models on disk: what is written is read back, and damaged or foreign files are refused in one line."""

import json
from pathlib import Path

import pytest
import torch

from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model, save_model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.symmetry.extract import extract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    generator, discriminator, prior = {"width": 16, "n_stages": 1}, {"width": 16}, {"width": 8}
    found = extract(load_dataset("corpus").crystals[:5])
    pool = found.templates
    model = Model(
        name="tiny",
        generator=Generator(**generator),
        discriminator=Discriminator(**discriminator),
        prior=TemplatePrior(**prior),
        pool=pool,
        library=PrototypeLibrary(found.parametrised),
        record={"generator": generator, "discriminator": discriminator, "prior": prior},
        checksum="",
    )
    save_model(model, tmp_path / "tiny")
    return tmp_path / "tiny"


def test_round_trip(folder: Path) -> None:
    first, second = load_model(folder), load_model(str(folder))
    for a, b in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.prior.log_weights(first.pool), second.prior.log_weights(second.pool))
    assert torch.equal(
        first.library.substitution_likelihood(first.pool), second.library.substitution_likelihood(second.pool)
    )
    assert second.library.parametrised.templates.names() == first.library.parametrised.templates.names() != []
    assert torch.equal(second.library.parametrised.u, first.library.parametrised.u)
    assert first.pool.names() == extract(load_dataset("corpus").crystals[:5]).templates.names()
    crystals = load_dataset("corpus").crystals[:5]
    groups = torch.ones(5, dtype=torch.long)
    assert torch.equal(first.score(crystals, groups), second.score(crystals, groups))


def test_unusable_cells_get_no_score(folder: Path) -> None:
    crystals = load_dataset("corpus").crystals[:3]
    flat = crystals.replace(lattice=crystals.lattice * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1))
    scores = load_model(folder).score(flat, torch.ones(3, dtype=torch.long))
    assert scores.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "no record", "other format", "missing"])
def test_damaged_or_foreign_files_are_refused(folder: Path, damage: str) -> None:
    weights, record = folder / "model.safetensors", folder / "model.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "foreign":
        weights.write_bytes(b"PK\x03\x04 a pickle of somebody else")
    elif damage == "no record":
        record.unlink()
    elif damage == "other format":
        record.write_text(json.dumps({"format": 99}))
    else:
        folder = folder / "nothing"
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
