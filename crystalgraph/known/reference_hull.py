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
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.table import COMPUTED, EXPERIMENTAL, CrystalTable
from crystalgraph.engine.workers import Workers, at_work
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

REFERENCE_SETTINGS = RelaxSettings(fmax=0.05, curvature=70.0, max_steps=500, max_seconds=3600.0)
"""How known phases are relaxed: further than candidates, so that the hull is not too high, in shorter steps."""

SHIPPED = Path(__file__).parent / "energies"
"""Folder of the energies that ship, a file for each potential."""


REACH = 0.15
"""eV/atom that relaxing a known phase may gain: one that is further from the hull as it is, is not relaxed. The most
that mattered in Li-Fe-P-O is .13, a phosphide with a measured cell; crystals that DFT relaxed gain .01."""


def reference_hull(
    system: ChemicalSystem,
    known: CrystalTable | None = None,
    *,
    at: Formula | None = None,
    reach: float = REACH,
    settings: RelaxSettings = REFERENCE_SETTINGS,
    workers: int | Workers = 1,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Hull:
    """The hull of a system's known phases.

    Every phase gets an energy as it is; those are relaxed that can lower the hull by it.

    Args:
        system: the chemical system.
        known: its known phases; those outside the system are ignored, and elements that they lack are added from the
            datasets. None means `crystalgraph.known.phases.known_phases`.
        at: the only composition at which the hull will be asked for, which spares most of the work; None means all.
        reach: eV/atom that a relaxation may gain, see `REACH`; infinite, every phase is relaxed, as under pressure.
        settings: how the known phases are relaxed, and under which pressure; candidates have settings of their own, of
            the same potential. What ships is not relaxed again.
        workers: as for `crystalgraph.relax.many.relax_many`.
        cache: folder of finished relaxations, which several processes may share. None means the folder named by
            ``CRYSTALGRAPH_CACHE``, or else ``~/.cache/crystalgraph``.
        progress: called as phases are relaxed.

    Returns:
        The hull; ``left_out`` names the phases that could not be relaxed, and phases that were not have ``is_bound``.

    Raises:
        InputError: if an element has no reference, the potential cannot be made, or the cache cannot be written.
    """
    if settings.abort or settings.saddle_check:
        raise ValueError("known phases are relaxed without abort thresholds and saddle check: there is no hull yet")
    with at_work(workers) as running:
        fixed = _fixed_enthalpies(system, settings, running, cache, progress)
        candidates = _with_elements(system, known, fixed)
        relaxed = candidates[is_relaxed(candidates, settings.potential)]
        structures = dict(zip(relaxed.ids, relaxed.structures, strict=True))
        energies, left_out = _shipped(structures, settings)
        missing = {name: s for name, s in structures.items() if name not in energies and name not in left_out}
        bounds: dict[str, float] = {}
        if missing and isfinite(reach) and not settings.pressure:
            bounds, _ = _relaxed(missing, replace(settings, max_steps=0), running, cache, progress)

        def hull() -> Hull:
            amorphous = dict.fromkeys(
                _amorphous() & set(candidates.ids), "a model of an amorphous oxide, not a crystal"
            )
            phases = _phases(relaxed, energies, bounds) + _elements(system, fixed, settings.pressure)
            return Hull(system, phases, left_out=left_out | amorphous)

        due = [name for name, s in missing.items() if name not in bounds or len(s.composition) == 1]
        while due:
            found, lost = _relaxed({name: missing[name] for name in due}, settings, running, cache, progress)
            energies, left_out = energies | found, left_out | lost
            missing = {name: s for name, s in missing.items() if name not in due}
            present = hull()
            due = [name for name, s in missing.items() if _distance(present, s, bounds[name], at) <= reach]
        return hull()


def _distance(hull: Hull, structure: Structure, energy: float, at: Formula | None) -> float:
    """By how much the energy of a phase would have to fall to lower the hull, there or anywhere, eV/atom."""
    if at is None:
        return hull.e_above_hull(structure.composition, energy)
    return hull.above_plane(structure.composition, energy, str(at))


def _phases(relaxed: CrystalTable, energies: Mapping[str, float], bounds: Mapping[str, float]) -> list[Phase]:
    """The phases that have an energy, or a bound."""
    return [
        Phase(
            name=name,
            formula=str(Formula.from_atomic_numbers(structure.atomic_numbers)),
            energy=energies.get(name, bounds.get(name, 0.0)),
            is_experimental={EXPERIMENTAL: True, COMPUTED: False}.get(relaxed.origin[k]),
            dft_e_form=relaxed.number("dft_formation_energy", k),
            dft_e_above_hull=relaxed.number("dft_e_above_hull", k),
            space_group_number=_space_group(relaxed, k),
            note="" if name in energies else "energy of the crystal as it is: too high to matter, not relaxed",
            is_bound=name not in energies,
        )
        for k, (name, structure) in enumerate(zip(relaxed.ids, relaxed.structures, strict=True))
        if name in energies or name in bounds
    ]


def _elements(system: ChemicalSystem, fixed: Mapping[str, float], pressure: float) -> list[Phase]:
    """The elements whose energies are the Materials Project's."""
    return [
        Phase(
            name=f"{element} (Materials Project)",
            formula=element,
            energy=fixed[element],
            dft_e_form=0.0,
            dft_e_above_hull=0.0,
            note="DFT energy of the element in the Materials Project, not relaxed"
            + (f"; at {pressure:g} GPa with what its crystal gains" if pressure > 0 else ""),
        )
        for element in system.elements
        if element in fixed
    ]


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
            structures = dict(zip(crystals.ids, crystals.structures, strict=True))
            found, left_out = _shipped(structures, own)
            missing = {name: s for name, s in structures.items() if name not in found and name not in left_out}
            more, lost = _relaxed(missing, own, workers, cache, progress)
            found, left_out = found | more, left_out | lost
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


def _shipped(structures: Mapping[str, Structure], settings: RelaxSettings) -> tuple[dict[str, float], dict[str, str]]:
    """Energies that ship, eV/atom, and why phases of which that is known have none, by id."""
    rows = read_shipped()
    found = {name: rows.get(relaxation_key(structure, settings)) for name, structure in structures.items()}
    energies = {name: row["energy"] for name, row in found.items() if row is not None and row["energy"] is not None}
    left_out = {name: row["reason"] for name, row in found.items() if row is not None and row["energy"] is None}
    return energies, left_out


def _relaxed(
    structures: Mapping[str, Structure],
    settings: RelaxSettings,
    workers: int | Workers,
    cache: Path | None,
    progress: Progress | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Enthalpy of each phase that has one, eV/atom, and why the others have none, by id."""
    folder = cache_folder("relaxations", cache)
    relaxations = relax_many(list(structures.values()), settings, workers=workers, folder=folder, progress=progress)
    done = dict(zip(structures, relaxations, strict=True))
    energies = {name: relaxation.enthalpy for name, relaxation in done.items() if relaxation.usable}
    return energies, {name: f"{r.status}: {r.reason}" for name, r in done.items() if not r.usable}


@lru_cache(maxsize=1)
def read_shipped() -> dict[str, dict[str, Any]]:
    """The energies that ship, by the key of the relaxation, see `crystalgraph.relax.relaxation.relaxation_key`.

    A row has ``id``, ``formula``, ``space_group_number`` and ``num_atoms`` of the phase; ``energy`` (eV/atom, None if
    it cannot be used), ``status``, ``reason`` and ``n_steps`` of its relaxation; and ``key``.
    """
    files = [json.loads(file.read_bytes()) for file in sorted(SHIPPED.glob("*.json"))]
    return {row["key"]: row for content in files for row in content["phases"]}
