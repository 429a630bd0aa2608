"""Known phases and their energies: the hull that candidates are measured against.

The known phases of a system and of its subsystems are relaxed once by each potential that judges the candidates, and
kept in a folder under names made from all that the result depends on. Those of Nb-O, Ti-O and Mg-Mn-O ship for the
potentials of the default judge (``energies/``, made by ``tools/build_hulls.py``).

References of the elements
    H, N, O, F, Cl, Br, I and the noble gases are molecules or atoms. For a potential on the Materials Project's scale
    their energies are the Materials Project's (`crystalgraph.relax.mp2020.ELEMENT_ENERGY`; O −4.948 eV/atom), and their
    crystals are not put on the hull. The same holds for the few elements that the corpus has no crystal of. All other
    elements, and every element of a potential on a scale of its own, are crystals of the datasets, relaxed like all
    other phases; where no dataset has a crystal of an element, it is a textbook one (`crystalgraph.known.elements`).

Under pressure
    All phases are relaxed under it and their enthalpies span the hull; what ships holds for 0 GPa only. To the
    Materials Project's energies of elements is added what the potential says that the pressure does to their crystals.
    Under tension molecules and atoms hold together by nothing, and keep their energies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import COMPUTED, EXPERIMENTAL, CrystalTable
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.datasets import load_dft_hull
from crystalgraph.known.elements import WITHOUT_CRYSTAL, textbook_crystal
from crystalgraph.known.phases import known_phases
from crystalgraph.progress import Progress
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.potentials import element_energy
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key

if TYPE_CHECKING:
    from pymatgen.core import Structure

REFERENCE_SETTINGS = RelaxSettings(fmax=0.05, max_steps=500, max_seconds=3600.0)
"""How known phases are relaxed: further than candidates, so that the hull is not too high."""

SHIPPED = Path(__file__).parent / "energies"
"""Folder of the energies that ship, a file for each potential."""


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
        settings: how the known phases are relaxed, and under which pressure; candidates have settings of their own, of
            the same potential. What ships is not relaxed again.
        workers: as for `crystalgraph.relax.many.relax_many`.
        cache: folder of finished relaxations, which several processes may share. None means the folder named by
            ``CRYSTALGRAPH_CACHE``, or else ``~/.cache/crystalgraph``.
        progress: called as phases are relaxed.

    Returns:
        The hull; ``left_out`` names the phases that could not be relaxed.

    Raises:
        InputError: if an element has no reference, the potential cannot be made, or the cache cannot be written.
    """
    if settings.abort or settings.saddle_check:
        raise ValueError("known phases are relaxed without abort thresholds and saddle check: there is no hull yet")
    fixed = _fixed_enthalpies(system, settings, workers, cache, progress)
    candidates = _with_elements(system, known, fixed)
    relaxed = candidates[is_relaxed(candidates, settings.potential)]
    energies, left_out = _energies(relaxed, settings, workers, cache, progress)
    left_out |= dict.fromkeys(_amorphous() & set(candidates.ids), "a model of an amorphous oxide, not a crystal")
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
            note="DFT energy of the element in the Materials Project, not relaxed"
            + (f"; at {settings.pressure:g} GPa with what its crystal gains" if settings.pressure > 0 else ""),
        )
        for element in system.elements
        if element in fixed
    ]
    return Hull(system, phases, left_out=left_out)


def _fixed_enthalpies(
    system: ChemicalSystem,
    settings: RelaxSettings,
    workers: int | Workers,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, float]:
    """The Materials Project's energies of elements of a system, with what pressure adds to them, eV/atom."""
    energies = {e: v for e, v in element_energy(settings.potential).items() if e in system.elements}
    if settings.pressure <= 0:
        return energies
    for element in energies:
        crystals = known_phases(ChemicalSystem((element,)))
        crystals = crystals if len(crystals) else textbook_crystal(element)
        lowest = []
        for pressure in (0.0, settings.pressure):
            own = replace(settings, pressure=pressure)
            found, left_out = _energies(crystals, own, workers, cache, progress)
            if not found:
                name, reason = next(iter(left_out.items()))
                raise InputError(
                    f"no enthalpy of {element} at {settings.pressure:g} GPa: {name} {reason}; choose another potential"
                )
            lowest.append(min(found.values()))
        energies[element] += lowest[1] - lowest[0]
    return energies


def is_relaxed(phases: CrystalTable, potential: str) -> NDArray[np.bool_]:
    """Which phases a potential has to relax.

    All but elements whose energies are the Materials Project's, and models of amorphous oxides (melted and quenched
    cells of 102 atoms), which are no phases.
    """
    fixed = element_energy(potential)
    own = zip(phases.ids, _systems(phases), strict=True)
    return np.array([str(system) not in fixed and name not in _amorphous() for name, system in own], dtype=bool)


@lru_cache(maxsize=1)
def _amorphous() -> frozenset[str]:
    return frozenset(entry["id"] for entry in load_dft_hull()["entries"] if entry["amorphous_model"])


def _systems(table: CrystalTable) -> list[ChemicalSystem]:
    """The elements of each crystal."""
    atoms = table.crystals.atomic_numbers.split(table.crystals.num_atoms.tolist())
    return [Formula.from_atomic_numbers(numbers.tolist()).system for numbers in atoms]


def _space_group(table: CrystalTable, position: int) -> int | None:
    number = table.number("space_group_number", position)
    return None if number is None else int(number)


def _with_elements(system: ChemicalSystem, known: CrystalTable | None, fixed: Mapping[str, float]) -> CrystalTable:
    """The phases inside the system, and crystals of the elements that none of them is."""
    inside = known_phases(system) if known is None else known.within(system)
    if len(set(inside.ids)) < len(inside):
        raise InputError("two known phases have the same name; give each its own")
    present = {own.elements[0] for own in _systems(inside) if len(own) == 1}
    absent = [element for element in system.elements if element not in present]
    missing = [known_phases(ChemicalSystem((element,))) for element in absent] if known is not None else []
    missing += [textbook_crystal(element) for element in absent if element in WITHOUT_CRYSTAL and element not in fixed]
    parts = [part for part in (inside, *missing) if len(part)]
    return CrystalTable.concatenate(parts) if parts else inside


def _energies(
    phases: CrystalTable,
    settings: RelaxSettings,
    workers: int | Workers,
    cache: Path | None,
    progress: Progress | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Enthalpy of each phase that has one, eV/atom, and why the others have none, by id."""
    shipped = read_shipped()
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
                energies[name] = relaxation.enthalpy
            else:
                left_out[name] = f"{relaxation.status}: {relaxation.reason}"
    return energies, left_out


@lru_cache(maxsize=1)
def read_shipped() -> dict[str, dict[str, Any]]:
    """The energies that ship, by the key of the relaxation, see `crystalgraph.relax.relaxation.relaxation_key`.

    A row has ``id``, ``formula``, ``space_group_number`` and ``num_atoms`` of the phase; ``energy`` (eV/atom, None if
    it cannot be used), ``status``, ``reason`` and ``n_steps`` of its relaxation; and ``key``.
    """
    files = [json.loads(file.read_bytes()) for file in sorted(SHIPPED.glob("*.json"))]
    return {row["key"]: row for content in files for row in content["phases"]}
