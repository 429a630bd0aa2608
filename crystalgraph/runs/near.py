"""Search around a given crystal: its template, what is near it in symmetry, and its orbits exchanged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import Formula
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.space_groups import space_groups
from crystalgraph.errors import InputError
from crystalgraph.io.load import CrystalSource, load
from crystalgraph.models.bundle import Model
from crystalgraph.models.prototypes import PrototypeLibrary
from crystalgraph.screening.constraints import larger_cells
from crystalgraph.symmetry.children import children
from crystalgraph.symmetry.distort import distorted
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.pool import template_pool

if TYPE_CHECKING:
    from pymatgen.core import Structure

NEAR_CAVEAT = (
    "Searched around a given crystal: that crystal, and known phases near it, were given and do not count as found."
)
"""What a reader of the results must know."""


def given_crystal(source: CrystalSource) -> Structure:
    """The one crystal that a source holds.

    Raises:
        InputError: if it holds none, or several.
    """
    table = load(source)
    if len(table) != 1 or table.failures:
        why = "".join(f" ({name}: {reason})" for name, reason in list(table.failures.items())[:1])
        raise InputError(
            f"{table.source.name!r} holds {len(table)} readable crystals{why}; a search around a crystal needs one"
        )
    (structure,) = table.structures
    return structure


def formula_of(structure: Structure) -> str:
    """Its reduced formula, as a request takes it."""
    return str(Formula.from_atomic_numbers(structure.atomic_numbers))


def crystal_record(structure: Structure) -> dict[str, Any]:
    """The crystal in JSON's types: formula, space group, and the checksum of cell and atoms."""
    cell = [structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)]
    return {
        "formula": structure.composition.formula,
        "space_group": space_groups([structure])[0],
        "sha256": hashlib.sha256(json.dumps(cell).encode()).hexdigest(),
    }


def model_around(model: Model, structure: Structure, max_atoms: int, seed: int) -> Model:
    """A model that knows one crystal and what is near it, and no other templates.

    Its templates are the crystal's own, those with its small distortions undone, those of subgroups in its own cell and
    in doubled ones, and those with two orbits exchanged; elements are put on them as on any. Its library, of which
    `Sampler.prototypes` takes known crystals, has the crystal and these.

    Args:
        model: whose networks fill and score.
        structure: the crystal.
        max_atoms: most atoms in a primitive cell.
        seed: of the distortions.

    Raises:
        InputError: if the crystal's symmetry cannot be found, or its primitive cell has more atoms than that.
    """
    own = from_structures([structure])
    extraction = extract(own)
    if extraction.failures:
        raise InputError(f"nothing can be searched around this crystal: {next(iter(extraction.failures.values()))}")
    if (size := int(extraction.templates.num_atoms)) > max_atoms:
        raise InputError(
            f"the crystal has {size} atoms in its primitive cell, but at most {max_atoms} are allowed; "
            f"{larger_cells(size)}"
        )
    lower = distorted(structure, np.random.default_rng(seed), max_atoms)
    near = ParametrisedTemplates.concatenate(
        [extraction.parametrised, children(own), *([extract(from_structures(lower)).parametrised] if lower else [])]
    )
    near = near[(near.templates.num_atoms <= max_atoms).nonzero().flatten()]
    return replace(model, pool=template_pool(near), library=PrototypeLibrary(near))
