"""CIFs as gemmi, ASE and pymatgen read them."""

import ase.io
import gemmi
import pytest
import spglib
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifParser

from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.io.writing import write_structures
from crystalgraph.symmetry.wyckoff import wyckoff_table

CRYSTALS = {
    136: ("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
    152: ("P3_121", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.2858]]),
    167: ("R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306123456789, 0, 0.25]]),
    227: ("Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0, 0, 0], [5 / 8] * 3, [0.3875] * 3]),
    14: (
        "P2_1/c",
        Lattice.monoclinic(5.15, 5.2, 5.32, 99.2),
        ["Zr", "O"],
        [[0.275, 0.04, 0.208], [0.07, 0.332, 0.345]],
    ),
    15: ("C2/c", Lattice.monoclinic(9.7, 4.9, 5.5, 105), ["Nb", "O"], [[0.21, 0.37, 0.11], [0.4, 0.1, 0.3]]),
    2: ("P-1", Lattice.from_parameters(4, 5, 6, 80, 95, 103), ["Nb", "O"], [[0.21, 0.37, 0.11], [0.6, 0.1, 0.3]]),
    1: ("P1", Lattice.from_parameters(4, 5, 6, 80, 95, 103), ["Nb", "O"], [[0.33329, 0.66671, 0.11], [0.6, 0.1, 0.3]]),
}
PROPERTIES = {
    "rank": 3,
    "state": "relaxed",
    "e_above_hull": -0.0123,
    "e_above_hull_diep": 0.02,
    "known_phase": 'mp-1 (it\'s "rutile")',
    "known_rmsd": 0.081,
    "origin": "crystalgraph, seed 5",
    "seed": 5,
    "agreed_metastable": True,
    "missing": None,
}


def with_gemmi(path):
    small = gemmi.read_small_structure(str(path))
    sites = small.get_all_unit_cell_sites()
    lattice = Lattice.from_parameters(*small.cell.parameters)
    return small, Structure(lattice, [site.element.name for site in sites], [list(site.fract) for site in sites])


def distance(one, other):
    """Largest distance between atoms that lie on each other, Å; both are cells of the same size."""
    _, largest = StructureMatcher(primitive_cell=False, scale=False).get_rms_dist(one, other)
    return largest * (one.volume / len(one)) ** (1 / 3)


@pytest.mark.parametrize("number", CRYSTALS)
def test_every_reader_finds_the_crystal_and_its_group(number, tmp_path):
    crystal = Structure.from_spacegroup(*CRYSTALS[number])
    (file,) = write_structures([crystal.get_primitive_structure()], ["x"], tmp_path, "cif")
    small, by_gemmi = with_gemmi(file)
    atoms = ase.io.read(file)
    (by_pymatgen,) = CifParser(file, frac_tolerance=0).parse_structures(primitive=False)
    assert small.spacegroup.number == atoms.info["spacegroup"].no == number
    for read in (by_gemmi, AseAtomsAdaptor.get_structure(atoms), by_pymatgen):
        assert len(read) == len(crystal)
        assert distance(read, crystal) < 1e-4
        cell = (read.lattice.matrix.tolist(), read.frac_coords.tolist(), read.atomic_numbers)
        for tolerance in (1e-4, SYMPREC):
            assert spglib.get_symmetry_dataset(cell, symprec=tolerance).number == number


@pytest.mark.parametrize("number", CRYSTALS)
def test_only_the_asymmetric_unit_is_listed(number, tmp_path):
    crystal = Structure.from_spacegroup(*CRYSTALS[number])
    (file,) = write_structures([crystal], ["x"], tmp_path, "cif")
    block = gemmi.cif.read(str(file)).sole_block()
    sites = block.find("_atom_site_", ["label", "site_symmetry_multiplicity", "Wyckoff_symbol"])
    assert len(sites) == len(CRYSTALS[number][2])
    assert len({site[0] for site in sites}) == len(sites)
    assert sum(int(site[1]) for site in sites) == len(crystal)
    operations = gemmi.GroupOps([gemmi.Op(x) for x in gemmi.read_small_structure(str(file)).symops])
    assert gemmi.find_spacegroup_by_ops(operations).number == number
    table = wyckoff_table()  # PyXtal's, by primitive cell
    n_centring = len(operations.cen_ops)
    for site in sites:
        row = next(row for row in table.positions(number) if table.letter[row] == site[2])
        assert int(site[1]) == n_centring * int(table.multiplicity[row])


def test_what_is_known_is_in_tags_and_comments(tmp_path):
    crystal = Structure.from_spacegroup(*CRYSTALS[136]).copy(properties=PROPERTIES)
    (file,) = write_structures([crystal], ["0003_TiO2_sg136"], tmp_path, "cif")
    block = gemmi.cif.read(str(file)).sole_block()
    assert block.name == "0003_TiO2_sg136"
    tags = {item.pair[0]: gemmi.cif.as_string(item.pair[1]) for item in block if item.pair}
    own = {tag.removeprefix("_crystalgraph_"): value for tag, value in tags.items() if "_crystalgraph_" in tag}
    told = {key: str(value) for key, value in PROPERTIES.items() if value is not None and value is not True}
    assert own == told | {"agreed_metastable": "yes", "symprec": f"{SYMPREC:g}"}
    comments = [line.removeprefix("# ") for line in file.read_text().splitlines() if line.startswith("#")]
    assert comments == [
        "TiO2, P4_2/mnm (136) within 0.01 A, rank 3, relaxed",
        "above the hull, eV/atom: -0.012, 0.020 by diep",
        'known as mp-1 (it\'s "rutile"), atoms 0.08 A apart',
        "crystalgraph, seed 5",
    ]


def test_a_file_is_ascii_whatever_is_said(tmp_path):
    crystal = Structure.from_spacegroup(*CRYSTALS[136]).copy(
        properties={"source": "atoms 2 Å apart\n_data ≤", "x": "a\n;b"}
    )
    (file,) = write_structures([crystal], ["crystal é"], tmp_path, "cif")
    assert file.read_bytes().isascii()
    assert gemmi.cif.read(str(file)).sole_block().find_value("_crystalgraph_source")
    assert distance(with_gemmi(file)[1], crystal) < 1e-4


def test_without_symmetry_a_crystal_is_written_as_it_is(tmp_path):
    overlapping = Structure(Lattice.cubic(3), ["Nb", "Nb"], [[0, 0, 0], [0, 0, 0]])
    (file,) = write_structures([overlapping], ["x"], tmp_path, "cif")
    assert "no space group" in file.read_text().splitlines()[0]
    assert gemmi.read_small_structure(str(file)).spacegroup.number == 1


def test_extxyz_has_the_energy_of_the_cell(tmp_path):
    crystal = Structure.from_spacegroup(*CRYSTALS[136]).copy(properties=PROPERTIES | {"energy": -9.5})
    (file,) = write_structures([crystal], ["x"], tmp_path, "extxyz")
    atoms = ase.io.read(file)
    assert atoms.get_potential_energy() == pytest.approx(-9.5 * 6)
    assert atoms.info["energy_per_atom"] == -9.5
    assert atoms.info["name"] == "x"
    assert atoms.info["known_phase"] == PROPERTIES["known_phase"]
