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
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.progress import Progress
from crystalgraph.relax.calculator import CHGNET
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.pool import Workers, relax_many
from crystalgraph.relax.relaxation import RelaxSettings, relaxation_key

if TYPE_CHECKING:
    from crystalgraph.io.datasets import Dataset

REFERENCE_SETTINGS = RelaxSettings(fmax=0.05, max_steps=500, max_seconds=3600.0)
"""How known phases are relaxed: further than candidates, so that the hull is not too high."""

_MOLECULES = {"H": -3.3927, "N": -8.3365, "O": -4.948, "F": -1.9115, "Cl": -1.8485, "Br": -1.6369, "I": -1.524}
_NOBLE_GASES = {"He": -0.0091, "Ne": -0.0259, "Ar": -0.0688, "Kr": -0.0567, "Xe": -0.0362}
_NO_CRYSTAL = {"Tc": -10.3606, "Pm": -4.7505, "Dy": -4.6068}

ELEMENT_ENERGY = _MOLECULES | _NOBLE_GASES | _NO_CRYSTAL
"""Materials Project energies of the elements that CHGNet has not learned or the corpus does not have, eV/atom."""

CACHE_VARIABLE = "CRYSTALGRAPH_CACHE"
"""Environment variable that names the cache folder; without it, ``~/.cache/crystalgraph``."""

SHIPPED = Path(__file__).parent / "nbo.json"

_NIOBIUM_OXIDES = ChemicalSystem(("Nb", "O"))
_MP_SCALE = "MP PBE(+U), corrected"


@dataclass(frozen=True, kw_only=True)
class KnownPhase:
    """A known crystal and what its source says about it.

    Attributes:
        name: id in its source.
        structure: before relaxation.
        is_experimental: whether it has been made; None where the source does not say.
        dft_e_form: formation energy by DFT, eV/atom, Materials Project scale; None if not known.
        dft_e_above_hull: by DFT, eV/atom; None if not known.
        space_group_number: 1 to 230; None if not known.
    """

    name: str
    structure: Structure
    is_experimental: bool | None = None
    dft_e_form: float | None = None
    dft_e_above_hull: float | None = None
    space_group_number: int | None = None

    @property
    def system(self) -> ChemicalSystem:
        """Its elements."""
        return Formula.from_atomic_numbers(self.structure.atomic_numbers).system


def known_phases(system: ChemicalSystem) -> list[KnownPhase]:
    """Known crystals of a system and its subsystems, elements included.

    What consists of Nb and O comes from the dataset "nbo", all else from "corpus".

    Args:
        system: any chemical system.

    Returns:
        In the order of the datasets; empty if there are none.

    Raises:
        InputError: if a dataset is missing or damaged.
    """
    found: list[KnownPhase] = []
    if set(system.elements) & set(_NIOBIUM_OXIDES.elements):
        nbo = load_dataset("nbo")
        for k in _inside(nbo, system):
            row = {key: values[k].item() for key, values in nbo.columns.items()}
            found.append(
                KnownPhase(
                    name=row["id"],
                    structure=to_structures(nbo.crystals[k])[0],
                    is_experimental=row["experimentally_known"],
                    dft_e_form=_known(row["e_form"]),
                    dft_e_above_hull=_known(row["e_above_hull"]),
                    space_group_number=row["space_group_number"],
                )
            )
    if not _NIOBIUM_OXIDES.contains(system):
        corpus = load_dataset("corpus")
        for k in _inside(corpus, system):
            row = {key: values[k].item() for key, values in corpus.columns.items()}
            if _NIOBIUM_OXIDES.contains(ChemicalSystem.parse(row["chemsys"])):
                continue
            on_scale = row["energy_scale"] == _MP_SCALE
            found.append(
                KnownPhase(
                    name=row["id"],
                    structure=to_structures(corpus.crystals[k])[0],
                    is_experimental={0: True, 1: False}.get(row["theoretical"]),
                    dft_e_form=_known(row["formation_energy_per_atom"]) if on_scale else None,
                    dft_e_above_hull=_known(row["e_above_hull"]) if on_scale else None,
                    space_group_number=row["space_group_number"],
                )
            )
    return found


def reference_hull(
    system: ChemicalSystem,
    known: Sequence[KnownPhase] | None = None,
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
            datasets. None means `known_phases`.
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
    relaxed = [phase for phase in candidates if str(phase.system) not in fixed]
    energies, left_out = _energies(relaxed, settings, workers, cache, progress)
    phases = [
        Phase(
            name=phase.name,
            formula=str(Formula.from_atomic_numbers(phase.structure.atomic_numbers)),
            energy=energies[phase.name],
            is_experimental=phase.is_experimental,
            dft_e_form=phase.dft_e_form,
            dft_e_above_hull=phase.dft_e_above_hull,
            space_group_number=phase.space_group_number,
        )
        for phase in relaxed
        if phase.name in energies
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


def cache_folder(part: str, root: Path | None = None) -> Path:
    """A folder for what is computed once, made if it does not exist.

    Args:
        part: name of the folder.
        root: where it lies; None means ``$CRYSTALGRAPH_CACHE``, or else ``~/.cache/crystalgraph``.

    Raises:
        InputError: if it cannot be made.
    """
    named = os.environ.get(CACHE_VARIABLE)
    folder = (root or (Path(named).expanduser() if named else Path.home() / ".cache" / "crystalgraph")) / part
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the cache folder {folder} cannot be made ({error.strerror}); name another one with {CACHE_VARIABLE}"
        ) from error
    return folder


def _with_elements(system: ChemicalSystem, known: Sequence[KnownPhase] | None) -> list[KnownPhase]:
    """The phases inside the system, and crystals of the elements that none of them is."""
    if known is None:
        return known_phases(system)
    inside = [phase for phase in known if system.contains(phase.system)]
    if len({phase.name for phase in inside}) < len(inside):
        raise InputError("two known phases have the same name; give each its own")
    present = {phase.system.elements[0] for phase in inside if len(phase.system) == 1}
    for element in system.elements:
        if element not in present:
            inside += known_phases(ChemicalSystem((element,)))
    return inside


def _energies(
    phases: Sequence[KnownPhase],
    settings: RelaxSettings,
    workers: int | Workers,
    cache: Path | None,
    progress: Progress | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Energy of each phase that has one, eV/atom, and why the others have none, by name."""
    shipped = {row["key"]: row for row in read_shipped()["phases"]}
    energies: dict[str, float] = {}
    left_out: dict[str, str] = {}
    todo: list[KnownPhase] = []
    for phase in phases:
        row = shipped.get(relaxation_key(phase.structure, settings))
        if row is None:
            todo.append(phase)
        elif row["energy"] is None:
            left_out[phase.name] = row["reason"]
        else:
            energies[phase.name] = row["energy"]
    if todo:
        folder = cache_folder("relaxations", cache)
        found = relax_many(
            [phase.structure for phase in todo], settings, workers=workers, folder=folder, progress=progress
        )
        for phase, relaxation in zip(todo, found, strict=True):
            if relaxation.usable:
                energies[phase.name] = relaxation.energy
            else:
                left_out[phase.name] = f"{relaxation.status}: {relaxation.reason}"
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


def _inside(dataset: Dataset, system: ChemicalSystem) -> list[int]:
    """Positions of the crystals that consist of these elements only."""
    crystals = dataset.crystals
    return is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system).nonzero().flatten().tolist()


def _known(value: float) -> float | None:
    return None if isnan(value) else value
