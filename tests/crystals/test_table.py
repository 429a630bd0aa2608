"""The one collection of crystals: what is selected, joined, kept and left out."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals import conversion
from crystalgraph.crystals import table as module
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.table import CrystalTable, Source, columns_of, plain, reduced_compositions, without_charges
from crystalgraph.errors import InputError

ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = Structure.from_spacegroup(
    221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
NIOBIUM = Structure(Lattice.cubic(3.3), ["Nb", "Nb"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OXYGEN = Structure(Lattice.cubic(5), ["O"], [[0, 0, 0]])
ALL = {"rs": ROCK_SALT, "perovskite": PEROVSKITE, "nb": NIOBIUM, "o": OXYGEN}
ROWS = [
    {"gap": 0.0, "n": 3, "kind": "oxide", "experimental": 1},
    {"gap": 3.2, "n": 4, "kind": "oxide", "experimental": 0},
    {"gap": None, "n": 5, "kind": "", "experimental": -1},
    {"n": 6, "kind": "element", "experimental": -1},
]
NB_O = ChemicalSystem.parse("Nb-O")


@pytest.fixture
def table():
    return CrystalTable.of_structures(
        ALL,
        source=Source(name="mine", sha256="1"),
        properties=ROWS,
        failures={"broken": "it holds no crystal"},
        order=["rs", "broken", "perovskite", "nb", "o"],
    )


def assert_same(one, other):
    for name in ("lattice", "frac_coords", "atomic_numbers", "num_atoms"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("chosen", "positions"),
    [
        (1, [1]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([2, 0, 2], [2, 0, 2]),
        ([], []),
        (np.array([3, 1]), [3, 1]),
        (np.array([True, False, False, True]), [0, 3]),
        ([False, False, True, False], [2]),
        (torch.tensor([False, True, False, False]), [1]),
        (np.zeros(4, dtype=bool), []),
    ],
    ids=str,
)
def test_whatever_selects_gives_a_table_of_these_crystals(table, chosen, positions):
    part = table[chosen]
    assert isinstance(part, CrystalTable)
    assert part.ids == [table.ids[k] for k in positions]
    assert part.order == part.ids
    assert part.columns["n"].tolist() == [ROWS[k]["n"] for k in positions]
    assert_same(part.crystals, table.crystals[positions])
    assert [own is table.structures[k] for own, k in zip(part.structures, positions, strict=True)] == [True] * len(part)
    assert part.failures == {}
    assert table.failures == {"broken": "it holds no crystal"}


@pytest.mark.parametrize("chosen", [4, [0, 9], [True, False]], ids=str)
def test_what_is_not_there_cannot_be_selected(table, chosen):
    with pytest.raises(IndexError):
        table[chosen]


def test_systems_and_compositions(table):
    assert table.within("Nb-O").ids == table.within(NB_O).ids == ["rs", "nb", "o"]
    assert table.within("Sr-Ti").ids == []
    assert table.of_whole_system(NB_O).ids == ["rs"]
    assert table.compositions[:, [8, 22, 38, 41]].tolist() == [[1, 0, 0, 1], [3, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert table.compositions.sum(1).tolist() == [2, 5, 1, 1]
    of_a_supercell = reduced_compositions(from_structures([ROCK_SALT * (1, 1, 2)]))
    assert table.of_compositions(of_a_supercell).ids == ["rs"]
    assert table.of_compositions(of_a_supercell[:0]).ids == []
    with pytest.raises(InputError, match="Qq"):
        table.within("Nb-Qq")


def test_an_empty_table_stays_one(table):
    empty = CrystalTable.of_structures({}, source=Source(name="none"), failures={"a": "why"})
    assert len(empty) == len(empty.within("Nb-O")) == len(empty[:2]) == 0
    assert empty.structures == []
    assert empty.order == ["a"]
    assert empty.rows() == []
    assert len(empty.to_dataframe()) == 0
    assert len(table[:0].to_dataframe()) == 0


def test_lengths_must_fit(table):
    with pytest.raises(ValueError, match="1 ids for 4 crystals"):
        CrystalTable(crystals=table.crystals, ids=["a"], source=table.source)
    with pytest.raises(ValueError, match="column gap has 1 values for 4 crystals"):
        CrystalTable(crystals=table.crystals, ids=table.ids, columns={"gap": np.zeros(1)}, source=table.source)


def test_concatenation_keeps_order_shared_columns_and_failures(table):
    other = CrystalTable.of_structures(
        {"more": NIOBIUM},
        source=Source(name="theirs", sha256="2"),
        properties=[{"n": 7, "colour": "grey"}],
        failures={"lost": "why"},
    )
    joined = CrystalTable.concatenate([table, other])
    assert joined.ids == [*ALL, "more"]
    assert joined.failures == {"broken": "it holds no crystal", "lost": "why"}
    assert {name: values.tolist() for name, values in joined.columns.items()} == {"n": [3, 4, 5, 6, 7]}
    assert (joined.source.name, joined.source.sha256) == ("mine + theirs", "1 + 2")
    assert_same(joined[:4].crystals, table.crystals)
    assert joined.structures == [*table.structures, *other.structures]
    alone = CrystalTable.concatenate([table])
    assert alone.source.name == "mine"
    assert set(alone.columns) == set(table.columns)


@pytest.mark.parametrize(
    ("values", "dtype", "column"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, None], "float64", [1.0, np.nan]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([float("inf"), 2.5], "float64", [np.nan, 2.5]),
        ([2**63, 1], "float64", [2.0**63, 1.0]),
        ([np.float32(0.5), np.int64(2)], "float64", [0.5, 2.0]),
        ([True, False], "bool", [True, False]),
        ([True, None], "object", [True, None]),
        ([True, 1], "object", [True, 1]),
        (["a", "bc"], "<U2", ["a", "bc"]),
        (["a", None], "<U1", ["a", ""]),
        (["a", 1], "object", ["a", 1]),
        ([[1, 2], [3, 4]], "object", [[1, 2], [3, 4]]),
        ([None, ""], "object", [None, None]),
    ],
    ids=str,
)
def test_each_kind_of_value_has_its_kind_of_column(values, dtype, column):
    made = columns_of([{"x": value} for value in values])["x"]
    assert made.dtype == np.dtype(dtype)
    assert made.shape == (2,)
    np.testing.assert_array_equal(made, np.array([*column, None], dtype=object)[:-1] if dtype == "object" else column)


def test_a_column_that_some_rows_lack_is_there_for_all():
    columns = columns_of([{"a": 1.0}, {"b": "x"}])
    assert list(columns) == ["a", "b"]
    np.testing.assert_array_equal(columns["a"], [1.0, np.nan])
    assert columns["b"].tolist() == ["", "x"]
    assert columns_of([]) == {}


@pytest.mark.parametrize("nothing", [None, "", float("nan"), float("inf"), np.float64("nan"), np.str_("")])
def test_what_is_missing_is_none(nothing):
    assert plain(nothing) is None


def test_rows_are_plain_values(table):
    assert table.rows() == [
        {"gap": 0.0, "n": 3, "kind": "oxide", "experimental": 1},
        {"gap": 3.2, "n": 4, "kind": "oxide", "experimental": 0},
        {"gap": None, "n": 5, "kind": None, "experimental": -1},
        {"gap": None, "n": 6, "kind": "element", "experimental": -1},
    ]
    assert {type(value) for row in table.rows() for value in row.values()} == {float, int, str, type(None)}
    assert [table.number("gap", k) for k in range(4)] == [0.0, 3.2, None, None]
    assert table.number("no such column", 0) is None


def test_origin_is_told_in_words(table):
    assert table.origin == ["experimental", "computed", "not stated", "not stated"]
    bare = CrystalTable.of_structures(ALL, source=table.source)
    assert bare.origin == ["not stated"] * 4


def test_as_a_dataframe(table):
    frame = table.to_dataframe()
    assert frame.index.tolist() == list(ALL)
    assert frame.index.name == "id"
    assert frame.columns.tolist() == ["formula", "num_atoms", "gap", "n", "kind", "experimental"]
    assert frame["formula"].tolist() == ["NbO", "SrTiO3", "Nb", "O"]
    assert frame["num_atoms"].tolist() == [8, 5, 2, 1]
    assert frame["gap"].sum() == 3.2


def test_a_notebook_shows_the_first_ten_rows_as_text_that_cannot_break_out():
    named = {f"<b>{k}</b>": NIOBIUM for k in range(12)}
    table = CrystalTable.of_structures(named, source=Source(name="<i>"), failures={"a": "why"})
    assert repr(table) == "CrystalTable('<i>', 12 crystals, 1 failures)"
    page = table._repr_html_()
    assert page.startswith("<p>CrystalTable(&#x27;&lt;i&gt;&#x27;, 12 crystals, 1 failures)</p><table")
    assert "&lt;b&gt;9&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "&lt;b&gt;10" not in page


def test_record(table):
    assert table.record() == {
        "name": "mine",
        "crystals": 4,
        "sha256": "1",
        "unreadable": {"broken": "it holds no crystal"},
    }


def test_structures_are_kept_and_not_made_anew(table, monkeypatch):
    monkeypatch.setattr(module, "to_structures", None)
    assert all(own is given for own, given in zip(table.structures, ALL.values(), strict=True))
    assert table.within("Nb-O").structures[1] is NIOBIUM
    renamed = table.revised(ids=["a", "b", "c", "d"], failures={"lost": "why"})
    assert renamed.structures[3] is OXYGEN


def test_revised_changes_what_it_says_and_nothing_else(table):
    revised = table.revised(ids=["a", "b", "c", "d"], failures={"lost": "why"}, source=Source(name="else"))
    assert (revised.ids, revised.failures, revised.source.name) == (["a", "b", "c", "d"], {"lost": "why"}, "else")
    assert revised.order == ["a", "b", "c", "d", "lost"]
    assert revised.columns is table.columns
    assert revised.crystals is table.crystals
    same = table.revised()
    assert (same.ids, same.failures, same.source) == (table.ids, table.failures, table.source)
    assert table.ids == list(ALL)


def test_structures_of_a_table_without_them_are_those_of_its_crystals(table, monkeypatch):
    bare = CrystalTable(crystals=table.crystals, ids=table.ids, source=table.source)
    made = []
    monkeypatch.setattr(module, "to_structures", lambda crystals: made.append(1) or conversion.to_structures(crystals))
    assert bare.structures == table.structures
    assert bare.structures is bare.structures
    assert made == [1]


def test_charges_isotopes_and_properties_are_dropped_and_the_given_structure_is_left_alone():
    charged = ROCK_SALT.copy().add_oxidation_state_by_element({"Nb": 2, "O": -2})
    heavy = Structure(Lattice.cubic(3), ["D"], [[0, 0, 0]])
    magnetic = NIOBIUM.copy(site_properties={"magmom": [1.0, 2.0]})
    described = OXYGEN.copy(properties={"energy": -5.0})
    given = {"charged": charged, "heavy": heavy, "magnetic": magnetic, "described": described}
    table = CrystalTable.of_structures(given, source=Source(name="mine"))
    assert table.structures[0] == ROCK_SALT
    assert [species.symbol for species in table.structures[1].species] == ["H"]
    assert table.structures[2].site_properties == {}
    assert table.structures[3].properties == {}
    for structure, kept in zip(given.values(), table.structures, strict=True):
        np.testing.assert_array_equal(structure.frac_coords, kept.frac_coords)
        np.testing.assert_array_equal(structure.lattice.matrix, kept.lattice.matrix)
    assert charged.species[0].oxi_state == 2
    assert magnetic.site_properties == {"magmom": [1.0, 2.0]}
    assert without_charges(ROCK_SALT) is ROCK_SALT
