"""Write the prototypes that ship, from the AFLOW library that pymatgen carries: python -m tools.build_prototypes"""

from __future__ import annotations

import json
import re
from typing import Any

from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.prototype_names import PROTOTYPES
from crystalgraph.io.atomic import write_text

ANATASE = "A2B_tI12_141_e_a"
"""The library has the oxygen of anatase where none is; it is taken from Howard et al., Acta Cryst. B 47, 462 (1991)."""


def prototypes() -> list[dict[str, Any]]:
    """Name, AFLOW label, lattice (rows, Å), species and fractional coordinates of the primitive cell of each."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    found = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        tags, structure = entry["tags"], entry["snl"].structure
        if tags["aflow"] == ANATASE:
            structure = anatase()
        primitive = structure.get_primitive_structure().get_reduced_structure()
        found.append(
            {
                "name": name(tags),
                "aflow": tags["aflow"],
                "lattice": primitive.lattice.matrix.round(5).tolist(),
                "species": [site.specie.symbol for site in primitive],
                "coords": (primitive.frac_coords.round(5) % 1).tolist(),  # on no processor 1
            }
        )
    return sorted(found, key=lambda one: (one["aflow"], one["name"]))


def anatase() -> Structure:
    """Anatase, origin choice 1."""
    lattice = Lattice.tetragonal(3.7845, 9.5143)
    return Structure.from_spacegroup(141, lattice, ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]])


def name(tags: dict[str, str]) -> str:
    """What a prototype is called: mineral or compound, and the designation of the *Strukturbericht*."""
    mineral = (
        re.sub(r"\$\\mu\$", "μ", tags["mineral"]).replace("\\'{c}", "ć").partition(", different elements")[0].strip()
    )
    if mineral in ("alpha", "beta"):  # of an element that the library does not name
        mineral = ""
    designation = re.sub(r"[_{}^\\]", "", tags["strukturbericht"]).strip()
    designation = "" if designation == "None" else designation
    if mineral and designation:
        return f"{mineral} ({designation})"
    return mineral or designation or tags["aflow"]


def main() -> None:
    """Write ``crystalgraph/crystals/prototypes.json``, a line for each."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in prototypes())
    write_text(PROTOTYPES, f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
