"""Known phases and their energies: the hull that candidates are measured against.

The known phases of a system and of its subsystems are relaxed once, with the calculator that judges the candidates, and
kept in a folder under names made from all that the result depends on. Nb-O with CHGNet ships (``nbo.json``, made by
``tools/build_hull.py``).

Scale of the energies
    CHGNet was trained on Materials Project energies after the MP2020 corrections, so these are part of what it
    predicts, and nothing is added here. In eV per atom of the anion: oxide −0.687, peroxide −0.465, superoxide −0.161,
    S −0.503, F −0.462, Cl −0.614, Br −0.534, I −0.379, N −0.361, Se −0.472, Si 0.071, Sb −0.192, Te −0.422, H −0.179.
    In oxides and fluorides, in eV per atom of a metal computed with GGA+U: V −1.7, Cr −1.999, Mn −1.668, Fe −2.256,
    Co −1.638, Ni −2.541, W −4.438, Mo −3.202. Niobium and titanium have no such correction. Elements are not corrected.

References of the elements
    H, N, O, F, Cl, Br, I and the noble gases are molecules or atoms, which CHGNet has not learned. With CHGNet their
    energies are the Materials Project's (`ELEMENT_ENERGY`; O −4.948 eV/atom), and their crystals are not put on the
    hull. The same holds for the few elements that the corpus has no crystal of. Other elements, and every element with
    another calculator, are crystals of the datasets relaxed like all other phases.

Reference:
    A. Wang et al., Sci. Rep. 11, 15496 (2021) (MP2020 corrections).
    J. Riebesell et al., Nat. Mach. Intell. 7, 836 (2025) (Matbench Discovery, whose table of Materials Project
    elemental reference energies is used).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import COMPUTED, EXPERIMENTAL, CrystalTable
from crystalgraph.errors import InputError
from crystalgraph.io.cache import cache_folder
from crystalgraph.known.phases import known_phases
from crystalgraph.progress import Progress
from crystalgraph.relax.calculator import CHGNET
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key

if TYPE_CHECKING:
    from pymatgen.core import Structure

REFERENCE_SETTINGS = RelaxSettings(fmax=0.05, max_steps=500, max_seconds=3600.0)
"""How known phases are relaxed: further than candidates, so that the hull is not too high."""

_MOLECULES = {"H": -3.3927, "N": -8.3365, "O": -4.948, "F": -1.9115, "Cl": -1.8485, "Br": -1.6369, "I": -1.524}
_NOBLE_GASES = {"He": -0.0091, "Ne": -0.0259, "Ar": -0.0688, "Kr": -0.0567, "Xe": -0.0362}
_NO_CRYSTAL = {"Tc": -10.3606, "Pm": -4.7505, "Dy": -4.6068}

ELEMENT_ENERGY = _MOLECULES | _NOBLE_GASES | _NO_CRYSTAL
"""Materials Project energies of the elements that CHGNet has not learned or the corpus does not have, eV/atom."""

SHIPPED = Path(__file__).parent / "nbo.json"


def reference_hull(
    system: ChemicalSystem,
    known: CrystalTable | None = None,
    *,
    settings: RelaxSettings = REFERENCE_SETTINGS,
    workers: int | Workers = 1,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Hull:
    """The hull of a system's known phases.

    Args:
        system: the chemical system.
        known: its known phases; those outside the system are ignored, and elements that they lack are added from the
            datasets. None means `crystalgraph.known.phases.known_phases`.
        settings: how the known phases are relaxed; candidates have settings of their own, of the same calculator. With
            the default the Nb-O phases are not relaxed but taken from the shipped file.
        workers: as for `crystalgraph.relax.pool.relax_many`.
        cache: folder of finished relaxations, which several processes may share. None means the folder named by
            ``CRYSTALGRAPH_CACHE``, or else ``~/.cache/crystalgraph``.
        progress: called as phases are relaxed.

    Returns:
        The hull; ``left_out`` names the phases that could not be relaxed.

    Raises:
        InputError: if an element has no reference, the calculator cannot be made, or the cache cannot be written.
    """
    if settings.abort or settings.saddle_check:
        raise ValueError("known phases are relaxed without abort thresholds and saddle check: there is no hull yet")
    fixed = ELEMENT_ENERGY if settings.calculator == CHGNET else {}
    candidates = _with_elements(system, known)
    is_relaxed = [str(own) not in fixed for own in _systems(candidates)]
    relaxed = candidates[np.array(is_relaxed, dtype=bool)]
    energies, left_out = _energies(relaxed, settings, workers, cache, progress)
    phases = [
        Phase(
            name=name,
            formula=str(Formula.from_atomic_numbers(structure.atomic_numbers)),
            energy=energies[name],
            is_experimental={EXPERIMENTAL: True, COMPUTED: False}.get(relaxed.origin[k]),
            dft_e_form=relaxed.number("dft_formation_energy", k),
            dft_e_above_hull=relaxed.number("dft_e_above_hull", k),
            space_group_number=_space_group(relaxed, k),
        )
        for k, (name, structure) in enumerate(zip(relaxed.ids, relaxed.structures, strict=True))
        if name in energies
    ]
    phases += [
        Phase(
            name=f"{element} (Materials Project)",
            formula=element,
            energy=fixed[element],
            dft_e_form=0.0,
            dft_e_above_hull=0.0,
            note="DFT energy of the element in the Materials Project, not relaxed",
        )
        for element in system.elements
        if element in fixed
    ]
    return Hull(system, phases, left_out=left_out)


def _systems(table: CrystalTable) -> list[ChemicalSystem]:
    """The elements of each crystal."""
    atoms = table.crystals.atomic_numbers.split(table.crystals.num_atoms.tolist())
    return [Formula.from_atomic_numbers(numbers.tolist()).system for numbers in atoms]


def _space_group(table: CrystalTable, position: int) -> int | None:
    number = table.number("space_group_number", position)
    return None if number is None else int(number)


def _with_elements(system: ChemicalSystem, known: CrystalTable | None) -> CrystalTable:
    """The phases inside the system, and crystals of the elements that none of them is."""
    if known is None:
        return known_phases(system)
    inside = known.within(system)
    if len(set(inside.ids)) < len(inside):
        raise InputError("two known phases have the same name; give each its own")
    present = {own.elements[0] for own in _systems(inside) if len(own) == 1}
    missing = [known_phases(ChemicalSystem((element,))) for element in system.elements if element not in present]
    parts = [part for part in (inside, *missing) if len(part)]
    return CrystalTable.concatenate(parts) if parts else inside


def _energies(
    phases: CrystalTable,
    settings: RelaxSettings,
    workers: int | Workers,
    cache: Path | None,
    progress: Progress | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Energy of each phase that has one, eV/atom, and why the others have none, by id."""
    shipped = {row["key"]: row for row in read_shipped()["phases"]}
    energies: dict[str, float] = {}
    left_out: dict[str, str] = {}
    missing: dict[str, Structure] = {}
    for name, structure in zip(phases.ids, phases.structures, strict=True):
        row = shipped.get(relaxation_key(structure, settings))
        if row is None:
            missing[name] = structure
        elif row["energy"] is None:
            left_out[name] = row["reason"]
        else:
            energies[name] = row["energy"]
    if missing:
        folder = cache_folder("relaxations", cache)
        relaxations = relax_many(list(missing.values()), settings, workers=workers, folder=folder, progress=progress)
        for name, relaxation in zip(missing, relaxations, strict=True):
            if relaxation.usable:
                energies[name] = relaxation.energy
            else:
                left_out[name] = f"{relaxation.status}: {relaxation.reason}"
    return energies, left_out


@lru_cache(maxsize=1)
def read_shipped() -> dict[str, Any]:
    """The shipped energies of the Nb-O phases with calculator, settings, and a row for each phase.

    A row has ``id``, ``formula``, ``space_group_number`` and ``num_atoms`` of the phase in the dataset "nbo";
    ``energy`` (eV/atom, None if it cannot be used), ``status``, ``reason`` and ``n_steps`` of its relaxation; and
    ``key``, made from all that the relaxation depends on.
    """
    content: dict[str, Any] = json.loads(SHIPPED.read_bytes())
    return content
