"""Tables of other hands: CSV as MP-20 has it, Parquet of several kinds, databases that ASE itself wrote."""

import csv
import json
import sqlite3
import warnings

import ase.db
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from optimade.adapters import Structure as OptimadeStructure
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.optimade import OptimadeStructureAdapter

from crystalgraph.crystals.conversion import structure_fault, to_structures
from crystalgraph.io.reading import read_structures
from crystalgraph.io.tables import structure_from_optimade

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.7, 71.2, 83.9, 64.4),
    ["Nb", "O", "O"],
    [[0.1, 0.2, 0.3], [0.6, 0.6, 0.9], [0.4, 0, 0]],
)
GOOD = [ROCK_SALT, TRICLINIC]


def assert_read(result, expected=GOOD):
    for one, other in zip(to_structures(result.crystals), expected, strict=True):
        assert StructureMatcher(scale=False).get_rms_dist(one, other)[1] < 1e-4


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_csv_as_mp_20_has_it(tmp_path):
    rows = [
        {
            "": number,
            "material_id": f"mp-{number}",
            "formation_energy_per_atom": energy,
            "elements": "['Na', 'Cl']",
            "spacegroup.number": 225,
            "cif": str(CifWriter(structure)),
        }
        for number, (structure, energy) in enumerate(zip(GOOD, (-2.1, ""), strict=True))
    ]
    rows.append(rows[0] | {"material_id": "0017", "cif": "# nothing"})
    rows.append(rows[0] | {"material_id": "mp-9", "cif": ""})
    write_csv(tmp_path / "train.csv", rows)
    result = read_structures(tmp_path / "train.csv")
    assert_read(result)
    assert result.ids == ["train#mp-0", "train#mp-1"]
    first, second = result.rows()
    assert first == {
        "material_id": "mp-0",
        "formation_energy_per_atom": -2.1,
        "elements": "['Na', 'Cl']",
        "spacegroup.number": 225,
    }
    assert second["formation_energy_per_atom"] is None
    assert np.isnan(result.columns["formation_energy_per_atom"][1])
    assert result.failures == {
        "train#0017": "it cannot be read (its CIF holds 0 crystals, not one)",
        "train#mp-9": "it cannot be read (its row gives no crystal)",
    }


PARQUET = {
    "cif": [{"cif": str(CifWriter(s))} for s in GOOD],
    "pymatgen JSON": [{"structure": json.dumps(s.as_dict())} for s in GOOD],
    "arrays": [
        {"lattice": s.lattice.matrix.ravel(), "species": list(s.atomic_numbers), "frac_coords": s.frac_coords.ravel()}
        for s in GOOD
    ],
    "nested arrays and symbols": [
        {
            "lattice": s.lattice.matrix.tolist(),
            "species": [x.symbol for x in s.species],
            "frac_coords": s.frac_coords.tolist(),
        }
        for s in GOOD
    ],
    "OPTIMADE's names": [
        {
            "lattice_vectors": s.lattice.matrix.tolist(),
            "cartesian_site_positions": s.cart_coords.tolist(),
            "species_at_sites": [x.symbol for x in s.species],
        }
        for s in GOOD
    ],
}


@pytest.mark.parametrize("layout", PARQUET)
def test_parquet_in_every_layout(layout, tmp_path):
    table = pd.DataFrame([{"id": f"a-{k}", **row, "gap": k + 0.5} for k, row in enumerate(PARQUET[layout])])
    table.to_parquet(tmp_path / "a.parquet")
    result = read_structures(tmp_path / "a.parquet")
    assert not result.failures
    assert_read(result)
    assert result.rows() == [{"id": "a-0", "gap": 0.5}, {"id": "a-1", "gap": 1.5}]


def test_a_database_that_ase_wrote(tmp_path):
    copper, water = bulk("Cu"), molecule("H2O")
    relaxed = bulk("MgO", "rocksalt", a=4.2)
    relaxed.calc = SinglePointCalculator(relaxed, energy=-3.5, forces=np.zeros((2, 3)))
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(copper, material_id="mp-30", gap=0.0, metal=True)
        database.write(water)
        database.write(relaxed, data={"path": [1, 2], "note": "by hand"})
        database.write(Atoms("X", cell=[3, 3, 3], pbc=True), material_id="ghost")
    before = (tmp_path / "a.db").read_bytes()
    result = read_structures(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == before
    assert result.ids == ["a#mp-30", "a#3"]
    copper_row, relaxed_row = ({k: v for k, v in row.items() if v is not None} for row in result.rows())
    assert copper_row == {"material_id": "mp-30", "gap": 0.0, "metal": True}
    assert relaxed_row == {"energy": -3.5, "note": "by hand", "path": [1, 2]}
    assert "not periodic" in result.failures["a#2"]
    assert "atomic number" in result.failures["a#ghost"]
    assert to_structures(result.crystals)[0].volume == pytest.approx(copper.get_volume())


def test_another_programs_database_is_left_as_it_is(tmp_path):
    with sqlite3.connect(tmp_path / "mine.db") as connection:
        connection.execute("CREATE TABLE letters (text TEXT)")
    connection.close()
    (tmp_path / "none.db").write_text("this is no database, whatever its name says")
    before = (tmp_path / "mine.db").read_bytes()
    assert "no table 'systems'" in read_structures(tmp_path / "mine.db").failures["mine"]
    assert "no ASE database" in read_structures(tmp_path / "none.db").failures["none"]
    assert (tmp_path / "mine.db").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"mine.db", "none.db"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "x,y\n1,2\n", "none of the columns cif, structure"),
        ("a.csv", "", "cannot be read"),
        ("a.csv", "cif\n", "holds no crystal"),
        ("a.parquet", "PAR1", "cannot be read"),
    ],
)
def test_tables_without_crystals(name, content, reason, tmp_path):
    (tmp_path / name).write_text(content)
    result = read_structures(tmp_path / name)
    assert len(result) == 0
    assert reason in result.failures["a"]


def test_tables_in_a_folder_are_read_only_where_nothing_else_is(tmp_path):
    write_csv(tmp_path / "a.csv", [{"material_id": "mp-1", "cif": str(CifWriter(ROCK_SALT))}] * 2)
    assert read_structures(tmp_path).ids == ["a#mp-1", "a#mp-1#2"]
    CifWriter(TRICLINIC).write_file(tmp_path / "b.cif")
    assert read_structures(tmp_path).ids == ["b"]


def optimade(structure, **changed):
    return OptimadeStructureAdapter.get_optimade_structure(structure)["attributes"] | changed


def test_optimade_structures_are_those_its_own_tools_make():
    for structure in GOOD:
        attributes = optimade(structure, last_modified="2026-01-01T00:00:00Z")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = OptimadeStructure({"id": "x", "type": "structures", "attributes": attributes}).as_pymatgen
        ours = structure_from_optimade(attributes)
        assert ours.species == theirs.species
        np.testing.assert_allclose(ours.cart_coords, theirs.cart_coords, atol=1e-12)
        np.testing.assert_allclose(ours.lattice.matrix, structure.lattice.matrix, atol=1e-12)


def test_optimade_species_can_be_named_freely():
    species = [
        {"name": "Na1", "chemical_symbols": ["Na"], "concentration": [1.0]},
        {"name": "anion", "chemical_symbols": ["Cl"], "concentration": [1.0]},
    ]
    found = structure_from_optimade(optimade(ROCK_SALT, species=species, species_at_sites=["Na1"] * 4 + ["anion"] * 4))
    assert found.composition == ROCK_SALT.composition


MIXED = [
    {"name": "Na", "chemical_symbols": ["Na", "vacancy"], "concentration": [0.9, 0.1]},
    {"name": "Cl", "chemical_symbols": ["Cl", "Br"], "concentration": [0.5, 0.5]},
]


def test_optimade_disorder_is_not_overlooked():
    found = structure_from_optimade(optimade(ROCK_SALT, species=MIXED))
    assert not found.is_ordered
    assert found.composition.get_el_amt_dict() == pytest.approx({"Na": 3.6, "Cl": 2, "Br": 2})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"lattice_vectors": None}, "it has no lattice_vectors"),
        ({"cartesian_site_positions": None, "species_at_sites": None}, "no cartesian_site_positions, species_at_sites"),
        ({"dimension_types": [1, 1, 0]}, "not periodic in all three"),
        ({"structure_features": ["implicit_atoms"]}, "it has implicit atoms"),
        ({"species_at_sites": ["Na"]}, "8 positions for 1 species"),
    ],
)
def test_optimade_entries_that_leave_something_open(changed, reason):
    with pytest.raises(ValueError, match=reason):
        structure_from_optimade(optimade(ROCK_SALT, **changed))


def test_a_vector_that_optimade_leaves_out_is_no_number():
    found = structure_from_optimade(optimade(ROCK_SALT, lattice_vectors=[[4, 0, 0], [0, 4, 0], [None, None, None]]))
    assert "not finite" in structure_fault(found)


def test_attached_atoms_are_not_lost():
    species = [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0], "attached": ["H"], "nattached": [2]}]
    with pytest.raises(ValueError, match="attached to its species Na"):
        structure_from_optimade(optimade(ROCK_SALT, species=species))
