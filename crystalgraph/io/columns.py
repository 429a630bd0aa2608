"""The one dialect of every table that a command writes: name, unit and meaning of each column.

``candidates.csv`` and ``structures.csv`` take their columns from here, so that one word means one thing in both.
``docs/columns.md`` shows the same to readers. Energies are those of the potential that the record names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from crystalgraph.crystals.space_groups import SYMPREC


class Column(NamedTuple):
    """A column.

    Attributes:
        unit: empty for what has none.
        meaning: one line.
    """

    unit: str
    meaning: str


COLUMNS = {
    "draw": Column("", "position in draw order, from 0"),
    "name": Column("", "of the input: its file, then # and the block or frame where the file holds several"),
    "formula": Column("", "reduced formula"),
    "num_atoms": Column("", "atoms in the cell: the primitive one of a generated crystal, the given one of an input"),
    "template": Column("", "space group, and Wyckoff letters with the element on each"),
    "source": Column(
        "",
        "generator (from noise), prototype (a known crystal, its elements exchanged, or what took the place of an "
        "equal one), or child of one found",
    ),
    "space_group_requested": Column("", "number asked for, or the template's where the request leaves it open"),
    "space_group": Column("", f"number found by spglib within {SYMPREC:g} Å; empty where none was looked for or found"),
    "symmetry_match": Column("", "exact, supergroup or other: the group found against the one requested"),
    "in_system": Column("", "whether all its elements belong to the system"),
    "cdvae_valid": Column("", "all distances above 0.5 Å, volume at least 0.1 Å³"),
    "strictly_valid": Column("", "also every distance at least 0.7 of the covalent radii, density 1.5 to 20 g/cm³"),
    "min_reduced_distance": Column("", "shortest distance over the sum of covalent radii"),
    "density": Column("g/cm³", "mass over volume"),
    "volume_per_atom": Column("Å³", "volume per atom"),
    "charge_neutral": Column("", "whether some assignment of oxidation states sums to zero; reported, no filter"),
    "plausibility": Column("", "of the composition, 0 to 1"),
    "score": Column("0.1 eV/atom", "learned energy above the hull, with the sign turned: higher is nearer the hull"),
    "template_score": Column(
        "0.1 eV/atom",
        "how likely known crystals make its template for a requested formula, as a part of the rank; 0: has no say",
    ),
    "status": Column("", "selected, or the filter that it was lost at"),
    "reason": Column("", "why it was lost, or is not judged further; empty where nothing is wrong"),
    "rank": Column("", "1 for the best"),
    "file": Column("", "name of its files without ending: of the relaxed crystal where there is one, else as drawn"),
    "drawn_file": Column("", "name of the files of a relaxed crystal as drawn, with the space group that it had then"),
    "funnel_status": Column("", "relaxed, or the stage of the funnel that it was lost at; empty if it never entered"),
    "funnel_reason": Column("", "why it was lost there, or what a relaxation has to say"),
    "e_above_hull_unrelaxed": Column("eV/atom", "above the hull of the known phases, before relaxation"),
    "e_above_hull": Column(
        "eV/atom",
        "above the hull of the known phases, after relaxation; negative below it; under pressure, of the enthalpies",
    ),
    "ranked_by": Column("", "the potential whose e_above_hull that is"),
    "e_above_hull_POTENTIAL": Column("eV/atom", "e_above_hull by each potential that judged, on its own hull"),
    "e_above_hull_spread": Column("eV/atom", "largest minus smallest e_above_hull of the potentials"),
    "agreed_metastable": Column("", "whether every potential calls it metastable; empty where one has no answer"),
    "relax_status": Column("", "how its last relaxation ended; empty where it was not relaxed"),
    "n_steps": Column("", "optimiser steps of all its relaxations"),
    "energy_unrelaxed": Column("eV/atom", "potential energy before relaxation"),
    "energy": Column("eV/atom", "potential energy after relaxation"),
    "enthalpy": Column("eV/atom", "energy + pV after relaxation under --pressure; only there"),
    "pattern_similarity": Column(
        "", "to the powder pattern given with --pattern, 0 to 1; of the relaxed crystal where there is one"
    ),
    "unique": Column("", "whether it is the first of its equals"),
    "copy_of": Column("", "the input that it equals"),
    "novel": Column("", "whether it equals no known phase"),
    "known_phase": Column("", "the known phase that it equals"),
    "known_rmsd": Column("Å", "root mean square distance of its atoms from those of known_phase, at equal volumes"),
    "new": Column("", "whether it is novel and equals no crystal that was learned from"),
    "training_crystal": Column("", "the crystal learned from that it equals"),
    "stable": Column("", "e_above_hull at most 0"),
    "metastable": Column("", "e_above_hull at most 0.1 eV/atom"),
    "rmsd": Column("Å", "root mean square displacement from given to relaxed; empty where the two do not match"),
    "relaxed_volume_per_atom": Column("Å³", "volume per atom after relaxation"),
    "relaxed_space_group": Column("", "as space_group, after relaxation"),
    "relaxed_unique": Column("", "whether it is the lowest in energy of its equals after relaxation"),
    "relaxed_copy_of": Column("", "the input that it equals after relaxation"),
    "relaxed_novel": Column("", "as novel, after relaxation"),
    "relaxed_known_phase": Column("", "as known_phase, after relaxation"),
    "relaxed_known_rmsd": Column("Å", "as known_rmsd, after relaxation"),
    "relaxed_new": Column("", "as new, after relaxation"),
    "relaxed_training_crystal": Column("", "as training_crystal, after relaxation"),
    "sun": Column("", "stable, unique and novel, all after relaxation"),
    "msun": Column("", "metastable, unique and novel, all after relaxation"),
}
"""Every column of both tables."""


def column_of(potential: str) -> str:
    """The column of the energies above the hull by a potential, ``e_above_hull_POTENTIAL``.

    Args:
        potential: its name; what no identifier has becomes an underscore.
    """
    return f"e_above_hull_{re.sub(r'[^0-9A-Za-z]+', '_', potential)}"


FORMER_NAMES = {
    "space_group_asked": "space_group_requested",
    "space_group_found": "space_group",
    "symmetry": "symmetry_match",
    "valid_cdvae": "cdvae_valid",
    "valid_strict": "strictly_valid",
    "fate": "status",
    "relax_fate": "funnel_status",
    "relax_reason": "funnel_reason",
    "e_hull_single_point": "e_above_hull_unrelaxed",
    "relaxation": "relax_status",
    "initial_energy": "energy_unrelaxed",
    "space_group_relaxed": "relaxed_space_group",
    "relaxed_file": "file",
}
"""What columns were called up to version 0.1, so that folders of then can be read."""
