"""Models on disk: what is written is read back, and damaged or foreign files are refused in one line."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import Model, load_model, save_model
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.symmetry.extract import extract


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    """A model to damage."""
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, folder)
    return folder


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


def changed(folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
    """A model whose files fit each other, but were not made by us."""
    record, tensors = json.loads((folder / "model.json").read_text()), load_file(folder / "model.safetensors")
    change(record, tensors)
    save_file(tensors, folder / "model.safetensors")
    checksum = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(record | {"sha256": checksum}))
    return folder


@pytest.mark.parametrize(
    ("network", "name", "value"),
    [
        ("generator", "width", 10**9),
        ("generator", "width", -1),
        ("generator", "width", True),
        ("generator", "n_stages", 10**9),
        ("generator", "n_stages", 1.5),
        ("discriminator", "width", 1025),
        ("discriminator", "cutoff", 1e9),
        ("discriminator", "cutoff", float("nan")),
        ("discriminator", "max_neighbors", 10**12),
        ("prior", "width", [8]),
        ("prior", "device", "meta"),
    ],
)
def test_what_a_record_asks_for_is_bounded(folder: Path, network: str, name: str, value: object) -> None:
    changed(folder, lambda record, _: record[network].update({name: value}))
    with pytest.raises(InputError, match=rf"does not fit this version .*: .*{name}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("tensor", "place", "value", "fault"),
    [
        ("pool.space_group_number", 0, 0, "space groups outside 1 to 230"),
        ("pool.space_group_number", 0, 231, "space groups outside 1 to 230"),
        ("pool.atomic_numbers", 0, 0, "elements outside 1"),
        ("memory.atomic_numbers", 0, 200, "elements outside 1"),
        ("memory.position", 0, -1, "Wyckoff positions outside 0 to 1730"),
        ("memory.position", 0, 30000, "Wyckoff positions outside 0 to 1730"),
        ("pool.position", 0, 1, "Wyckoff positions of other space groups"),
        ("pool.num_sites", 0, 255, "not as many sites as they say"),
        ("memory.u", 0, float("nan"), "u is not finite"),
        ("generator.place.0.weight", 0, float("inf"), "is not finite"),
    ],
)
def test_what_numbers_of_a_model_point_at_is_there(
    folder: Path, tensor: str, place: int, value: float, fault: str
) -> None:
    def spoil(_record: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        name = tensor if tensor in tensors else next(key for key in tensors if key.startswith("generator.stages"))
        tensors[name].view(-1)[place] = value

    with pytest.raises(InputError, match=fault):
        load_model(changed(folder, spoil))


@pytest.mark.parametrize("tensor", ["memory.u", "memory.shape", "pool.position"])
def test_a_model_with_too_few_numbers_is_refused(folder: Path, tensor: str) -> None:
    changed(folder, lambda _, tensors: tensors.update({tensor: tensors[tensor][:-1].clone()}))
    with pytest.raises(InputError, match="not as many"):
        load_model(folder)


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
