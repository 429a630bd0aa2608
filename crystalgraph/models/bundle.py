"""A trained model as a folder of two files: weights and template pool as safetensors, and a JSON record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from crystalgraph.crystals.batch import Crystals
from crystalgraph.errors import InputError
from crystalgraph.geometry.neighbors import searchable_cells
from crystalgraph.io.atomic import write_bytes, write_json
from crystalgraph.models.discriminator import Discriminator
from crystalgraph.models.generator import Generator
from crystalgraph.models.limits import build_network, check_parameters, check_templates
from crystalgraph.models.prior import TemplatePrior
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.symmetry.template import Templates

WEIGHTS_FILE, RECORD_FILE = "model.safetensors", "model.json"

#: Crystals scored at a time: their edges fit a processor's cache.
SCORED_TOGETHER = 64

#: Raised when the meaning of the files changes.
FORMAT = 3


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything that generation needs.

    Attributes:
        name: of the model.
        generator: fills templates.
        discriminator: scores crystals; higher is lower in energy, a unit for each 0.1 eV/atom (with a model trained
            without energies: more like real crystals).
        prior: weighs templates; stays on the CPU.
        pool: templates of the training crystals, as they are and with species merged, each protostructure once.
        library: the training crystals by their protostructure.
        record: how it was made: config, seed, versions, data checksum, figures.
        checksum: SHA-256 of the weights file.
    """

    name: str
    generator: Generator
    discriminator: Discriminator
    prior: TemplatePrior
    pool: Templates
    library: PrototypeLibrary
    record: dict[str, Any]
    checksum: str

    @property
    def knows_energies(self) -> bool:
        """Whether the discriminator has learned energies, and whose is in the record."""
        return "calculator" in self.record

    def to(self, device: torch.device | str) -> Model:
        """Move what works on crystals; returns this model."""
        self.generator.to(device)
        self.discriminator.to(device)
        return self

    @torch.no_grad()
    def score(self, crystals: Crystals, space_group_number: Tensor) -> Tensor:
        """Discriminator score of each crystal, (n,), higher is better; NaN where the cell cannot be searched."""
        if len(crystals) == 0:
            return torch.zeros(0)
        device = self.discriminator.radii.device
        placed, groups = crystals.to(device=device, dtype=torch.float32), space_group_number.to(device)
        fine = searchable_cells(placed.lattice, placed.frac_coords, placed.num_atoms, self.discriminator.cutoff)
        scores = torch.full((len(crystals),), torch.nan, device=device)
        for chunk in fine.nonzero().flatten().split(SCORED_TOGETHER):
            scores[chunk] = self.discriminator(self.discriminator.graph(placed[chunk]), groups[chunk])
        return scores.cpu()


def model_names() -> list[str]:
    """Names of the models that travel with the package."""
    root = files("crystalgraph") / "weights"
    return sorted(entry.name for entry in root.iterdir() if (entry / RECORD_FILE).is_file()) if root.is_dir() else []


def save_model(model: Model, folder: Path) -> None:
    """Write the two files into a folder, each atomically."""
    tensors = {f"generator.{k}": v for k, v in model.generator.state_dict().items()}
    tensors |= {f"discriminator.{k}": v for k, v in model.discriminator.state_dict().items()}
    tensors |= {f"prior.{k}": v for k, v in model.prior.state_dict().items()}
    prototypes = model.library.parametrised
    tensors |= _packed("pool.", model.pool) | _packed("memory.", prototypes.templates)
    tensors |= {
        "memory.log_volume": prototypes.log_volume.float(),
        "memory.shape": prototypes.shape.float(),
        "memory.u": prototypes.u.half(),  # rounded by less than 0.01 Å
    }
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS_FILE, data)
    write_json(folder / RECORD_FILE, model.record | {"format": FORMAT, "sha256": hashlib.sha256(data).hexdigest()})


def load_model(name_or_path: str | Path) -> Model:
    """Load a model by name or folder.

    Raises:
        InputError: if there is no such model, or its files are damaged or foreign.
    """
    packaged = files("crystalgraph") / "weights" / str(name_or_path)
    folder = Path(str(packaged)) if str(name_or_path) in model_names() else Path(name_or_path)
    if not folder.is_dir():
        raise InputError(
            f"no model {str(name_or_path)!r}: give one of {', '.join(model_names()) or 'none shipped'}, or the folder"
            f" of a model (with {WEIGHTS_FILE} and {RECORD_FILE}) made by cg-train"
        )
    try:
        record = json.loads((folder / RECORD_FILE).read_text())
        data = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"model folder {folder} is not readable ({error}); train it again with cg-train") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(
            f"{folder / RECORD_FILE} is not a crystalgraph model of format {FORMAT}; use cg-train to make one"
        )
    checksum = hashlib.sha256(data).hexdigest()
    if checksum != record.get("sha256"):
        raise InputError(
            f"{folder / WEIGHTS_FILE} is truncated or changed: its checksum is not the recorded one; copy it again"
        )
    try:
        return _assemble(folder.name, load(data), record, checksum)
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / WEIGHTS_FILE} does not fit this version of crystalgraph: {error}") from None


def _assemble(name: str, tensors: dict[str, Tensor], record: dict[str, Any], checksum: str) -> Model:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    generator: Generator = build_network(Generator, record["generator"], part("generator."))
    discriminator: Discriminator = build_network(Discriminator, record["discriminator"], part("discriminator."))
    prior: TemplatePrior = build_network(TemplatePrior, record["prior"], part("prior."))
    stored, pool = part("memory."), _unpacked(part("pool."))
    prototypes = ParametrisedTemplates(
        templates=_unpacked(stored), log_volume=stored["log_volume"], shape=stored["shape"], u=stored["u"]
    )
    check_templates(pool)
    check_parameters(prototypes)
    return Model(
        name=name,
        generator=generator.eval(),
        discriminator=discriminator.eval(),
        prior=prior.eval(),
        pool=pool,
        library=PrototypeLibrary(prototypes),
        record=record,
        checksum=checksum,
    )


#: Bytes are enough for all but the rows of the Wyckoff table.
_PACKED = {
    "space_group_number": torch.uint8,
    "num_sites": torch.uint8,
    "position": torch.int16,
    "atomic_numbers": torch.uint8,
}


def _packed(prefix: str, templates: Templates) -> dict[str, Tensor]:
    return {prefix + name: getattr(templates, name).to(dtype) for name, dtype in _PACKED.items()}


def _unpacked(tensors: dict[str, Tensor]) -> Templates:
    return Templates(**{name: tensors[name].long() for name in _PACKED})
