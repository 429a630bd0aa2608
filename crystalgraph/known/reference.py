"""What crystals are compared with: the known phases of a system, and the crystals a generator has learned from.

Either comes from a dataset or from structure files. Phases of the asked system and of the systems inside it count;
those of one system are few, so they become structures only when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.chemistry.elements import MAX_ATOMIC_NUMBER
from crystalgraph.chemistry.membership import is_within
from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import dataset_names, load_dataset
from crystalgraph.io.reading import read_structures
from crystalgraph.symmetry.substitute import substitutions

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystalgraph.known.reference_hull import KnownPhase

EXPERIMENTAL, COMPUTED, NOT_STATED = "experimental", "computed", "not stated"

ORIGINS = (EXPERIMENTAL, COMPUTED, NOT_STATED)
"""Whether a known phase has been made: as its source says."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Crystals that others are compared with.

    Attributes:
        name: the dataset, or the path as it was given.
        crystals: the crystals.
        ids: what the source calls them, length n.
        origin: one of ``ORIGINS`` each, length n.
        columns: further columns of the dataset, (n,) each.
        sha256: of the dataset's file, or of the files read.
        unreadable: name -> reason, for files that gave no crystal.
    """

    name: str
    crystals: Crystals
    ids: list[str]
    origin: list[str]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    sha256: str
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.crystals)

    def __getitem__(self, chosen: Sequence[int] | NDArray[Any]) -> Reference:
        """Select by positions or by a boolean mask."""
        rows = np.arange(len(self))[np.asarray(chosen)] if len(chosen) else np.zeros(0, dtype=np.int64)
        return replace(
            self,
            crystals=self.crystals[rows.tolist()],
            ids=[self.ids[k] for k in rows],
            origin=[self.origin[k] for k in rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    @cached_property
    def structures(self) -> list[Structure]:
        """The crystals as structures, in order."""
        return to_structures(self.crystals)

    @cached_property
    def compositions(self) -> NDArray[np.int64]:
        """Reduced composition of each, see `reduced_compositions`."""
        return reduced_compositions(self.crystals)

    def within(self, system: ChemicalSystem) -> Reference:
        """Those made of elements of the system only."""
        crystals = self.crystals
        return self[is_within(crystals.atomic_numbers, crystals.batch, len(crystals), system).numpy()]

    def of_whole_system(self, system: ChemicalSystem) -> Reference:
        """Those that have every element of the system and no other."""
        present = self.compositions > 0
        whole = present[:, list(system.atomic_numbers)].all(1) & (present.sum(1) == len(system))
        return self[whole]

    def of_compositions(self, compositions: NDArray[np.int64]) -> Reference:
        """Those whose reduced composition is among the given ones, (m, 119)."""
        wanted = {row.tobytes() for row in compositions}
        return self[np.array([row.tobytes() in wanted for row in self.compositions], dtype=bool)]

    def decorated(self, compositions: NDArray[np.int64]) -> Reference:
        """Those of the given reduced compositions, (m, 119), as they are and with other elements put in.

        Elements take the places of others in order of electronegativity, in every way that gives one of the
        compositions; several species may become one, as a generator may do that too. Lattices stay as they are, so
        only a comparison that scales volumes makes sense. Of crystals that are the same numbers to a thousandth after
        scaling the first is kept.
        """
        wanted = {row.tobytes() for row in compositions}
        crystals, parts = self.crystals, [self.of_compositions(compositions)]
        for present in sorted({tuple(np.flatnonzero(row).tolist()) for row in compositions}):
            for chosen, changed in substitutions(crystals, list(present)):
                fits = [k for k, row in enumerate(reduced_compositions(changed)) if row.tobytes() in wanted]
                part = self[chosen[fits].numpy()]
                parts.append(replace(part, crystals=changed[fits]))
        everything = Reference(
            name=f"{self.name}, re-decorated",
            crystals=Crystals.concatenate([part.crystals for part in parts]),
            ids=[name for part in parts for name in part.ids],
            origin=[origin for part in parts for origin in part.origin],
            sha256=self.sha256,
        )
        return everything[_distinct(everything.crystals)]

    def phases(self) -> list[KnownPhase]:
        """The crystals with what is known about them, as the relaxation of references takes them."""
        from crystalgraph.known.reference_hull import KnownPhase

        experimental = {EXPERIMENTAL: True, COMPUTED: False}
        return [
            KnownPhase(
                name=self.ids[k],
                structure=structure,
                is_experimental=experimental.get(self.origin[k]),
                dft_e_form=self._number("e_form", k),
                dft_e_above_hull=self._number("e_above_hull", k),
                space_group_number=int(self.columns["space_group_number"][k])
                if "space_group_number" in self.columns
                else None,
            )
            for k, structure in enumerate(self.structures)
        ]

    def record(self) -> dict[str, Any]:
        """For JSON: name, size, checksum, what could not be read."""
        return {
            "name": self.name,
            "crystals": len(self),
            "sha256": self.sha256,
            "unreadable": self.unreadable,
        }

    def _number(self, column: str, position: int) -> float | None:
        value = float(self.columns[column][position]) if column in self.columns else float("nan")
        return value if np.isfinite(value) else None


def load_reference(source: str | Path) -> Reference:
    """Load a dataset by name or folder, or read structure files.

    Args:
        source: a shipped dataset, the folder of one, a structure file, or a folder of them.

    Returns:
        All of it; files that give no crystal are kept with their reasons.

    Raises:
        InputError: if there is no such thing, or nothing in it can be read.
    """
    if str(source) in dataset_names() or (Path(source) / "card.json").is_file():
        return _from_dataset(str(source))
    if not Path(source).exists():
        shipped = ", ".join(dataset_names())
        raise InputError(f"{str(source)!r} is neither a dataset ({shipped}) nor a file or folder; name one that is")
    read = read_structures(source)
    if read.crystals is None:
        name, reason = next(iter(read.failures.items()))
        raise InputError(f"nothing in {str(source)!r} can be read; {name}: {reason}")
    return Reference(
        name=str(source),
        crystals=read.crystals,
        ids=read.names,
        origin=[NOT_STATED] * len(read.names),
        sha256=read.checksum(),
        unreadable=read.failures,
    )


def default_reference(system: ChemicalSystem) -> Reference:
    """What the shipped datasets know about a system: Nb, O and Nb-O from "nbo", all else from "corpus".

    The hull of a system has the same phases, see `crystalgraph.known.reference_hull.known_phases`.
    """
    niobium_oxides = ChemicalSystem(("Nb", "O"))
    parts = [load_reference("nbo").within(system)] if set(system.elements) & set(niobium_oxides.elements) else []
    if not niobium_oxides.contains(system):
        corpus = load_reference("corpus").within(system)
        crystals = corpus.crystals
        ours = is_within(crystals.atomic_numbers, crystals.batch, len(crystals), niobium_oxides)
        parts.append(corpus[~ours.numpy()])
    parts = [part for part in parts if len(part)] or parts[:1]
    return Reference(
        name=" + ".join(part.name for part in parts),
        crystals=Crystals.concatenate([part.crystals for part in parts]),
        ids=[name for part in parts for name in part.ids],
        origin=[origin for part in parts for origin in part.origin],
        sha256=" + ".join(part.sha256 for part in parts),
    )


def union_of_elements(crystals: Crystals) -> ChemicalSystem:
    """The smallest system that none of the crystals lies outside of."""
    from pymatgen.core import Element

    return ChemicalSystem(tuple(Element.from_Z(z).symbol for z in crystals.atomic_numbers.unique().tolist()))


def reduced_compositions(crystals: Crystals) -> NDArray[np.int64]:
    """Atoms of each element in the formula unit of each crystal, (n_crystals, 119); column Z is element Z."""
    width = MAX_ATOMIC_NUMBER + 1
    index = crystals.batch.numpy() * width + crystals.atomic_numbers.numpy()
    counts = np.bincount(index, minlength=len(crystals) * width).reshape(-1, width)
    return counts // np.gcd.reduce(counts, axis=1, keepdims=True)


def templates_seen(phases: Reference, training: Reference, n_jobs: int = 1) -> list[tuple[str, bool | None]]:
    """The template of each phase, whatever its elements, and whether a crystal learned from has the same.

    Only crystals learned from that have the same stoichiometry, elements aside, and a whole number of the phase's
    primitive cells are looked at: no other can have the template.

    Args:
        phases: known phases.
        training: the crystals learned from.
        n_jobs: processes.

    Returns:
        For each phase the name of its template (such as ``136:a/f``) and whether it was seen. Where no symmetry was
        found the name is empty and nothing is said.
    """
    from crystalgraph.symmetry.extract import extract

    found = extract(phases.crystals)
    names = [""] * len(phases)
    shapes = _shapes(phases.compositions)
    candidates: set[tuple[bytes, int]] = set()
    for source, name, n_atoms in zip(
        found.source.tolist(), found.templates.prototypes(), found.templates.num_atoms.tolist(), strict=True
    ):
        names[source] = name
        candidates.add((shapes[source], n_atoms))
    sizes: dict[bytes, set[int]] = {}
    for shape, n_atoms in candidates:
        sizes.setdefault(shape, set()).add(n_atoms)
    possible = [
        any(n_atoms % size == 0 for size in sizes.get(shape, ()))
        for shape, n_atoms in zip(_shapes(training.compositions), training.crystals.num_atoms.tolist(), strict=True)
    ]
    seen: set[str] = set()
    if any(possible):
        seen.update(extract(training[np.array(possible)].crystals, n_jobs=n_jobs).templates.prototypes())
    return [(name, name in seen if name else None) for name in names]


def _shapes(compositions: NDArray[np.int64]) -> list[bytes]:
    """The counts of each reduced formula, largest first, whatever the elements."""
    return [row.tobytes() for row in np.ascontiguousarray(np.sort(compositions, axis=1)[:, ::-1])]


def _from_dataset(name: str) -> Reference:
    dataset = load_dataset(name)
    columns = dataset.columns
    return Reference(
        name=dataset.name,
        crystals=dataset.crystals,
        ids=columns["id"].tolist(),
        origin=_origins(columns, len(dataset)),
        columns={key: columns[key] for key in ("e_form", "e_above_hull", "space_group_number") if key in columns},
        sha256=dataset.card["sha256"]["crystals.npz"],
    )


def _origins(columns: dict[str, NDArray[Any]], n: int) -> list[str]:
    if "experimentally_known" in columns:
        return [EXPERIMENTAL if known else COMPUTED for known in columns["experimentally_known"].tolist()]
    if "theoretical" in columns:
        return [{0: EXPERIMENTAL, 1: COMPUTED}.get(flag, NOT_STATED) for flag in columns["theoretical"].tolist()]
    return [NOT_STATED] * n


def _distinct(crystals: Crystals) -> list[int]:
    """Positions of the crystals whose species, coordinates and scaled lattice no earlier one has, to a thousandth."""
    length = (crystals.volume / crystals.num_atoms) ** (1 / 3)
    lattice = (crystals.lattice / length[:, None, None] * 1000).round().int().numpy()
    frac_coords = (crystals.frac_coords * 1000).round().int().numpy()
    numbers, ptr = crystals.atomic_numbers.numpy(), crystals.ptr.tolist()
    first: dict[tuple[bytes, bytes, bytes], int] = {}
    for k, (begin, end) in enumerate(pairwise(ptr)):
        key = numbers[begin:end].tobytes(), frac_coords[begin:end].tobytes(), lattice[k].tobytes()
        first.setdefault(key, k)
    return list(first.values())
