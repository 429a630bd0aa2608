"""Calculators of the named potentials, made from weights whose checksum was seen to be right.

No pickle is executed for what ships in a wheel: the files are read once, compared with their SHA-256, and unpacked by
torch's ``weights_only`` reader, which makes tensors, numbers and strings, and of other types only those listed here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator
from numpy._core.multiarray import _reconstruct as reconstruct  # type: ignore[attr-defined]
from pymatgen.core import Element

from crystalgraph.errors import InputError
from crystalgraph.relax.atoms import check_elements, quiet
from crystalgraph.relax.mp2020 import MP2020

if TYPE_CHECKING:
    from ase import Atoms

CPU = "cpu"
"""Where potentials run, but for those that are asked for many crystals together, see `Potential.together`."""

_ARRAYS: list[Any] = [np.ndarray, np.dtype, reconstruct, *(type(np.dtype(k)) for k in ("f4", "f8", "i8"))]
_FORMER_NAMES = [(reconstruct, "numpy.core.multiarray._reconstruct")]


def checked_bytes(files: Sequence[Path], sha256: str, remedy: str) -> list[bytes]:
    """The contents of files, if they are the right ones.

    Args:
        files: in the order that the checksum was made in.
        sha256: see `checksum`.
        remedy: what to do if it is another.

    Raises:
        InputError: if a file cannot be read, or the checksum is another.
    """
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        raise InputError(f"weights {error.filename} cannot be read ({error.strerror}); {remedy}") from error
    if (found := checksum(contents)) != sha256:
        raise InputError(f"weights {files[0]} have SHA-256 {found[:12]}, not {sha256[:12]}; {remedy}")
    return contents


def checksum(contents: Sequence[bytes]) -> str:
    """SHA-256 of a file; of several, that of their checksums one after the other."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def unpacked(content: bytes) -> Any:
    """What a file of weights holds.

    Raises:
        InputError: if it holds more than tensors, numbers and strings.
    """
    with torch.serialization.safe_globals([*_ARRAYS, *_FORMER_NAMES]):
        try:
            return torch.load(io.BytesIO(content), map_location=CPU, weights_only=True)
        except Exception as error:  # whatever is wrong with a stranger's file
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(f"weights hold more than numbers, or are damaged ({reason})") from error


def chgnet(weights: Sequence[bytes], _file: Path, _label: str) -> Calculator:
    """CHGNet 0.3.0."""
    from chgnet.model import CHGNet, CHGNetCalculator

    class EnergyFirst(CHGNetCalculator):
        """CHGNet without the magnetic moments, and without derivatives where only the energy is asked for."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: list[str] | None = None,
            system_changes: list[str] | None = None,
            task: Any = "efs",
        ) -> None:
            if properties == ["energy"]:
                task = "e"
            super().calculate(atoms, properties, system_changes, task=task)

    with contextlib.redirect_stdout(io.StringIO()):  # it announces its device
        model = CHGNet.from_dict(unpacked(weights[0])["model"], mlp_out_bias=False, version="0.3.0")
        return EnergyFirst(model.to(CPU), use_device=CPU, on_isolated_atoms="error")


def sevennet(weights: Sequence[bytes], file: Path, label: str, device: str = CPU) -> Calculator:
    """A SevenNet of one modality, on the Materials Project's scale."""
    from crystalgraph.relax.sevennet import make

    calculator = make(file, lambda: unpacked(weights[0]), device)
    return MP2020(calculator, label=label, learned=calculator.type_map)


def diep(_weights: Sequence[bytes], file: Path, label: str) -> Calculator:
    """DIEP on its own scale; its loader imports the classes that the checked files name."""
    from diep.pretrained import DIEPCalculator, load_potential

    from crystalgraph.relax.integrals import pack

    class Learned(DIEPCalculator):
        """DIEP that names the elements it has not learned."""

        def calculate(self, atoms: Atoms, *arguments: Any, **options: Any) -> None:
            check_elements(atoms, learned, label)
            super().calculate(atoms, *arguments, **options)

    with quiet():
        potential = load_potential(file.parent, device=CPU)
    pack(potential.requires_grad_(False).model)
    learned = {Element(symbol).Z for symbol in potential.model.element_types}
    return Learned(potential=potential, stress_unit="eV/A3")


def mace_mp() -> Calculator:
    """MACE-MPA-0, medium."""
    from mace.calculators import mace_mp as make

    return MP2020(make(model="medium-mpa-0", device=CPU, default_dtype="float64"), label="MACE-MPA-0")


def orb() -> Calculator:
    """ORB v3, conservative, without a limit of neighbours."""
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.inference.calculator import ORBCalculator

    model, adapter = pretrained.orb_v3_conservative_inf_mpa(device=CPU, precision="float32-highest")
    return MP2020(ORBCalculator(model, atoms_adapter=adapter, device=CPU), label="ORB v3")


def mattersim() -> Calculator:
    """MatterSim v1, 5M."""
    from mattersim.forcefield import MatterSimCalculator

    return MP2020(MatterSimCalculator(load_path="MatterSim-v1.0.0-5M.pth", device=CPU), label="MatterSim v1")


def upet() -> Calculator:
    """PET-OAM, extra large."""
    from upet.ase import UPETCalculator

    return MP2020(UPETCalculator(model="pet-oam-xl", version="1.0.0", device=CPU), label="PET-OAM-XL")


def grace() -> Calculator:
    """GRACE-2L-OAM."""
    from tensorpotential.calculator import grace_fm

    return MP2020(grace_fm("GRACE-2L-OAM"), label="GRACE-2L-OAM")
