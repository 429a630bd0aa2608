"""The convex hull of a chemical system: how far a crystal lies above its known phases, or below them.

Energies are eV/atom on the scale of the potential that made them; under pressure, enthalpies take their place. How far
each potential is from DFT is in ``tools/results/judge.json``: a crystal that lies less than that below the hull is not
shown to be stable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition, Element

    CompositionLike = Composition | Mapping[str, float] | str

METASTABLE = 0.1
"""eV/atom above the hull, up to which a crystal counts as metastable."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A known phase and its energy.

    Attributes:
        name: id in its source.
        formula: atoms of any multiple of the formula unit, such as "Nb2O5".
        energy: eV/atom; of phases under pressure, the enthalpy.
        is_experimental: whether it has been made; None where the source does not say.
        dft_e_form: formation energy by DFT, eV/atom, MP2020 scheme; None if not known.
        dft_e_above_hull: by DFT, eV/atom; None if not known.
        space_group_number: of the structure before relaxation, 1 to 230; None for a fixed reference energy.
        note: where the energy comes from, if not from relaxing the phase with the calculator.
        is_bound: whether the energy is that of the crystal as it is, which a relaxation would lower.
    """

    name: str
    formula: str
    energy: float
    is_experimental: bool | None = None
    dft_e_form: float | None = None
    dft_e_above_hull: float | None = None
    space_group_number: int | None = None
    note: str = ""
    is_bound: bool = False


class Hull:
    """The lower convex hull of the energies of known phases.

    Args:
        system: the chemical system.
        phases: phases inside the system, among them one of each element.
        left_out: known phases without a usable energy: name and reason.

    Raises:
        InputError: if an element has no phase, a phase lies outside the system, or an energy is not finite.
    """

    def __init__(
        self, system: ChemicalSystem, phases: Sequence[Phase], *, left_out: Mapping[str, str] | None = None
    ) -> None:
        self.system = system
        self.phases = tuple(phases)
        self.left_out = dict(left_out or {})
        for phase in self.phases:
            if not isfinite(phase.energy):
                raise InputError(f"phase {phase.name} ({phase.formula}) has no finite energy; leave it out")
            if not system.contains(phase.formula):
                raise InputError(f"phase {phase.name} ({phase.formula}) is outside the system {system}; leave it out")
        pure = {str(ChemicalSystem.parse(phase.formula)) for phase in self.phases}
        if missing := [element for element in system.elements if element not in pure]:
            raise InputError(
                f"no reference energy for {', '.join(missing)} in {system}: give a known phase of the pure element"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_diagram"}

    def __repr__(self) -> str:
        return f"Hull({self.system}, {len(self.phases)} phases)"

    def e_above_hull(self, composition: CompositionLike, energy: float) -> float:
        """Distance to the hull of the known phases.

        Args:
            composition: inside the system; any multiple of the formula unit.
            energy: eV/atom.

        Returns:
            eV/atom; negative below the hull, NaN for a NaN energy.

        Raises:
            InputError: if the composition is outside the system.
        """
        return energy - self.energy_at(composition)

    def energy_at(self, composition: CompositionLike) -> float:
        """Energy of the hull at a composition, eV/atom; arguments and errors as for `e_above_hull`."""
        return float(self._diagram.get_hull_energy_per_atom(self._inside(composition)))

    def above_plane(self, composition: CompositionLike, energy: float, at: CompositionLike) -> float:
        """Distance to the plane of the chemical potentials at another composition.

        A phase can lower the hull at that composition only if its energy falls by more than this: the plane touches the
        hull there and lies below every phase. (The reduced cost of linear programming: V. Chvátal, Linear Programming,
        1983, ch. 7.)

        Args:
            composition: of the phase.
            energy: of the phase, eV/atom.
            at: where the plane touches the hull.

        Returns:
            eV/atom, not below ``e_above_hull``.
        """
        inside = self._inside(composition)
        potentials = self._potentials(str(at))
        return energy - sum(inside.get_atomic_fraction(e) * potential for e, potential in potentials.items())

    def formation_energy(self, composition: CompositionLike, energy: float) -> float:
        """Energy against the most stable phase of each element.

        Args:
            composition: inside the system; any multiple of the formula unit.
            energy: eV/atom.

        Returns:
            eV/atom.

        Raises:
            InputError: if the composition is outside the system.
        """
        inside = self._inside(composition)
        references = self._diagram.el_refs
        return energy - sum(
            inside.get_atomic_fraction(element) * references[element].energy_per_atom for element in inside.elements
        )

    def decomposition(self, composition: CompositionLike) -> dict[str, float]:
        """Names of the phases that the hull consists of at a composition, and the share of atoms in each."""
        shares = self._diagram.get_decomposition(self._inside(composition))
        return {self.phases[_position(entry)].name: float(share) for entry, share in shares.items()}

    def stable_phases(self) -> list[Phase]:
        """The phases that span the hull, in the order given."""
        stable = {_position(entry) for entry in self._diagram.stable_entries}
        return [phase for position, phase in enumerate(self.phases) if position in stable]

    def dft_hull(self) -> Hull | None:
        """The hull by DFT formation energies (eV/atom, zero for the elements), or None if no compound has one."""
        from pymatgen.core import Composition

        known = [phase for phase in self.phases if phase.dft_e_form is not None]
        if not any(len(Composition(phase.formula).elements) > 1 for phase in known):
            return None
        elements = [Phase(name=f"{element} reference", formula=element, energy=0.0) for element in self.system.elements]
        return Hull(
            self.system,
            [
                *elements,
                *(
                    Phase(
                        name=phase.name,
                        formula=phase.formula,
                        energy=float(phase.dft_e_form or 0.0),
                        is_experimental=phase.is_experimental,
                        space_group_number=phase.space_group_number,
                    )
                    for phase in known
                ),
            ],
        )

    def identity(self) -> str:
        """SHA-256 over formulas and energies of the phases, whatever their order; it goes into keys of caches."""
        content = sorted([phase.formula, float(phase.energy).hex()] for phase in self.phases)
        return hashlib.sha256(json.dumps([str(self.system), content]).encode()).hexdigest()

    @cached_property
    def _diagram(self) -> PhaseDiagram:
        from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
        from pymatgen.core import Composition, Element

        entries: list[PDEntry] = []
        for position, phase in enumerate(self.phases):
            composition = Composition(phase.formula)
            energy = phase.energy * composition.num_atoms
            entries.append(PDEntry(composition, energy, name=phase.name, attribute=position))
        return PhaseDiagram(entries, elements=[Element(symbol) for symbol in self.system.elements])

    @lru_cache  # noqa: B019 - as long as the hull
    def _potentials(self, at: str) -> dict[Element, float]:
        """The energy of each element at a composition, eV/atom."""
        return dict(self._diagram.get_composition_chempots(self._inside(at)))

    def _inside(self, composition: CompositionLike) -> Composition:
        from pymatgen.core import Composition

        inside = Composition(composition).element_composition
        if not inside or not {element.symbol for element in inside.elements} <= set(self.system.elements):
            raise InputError(f"{composition or 'nothing'} is outside the chemical system {self.system}")
        return inside


def _position(entry: Any) -> int:
    """Which phase an entry of the diagram stands for."""
    return int(entry.attribute)


@dataclass(frozen=True, kw_only=True)
class EnergyError:
    """How far energies are from DFT's, all eV/atom.

    Attributes:
        n: number of phases compared.
        mae: mean absolute error; NaN if there are none.
        bias: mean of calculator minus DFT.
        max_abs: largest error.
    """

    n: int
    mae: float
    bias: float
    max_abs: float

    @classmethod
    def of(cls, differences: Sequence[float]) -> EnergyError:
        """Summarise calculator minus DFT."""
        values = np.asarray(differences, dtype=np.float64)
        if not len(values):
            return cls(n=0, mae=float("nan"), bias=float("nan"), max_abs=float("nan"))
        return cls(
            n=len(values),
            mae=float(np.abs(values).mean()),
            bias=float(values.mean()),
            max_abs=float(np.abs(values).max()),
        )


@dataclass(frozen=True, kw_only=True)
class HullError:
    """The calculator's hull against DFT's, over the compounds whose DFT energies are known.

    Attributes:
        formation_energy: error of the formation energies.
        e_above_hull: error of the distances to the hull, each on its own hull.
        rows: for each such phase its name, formula, and both energies both ways, eV/atom.
    """

    formation_energy: EnergyError
    e_above_hull: EnergyError
    rows: list[dict[str, Any]]


def hull_error(hull: Hull) -> HullError:
    """Compare a hull with the DFT energies that its phases carry.

    Args:
        hull: its elements, and the phases without DFT energies or without a relaxation, do not count.

    Returns:
        The errors; with n = 0 where nothing can be compared.
    """
    from pymatgen.core import Composition

    rows: list[dict[str, Any]] = []
    for phase in hull.phases:
        if len(Composition(phase.formula).elements) == 1 or phase.dft_e_form is None or phase.is_bound:
            continue
        rows.append(
            {
                "name": phase.name,
                "formula": phase.formula,
                "space_group_number": phase.space_group_number,
                "is_experimental": phase.is_experimental,
                "formation_energy": hull.formation_energy(phase.formula, phase.energy),
                "dft_formation_energy": phase.dft_e_form,
                "e_above_hull": hull.e_above_hull(phase.formula, phase.energy),
                "dft_e_above_hull": phase.dft_e_above_hull,
            }
        )
    return HullError(
        formation_energy=EnergyError.of([row["formation_energy"] - row["dft_formation_energy"] for row in rows]),
        e_above_hull=EnergyError.of(
            [row["e_above_hull"] - row["dft_e_above_hull"] for row in rows if row["dft_e_above_hull"] is not None]
        ),
        rows=rows,
    )
