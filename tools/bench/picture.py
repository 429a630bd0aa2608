"""Draw the relaxed crystals of a run, best first, as a PNG; without energies its first of each formula.

cg-generate -n 12 --relax 4 --workers 2 --out runs/quickstart
python -m tools.bench picture runs/quickstart --out tools/results/crystals.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.build import make_supercell
from ase.data import covalent_radii
from ase.visualize.plot import plot_atoms
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystalgraph.crystals.space_group_symbols import group_symbol
from crystalgraph.io.columns import FORMER_NAMES
from tools.bench.record import command_line

COLORS = {41: "#3b7fa6", 8: "#d1495b"}
OTHER = "#8d8d8d"

EXTENT = 7.0
"""Cells are repeated until they reach this far along each axis, Å."""


def conventional(path: Path) -> Atoms:
    """The conventional cell of a CIF, repeated to a size one can look at, as ASE atoms."""
    structure = SpacegroupAnalyzer(Structure.from_file(path), symprec=0.1).get_conventional_standard_structure()
    repeats = [max(1, round(EXTENT / length)) for length in structure.lattice.abc]
    return make_supercell(AseAtomsAdaptor.get_atoms(structure), np.diag(repeats))


def main(arguments: Sequence[str]) -> None:
    """Draw."""
    parser = command_line("picture", __doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1)
    options = parser.parse_args(arguments)
    table = pd.read_csv(options.folder / "candidates.csv").rename(columns=FORMER_NAMES)
    best = table[table["rank"].notna()].sort_values("rank")
    relaxed = "relaxed_space_group" in best and best["relaxed_space_group"].notna().any()
    if relaxed:
        best = best[best["relaxed_space_group"].notna()].assign(space_group=best["relaxed_space_group"])
    else:
        best = best.drop_duplicates("formula")
    chosen = best.head(options.columns * options.rows)
    figure = Figure(figsize=(3.1 * options.columns, 3.4 * options.rows), layout="constrained")
    axes = figure.subplots(options.rows, options.columns, squeeze=False).flatten()
    for axis, row in zip(axes, chosen.itertuples(), strict=False):
        atoms = conventional(options.folder / ("relaxed" if relaxed else "structures") / f"{row.file}.cif")
        colors = [COLORS.get(z, OTHER) for z in atoms.numbers]
        radii = [0.55 * covalent_radii[z] for z in atoms.numbers]
        plot_atoms(atoms, axis, rotation="-80x,18y,6z", radii=radii, colors=colors, show_unit_cell=2)
        energy = f"\n{row.e_above_hull:.3f} eV/atom above the hull" if relaxed else ""
        axis.set_title(f"{row.formula}, {group_symbol(int(row.space_group))}{energy}", fontsize=11)
    for axis in axes:
        axis.set_axis_off()
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=9, color=color, label=label)
        for label, color in (("Nb", COLORS[41]), ("O", COLORS[8]))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(options.out, dpi=90)
