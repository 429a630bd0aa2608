"""Known phases of a run: shipped, a user's own, or a server's, asked once."""

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.errors import InputError
from crystalgraph.io.load import load
from crystalgraph.io.writing import write_structures
from crystalgraph.known.phases import known_phases
from crystalgraph.runs import reference
from crystalgraph.runs.reference import reference_caveat, reference_phases, reference_record

NB_O = ChemicalSystem.parse("Nb-O")
ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ELSEWHERE = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
URL = "https://example.org/optimade"


def test_without_a_source_they_are_the_shipped_ones():
    assert reference_phases(None, NB_O).ids == known_phases(NB_O).ids


def test_ones_own_are_those_within_the_system(tmp_path):
    write_structures([ROCK_SALT, ELSEWHERE], ["mine", "elsewhere"], tmp_path, "cif")
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    phases = reference_phases(str(tmp_path), NB_O)
    assert phases.ids == ["mine"]
    assert set(phases.failures) == {"broken"} or set(phases.failures) == {"broken.cif"}


def test_a_server_is_asked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path))
    asked = []

    def import_dataset(query, out, **_):
        asked.append(query)
        out.mkdir(parents=True)
        write_structures([ROCK_SALT], ["of-the-server"], out, "cif")

    monkeypatch.setattr(reference, "import_dataset", import_dataset)
    for _ in range(2):
        assert reference_phases(URL, NB_O).ids == ["of-the-server"]
    assert len(asked) == 1
    (kept,) = (tmp_path / "known").glob("*/*.cif")
    kept.write_bytes(kept.read_bytes() + b"\n")
    assert reference_phases(URL, NB_O).ids == ["of-the-server"]
    assert len(asked) == 2, "what was changed since is not believed"
    query = asked[0]
    assert query.base == f"{URL}/v1"
    assert query.filter == 'elements HAS ONLY "Nb", "O"'


def test_what_is_no_source_is_one_line():
    with pytest.raises(InputError, match="neither a dataset"):
        reference_phases("no/such/folder", NB_O)


def test_how_much_it_holds_is_said():
    niobium = Structure.from_spacegroup(229, Lattice.cubic(3.3), ["Nb"], [[0, 0, 0]])
    phases = load({"oxide": ROCK_SALT, "metal": niobium})
    assert reference_record(phases, NB_O)["of_the_whole_system"] == 1
    assert reference_record(phases, NB_O)["crystals"] == 2
    assert "holds 1 known phase of Nb-O and 1 of the systems inside it" in reference_caveat(phases, NB_O)
    assert "could not be read" not in reference_caveat(phases, NB_O)
    lacking = phases.revised(failures={"broken.cif": "it holds no crystal"})
    assert reference_caveat(lacking, NB_O).startswith("1 of the reference could not be read; the reference")


def test_a_server_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path))

    def import_dataset(*_, **__):
        raise InputError("example.org gave no page in 2 tries; try later with --resume")

    monkeypatch.setattr(reference, "import_dataset", import_dataset)
    with pytest.raises(InputError, match=r"known phases of https://.* no page in 2 tries; the same command goes on"):
        reference_phases(URL, NB_O)
