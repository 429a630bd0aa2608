"""The scale of the Materials Project: MP2020 corrections, and the energies of the elements.

A potential that learned uncorrected PBE and PBE+U energies is put on this scale by adding what pymatgen's
``MaterialsProject2020Compatibility`` adds to a calculation: a constant per anion, by composition and type of oxide
(oxide −0.687, peroxide −0.465, superoxide −0.161 eV per oxygen), and a constant per metal that is computed with a
Hubbard U in oxides and fluorides (V −1.7, Cr −1.999, Mn −1.668, Fe −2.256, Co −1.638, Ni −2.541, W −4.438, Mo −3.202
eV per atom). Elements are not corrected. The type of an oxide is that of the crystal as it is, so the correction of a
crystal whose oxygens pair up changes on the way.

Reference:
    A. Wang et al., Sci. Rep. 11, 15496 (2021) (MP2020 corrections).
    J. Riebesell et al., Nat. Mach. Intell. 7, 836 (2025) (Matbench Discovery, whose table of Materials Project
    elemental reference energies is used).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes
from pymatgen.core import Composition, Element

from crystalgraph.chemistry.system import Formula
from crystalgraph.relax.atoms import check_elements, to_structure

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

_MOLECULES = {"H": -3.3927, "N": -8.3365, "O": -4.948, "F": -1.9115, "Cl": -1.8485, "Br": -1.6369, "I": -1.524}
_NOBLE_GASES = {"He": -0.0091, "Ne": -0.0259, "Ar": -0.0688, "Kr": -0.0567, "Xe": -0.0362}
_NO_CRYSTAL = {"Tc": -10.3606, "Pm": -4.7505, "Dy": -4.6068}

ELEMENT_ENERGY = _MOLECULES | _NOBLE_GASES | _NO_CRYSTAL
"""Energies of the elements that are molecules or atoms, or of which the corpus has no crystal, eV/atom."""

_NEAR = 1.05  # factor on the bond lengths of peroxides and superoxides, as the Materials Project has it


def correction(structure: Structure) -> float:
    """What MP2020 adds to the energy of a calculation of this crystal, eV/atom.

    Args:
        structure: ordered structure.
    """
    return _correction(str(Formula.from_atomic_numbers(structure.atomic_numbers)), _oxide_type(structure))


def _oxide_type(structure: Structure) -> str:
    from pymatgen.analysis.structure_analyzer import oxide_type

    composition = structure.composition
    if len(composition) == 1 or Element("O") not in composition.elements:
        return ""
    return str(oxide_type(structure, _NEAR))


@lru_cache(maxsize=1)
def _scheme() -> Any:
    from pymatgen.analysis.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


@lru_cache(maxsize=65_536)
def _correction(formula: str, oxide_type: str) -> float:
    from pymatgen.entries.computed_entries import ComputedEntry

    scheme, composition = _scheme(), Composition(formula)
    most_electronegative = max(composition.elements, key=lambda element: element.X).symbol
    hubbards = {
        element.symbol: u
        for element in composition.elements
        if (u := scheme.u_settings.get(most_electronegative, {}).get(element.symbol, 0))
    }
    entry = ComputedEntry(
        composition,
        0.0,
        parameters={"run_type": "GGA+U" if hubbards else "GGA", "hubbards": hubbards, "software": ""},
        data={"oxide_type": oxide_type, "sulfide_type": "sulfide"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oxidation states that cannot be guessed: the scheme has a rule for it
        return float(sum(adjustment.value for adjustment in scheme.get_adjustments(entry))) / composition.num_atoms


class MP2020(Calculator):
    """A calculator of uncorrected energies, put on the scale of the Materials Project.

    Args:
        calculator: of PBE and PBE+U energies as the Materials Project computes them.
        label: its name, for messages.
        learned: atomic numbers that it knows; None where it says so itself.
    """

    def __init__(self, calculator: Calculator, *, label: str, learned: Collection[int] | None = None) -> None:
        super().__init__()
        self.uncorrected, self.label, self.learned = calculator, label, learned
        self.implemented_properties = ["energy", "forces", "stress"]

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """As ASE has it; the forces and the stress are those of the calculator."""
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        if self.learned is not None:
            check_elements(atoms, self.learned, self.label)
        self.uncorrected.calculate(atoms, properties or ["energy"], system_changes)
        found = self.uncorrected.results
        self.results = {key: found[key] for key in self.implemented_properties if key in found}
        self.results["energy"] += correction(to_structure(atoms)) * len(atoms)
