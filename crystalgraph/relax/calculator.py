"""Where energies come from: CHGNet with the weights of its wheel, or any ASE calculator named by an import path.

CHGNet was trained on Materials Project energies with the MP2020 corrections in them (see
`crystalgraph.known.reference_hull`), so its energies are on that scale. It runs on the CPU: batches gain nothing
there, and one process a core is the fastest way through many crystals.


Reference:
    B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023) (CHGNet).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystalgraph.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from chgnet import PredTask

CHGNET = "chgnet"
"""Name of the default calculator."""

CHGNET_WEIGHTS = "0.3.0"
"""The weights inside CHGNet's wheel that are used."""

ENERGY_RANGE = {CHGNET: (-16.0, 10.0)}
"""Energies that a crystal can have, eV/atom. The deepest element of the Materials Project, Pu, lies at −14.3."""

_ALLOWED = f"allowed are {CHGNET!r} and an import path 'package.module:factory' that makes an ASE calculator"


def make_calculator(name: str) -> Calculator:
    """Make the calculator of this name; for CHGNet that takes some seconds.

    Args:
        name: ``"chgnet"``, or ``"package.module:factory"``, where ``factory()`` returns an ASE calculator with energy
            (eV), forces (eV/Å) and stress (eV/Å³).

    Returns:
        A new calculator.

    Raises:
        InputError: if the name is neither, its package is not installed, or the calculator has no stress.
    """
    if name == CHGNET:
        return _chgnet()
    calculator = _factory(name)()
    lacking = [p for p in ("energy", "forces", "stress") if p not in getattr(calculator, "implemented_properties", ())]
    if lacking:
        raise InputError(f"calculator {name!r} does not compute {', '.join(lacking)}, which relaxing a cell needs")
    return calculator


@lru_cache
def calculator_identity(name: str) -> dict[str, str]:
    """What the energies of a calculator depend on; it goes into records and into the keys of caches.

    CHGNet is not imported for it.

    Args:
        name: as for `make_calculator`.

    Returns:
        ``name``, ``version`` of its package (empty if it belongs to none), ``weights`` (empty but for CHGNet) and
        ``sha256``: checksum of CHGNet's weights, or of the source file that has the factory.

    Raises:
        InputError: as for `make_calculator`.
    """
    if name == CHGNET:
        folder = _chgnet_folder() / "pretrained" / CHGNET_WEIGHTS
        weights = sorted(folder.glob("*.pth.tar"))
        if len(weights) != 1:
            raise InputError(f"{folder} holds {len(weights)} weight files, not one; install chgnet again")
        return {
            "name": name,
            "version": version("chgnet"),
            "weights": CHGNET_WEIGHTS,
            "sha256": hashlib.sha256(weights[0].read_bytes()).hexdigest(),
        }
    factory = _factory(name)
    source = getattr(importlib.import_module(name.partition(":")[0]), "__file__", None)
    distribution = packages_distributions().get(factory.__module__.partition(".")[0], [""])[0]
    try:
        number = version(distribution) if distribution else ""
    except PackageNotFoundError:
        number = ""
    checksum = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""
    return {"name": name, "version": number, "weights": "", "sha256": checksum}


def _factory(name: str) -> Callable[[], Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"unknown calculator {name!r}; {_ALLOWED}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"calculator {name!r} cannot be imported ({error}); {_ALLOWED}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InputError(f"calculator {name!r}: module {module_name} has no callable {attribute!r}; {_ALLOWED}")
    return factory


def _chgnet_folder() -> Path:
    spec = find_spec("chgnet")
    if spec is None or not spec.submodule_search_locations:
        raise InputError('CHGNet is not installed; run: pip install "crystalgraph[relax]"')
    return Path(next(iter(spec.submodule_search_locations)))


def _chgnet() -> Calculator:
    _chgnet_folder()
    from chgnet.model import CHGNet, CHGNetCalculator

    class EnergyFirst(CHGNetCalculator):
        """CHGNet without the magnetic moments, and without derivatives where only the energy is asked for."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: list[str] | None = None,
            system_changes: list[str] | None = None,
            task: PredTask = "efs",
        ) -> None:
            if properties == ["energy"]:
                task = "e"
            super().calculate(atoms, properties, system_changes, task=task)

    with contextlib.redirect_stdout(io.StringIO()):  # it announces its device
        model = CHGNet.load(model_name=CHGNET_WEIGHTS, use_device="cpu", verbose=False)
        return EnergyFirst(model, use_device="cpu", on_isolated_atoms="error")
