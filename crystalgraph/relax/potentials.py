"""Potentials by name: where each comes from, what it learned, on which scale its energies are, and what it costs.

Those that ship in a wheel (`WITH_WEIGHTS`) are made from weights whose checksum is compared first. Those whose packages
fetch their weights themselves (`FETCHING`) are made the way their packages make them. Any other ASE calculator is named
by an import path, ``package.module:factory``.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from importlib.util import find_spec
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

Scale = Literal["MP2020", "own"]

CHGNET, SEVENNET_0, SEVENNET_L3I5, DIEP = "chgnet", "sevennet-0", "sevennet-l3i5", "diep"

MP_RANGE = (-16.0, 10.0)
"""Energies that a crystal can have on the Materials Project's scale, eV/atom; its deepest element, Pu, is at −14.3."""


@dataclass(frozen=True, kw_only=True)
class Potential:
    """A potential that is known by a name.

    Attributes:
        name: as ``--potential`` takes it.
        label: as it is printed.
        package: that is imported.
        install: what pip installs it with.
        licence: SPDX identifier, of code and weights.
        citation: who to cite.
        learned_from: data and functional.
        scale: "MP2020": of the Materials Project with its corrections, learned or added; "own": only energies of the
            same potential can be compared.
        weights: files inside the package; empty where the package fetches them.
        sha256: of the weights, see `crystalgraph.relax.loading.checksum`; empty where they are fetched.
        energy_range: energies that a crystal can have, eV/atom.
        cost: of energy, forces and stress of a small crystal, CHGNet = 1; NaN where not measured.
        make: name of the function of `crystalgraph.relax.loading` that makes its calculator.
        modules: imported to make it.
        together: whether a GPU takes many crystals at once; any other potential runs on CPUs.
    """

    name: str
    label: str
    package: str
    install: str
    licence: str
    citation: str
    learned_from: str
    make: str
    scale: Scale = "MP2020"
    weights: tuple[str, ...] = ()
    sha256: str = ""
    energy_range: tuple[float, float] = MP_RANGE
    cost: float = field(default=float("nan"), compare=False)
    modules: tuple[str, ...] = ()
    together: bool = False

    @property
    def element_energy(self) -> Mapping[str, float]:
        """Energies of elements that are not relaxed as crystals but taken from the Materials Project, eV/atom."""
        from crystalgraph.relax.mp2020 import ELEMENT_ENERGY

        return MappingProxyType(ELEMENT_ENERGY if self.scale == "MP2020" else {})

    @property
    def folder(self) -> Path:
        """Of the package.

        Raises:
            InputError: if it is not installed, with the command that installs it.
        """
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"{self.label} is not installed; run: {self.install}")
        return Path(next(iter(spec.submodule_search_locations)))

    @property
    def files(self) -> list[Path]:
        """Of the weights that ship in the package."""
        return [self.folder / file for file in self.weights]

    def calculator(self, device: str = "cpu") -> Calculator:
        """A new calculator; takes some seconds.

        Args:
            device: where a potential that is asked for many crystals together runs, such as "cuda".

        Raises:
            InputError: if the package is not installed, or the weights are not the right ones.
        """
        folder = self.folder
        from crystalgraph.relax import loading

        make: Callable[..., Calculator] = getattr(loading, self.make)
        if not self.weights:
            return make()
        remedy = f"install it again: {self.install}"
        place = {"device": device} if self.together else {}
        weights = loading.checked_bytes(self.files, self.sha256, remedy)
        return make(weights, folder / self.weights[0], self.label, **place)


_SEVENNET = (
    "crystalgraph.relax.sevennet",
    "pymatgen.analysis.compatibility",
    "pymatgen.analysis.structure_analyzer",
    "pymatgen.entries.computed_entries",
)

_RELAX = 'pip install "crystalgraph[relax]"'

WITH_WEIGHTS = (
    Potential(
        name=SEVENNET_0,
        label="SevenNet-0",
        package="sevenn",
        install=_RELAX,
        licence="MIT",
        citation="Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
        learned_from="MPtrj, PBE and PBE+U; MP2020 corrections are added",
        weights=("pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",),
        sha256="7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
        cost=0.4,
        make="sevennet",
        modules=_SEVENNET,
        together=True,
    ),
    Potential(
        name=SEVENNET_L3I5,
        label="SevenNet-l3i5",
        package="sevenn",
        install=_RELAX,
        licence="MIT",
        citation="Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
        learned_from="MPtrj, PBE and PBE+U; MP2020 corrections are added",
        weights=("pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",),
        sha256="a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
        cost=0.9,
        make="sevennet",
        modules=_SEVENNET,
        together=True,
    ),
    Potential(
        name=CHGNET,
        label="CHGNet",
        package="chgnet",
        install=_RELAX,
        licence="BSD-3-Clause",
        citation="B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3",
        learned_from="MPtrj, PBE and PBE+U with MP2020 corrections",
        weights=("pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",),
        sha256="d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        cost=1.0,
        make="chgnet",
        modules=("chgnet.model",),
    ),
    Potential(
        name=DIEP,
        label="DIEP",
        package="diep",
        install=_RELAX,
        licence="BSD-3-Clause",
        citation="S. A. Tawfik et al., Digit. Discov. (2024); data: A. D. Kaplan et al., arXiv:2503.04070 (2025)",
        learned_from="MatPES, r2SCAN",
        scale="own",
        weights=tuple(f"pretrained_models/diep_fold1/{name}" for name in ("model.json", "model.pt", "state.pt")),
        sha256="a81e3dfe5bee37bcec53c268c779f9c327a0c860d0566a339805ffbd144c9dde",
        energy_range=(-100.0, 10.0),
        cost=0.4,
        make="diep",
        modules=("diep.pretrained", "crystalgraph.relax.integrals"),
    ),
)
"""Potentials whose weights are in a wheel, the default first."""

_MPA = "MPtrj and Alexandria, PBE and PBE+U; MP2020 corrections are added"
_OAM = "OMat24, then MPtrj and Alexandria, PBE and PBE+U; MP2020 corrections are added"

FETCHING = (
    Potential(
        name="mace-mp",
        label="MACE-MPA-0",
        package="mace",
        install="pip install mace-torch, in an environment of its own (it does not go with sevenn)",
        licence="MIT",
        citation="I. Batatia et al., J. Chem. Phys. 163, 184110 (2025)",
        learned_from=_MPA,
        make="mace_mp",
    ),
    Potential(
        name="orb",
        label="ORB v3",
        package="orb_models",
        install='pip install "orb-models>=0.6"',
        licence="Apache-2.0",
        citation="B. Rhodes et al., arXiv:2504.06231 (2025)",
        learned_from=_MPA,
        make="orb",
    ),
    Potential(
        name="mattersim",
        label="MatterSim v1",
        package="mattersim",
        install="pip install mattersim",
        licence="MIT",
        citation="H. Yang et al., arXiv:2405.04967 (2024)",
        learned_from="PBE and PBE+U as the Materials Project computes them; MP2020 corrections are added",
        make="mattersim",
    ),
    Potential(
        name="upet",
        label="PET-OAM-XL",
        package="upet",
        install='pip install "upet>=0.3"',
        licence="BSD-3-Clause",
        citation="A. Mazitov et al., Nat. Commun. 16, 10653 (2025)",
        learned_from=_OAM,
        make="upet",
    ),
    Potential(
        name="grace",
        label="GRACE-2L-OAM",
        package="tensorpotential",
        install="pip install tensorpotential",
        licence="ASL",
        citation="A. Bochkarev et al., Phys. Rev. X 14, 021036 (2024)",
        learned_from=_OAM,
        make="grace",
    ),
)
"""Potentials whose packages fetch their weights; nothing of theirs is checked, and their figures are not measured."""

POTENTIALS: Mapping[str, Potential] = MappingProxyType({p.name: p for p in (*WITH_WEIGHTS, *FETCHING)})
"""By name."""

_ALLOWED = f"allowed are {', '.join(POTENTIALS)}, and an import path 'package.module:factory' of an ASE calculator"

NEEDED = ("energy", "forces", "stress")
"""What relaxing a cell needs."""

DEFAULT = SEVENNET_0
"""What relaxes where nothing else is asked for."""

CONFIRMATION = SEVENNET_L3I5, DIEP
"""What relaxes the finalists of the default further: the first gives the rank, the second learned from other data of
another functional."""


def usual_confirmation(potential: str) -> tuple[str, ...]:
    """What confirms where nothing is asked for: `CONFIRMATION` for the default, nothing for any other potential."""
    return CONFIRMATION if potential == DEFAULT else ()


def check_judges(potential: str, confirm: Sequence[str]) -> tuple[str, ...]:
    """The potentials that judge, each known, installed and with the right weights.

    Args:
        potential: relaxes.
        confirm: relax the finalists further.

    Raises:
        InputError: if one is named twice, or as for `make_calculator`.
    """
    judges = (potential, *confirm)
    if twice := [name for name in judges if judges.count(name) > 1]:
        raise InputError(f"potential {twice[0]!r} is named twice; a second opinion must come from another one")
    for name in judges:
        potential_identity(name)
    return judges


def potential_label(name: str) -> str:
    """How a potential is called in print; an import path is its own name."""
    return POTENTIALS[name].label if name in POTENTIALS else name


def energy_range(name: str) -> tuple[float, float]:
    """Energies that a crystal can have, eV/atom; without bounds for an import path."""
    return POTENTIALS[name].energy_range if name in POTENTIALS else (-inf, inf)


def element_energy(name: str) -> Mapping[str, float]:
    """Energies of elements that are not relaxed as crystals, eV/atom; none for an import path."""
    return POTENTIALS[name].element_energy if name in POTENTIALS else {}


def is_together(name: str) -> bool:
    """Whether a GPU takes many crystals at once, see `Potential.together`."""
    return name in POTENTIALS and POTENTIALS[name].together


def modules_of(name: str) -> tuple[str, ...]:
    """What is imported to make the calculator of a potential that ships; nothing of any other."""
    known = POTENTIALS.get(name)
    return ("crystalgraph.relax.loading", *known.modules) if known is not None and known.weights else ()


def make_calculator(name: str, device: str = "cpu") -> Calculator:
    """Make the calculator of a potential; takes some seconds.

    Args:
        name: of `POTENTIALS`, or ``"package.module:factory"``, where ``factory()`` returns an ASE calculator with
            energy (eV), forces (eV/Å) and stress (eV/Å³).
        device: see `Potential.calculator`.

    Returns:
        A new calculator.

    Raises:
        InputError: if the name is neither, its package is not installed, its weights are not the right ones, or the
            calculator has no stress.
    """
    calculator = POTENTIALS[name].calculator(device) if name in POTENTIALS else _factory(name)()
    if lacking := [p for p in NEEDED if p not in getattr(calculator, "implemented_properties", ())]:
        raise InputError(f"potential {name!r} does not compute {', '.join(lacking)}, which relaxing a cell needs")
    return calculator


@lru_cache
def potential_identity(name: str) -> dict[str, str]:
    """What the energies of a potential depend on; it goes into records and into the keys of caches.

    The potential's package is not imported for it.

    Args:
        name: as for `make_calculator`.

    Returns:
        ``name``, ``version`` of its package (empty if it belongs to none), and ``sha256``: checksum of the weights, of
        the source file that has the factory, or empty where a package fetches its weights.

    Raises:
        InputError: as for `make_calculator`.
    """
    if (known := POTENTIALS.get(name)) is not None:
        folder = known.folder
        if known.weights:
            from crystalgraph.relax.loading import checked_bytes

            checked_bytes(known.files, known.sha256, f"install it again: {known.install}")
        return {"name": name, "version": _version(folder.name), "sha256": known.sha256}
    factory = _factory(name)
    source = getattr(importlib.import_module(name.partition(":")[0]), "__file__", None)
    found = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""
    return {"name": name, "version": _version(factory.__module__.partition(".")[0]), "sha256": found}


def _version(package: str) -> str:
    """Of the distribution that a package belongs to; empty if to none."""
    with suppress(PackageNotFoundError):
        of_that_name = distribution(package)  # tells without a look at all that is installed
        if package in (of_that_name.read_text("top_level.txt") or "").split():
            return of_that_name.version
    try:
        return version(packages_distributions()[package][0])
    except (KeyError, PackageNotFoundError):
        return ""


def _factory(name: str) -> Callable[[], Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"unknown potential {name!r}; {_ALLOWED}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"potential {name!r} cannot be imported ({error}); {_ALLOWED}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InputError(f"potential {name!r}: module {module_name} has no callable {attribute!r}; {_ALLOWED}")
    return factory
