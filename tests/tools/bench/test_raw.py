"""Figures of a made-up raw run of which every verdict is known."""

import json

import pytest

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.load import load
from crystalgraph.known.phases import known_phases
from crystalgraph.runs.folder import write_run
from tools.bench import raw


@pytest.fixture
def run(tmp_path, dealer):
    """A raw run of the known rutile NbO2, wurtzite NbO twice, and a crystal with atoms too close."""
    known = known_phases("Nb-O")
    structures = [known.structures[known.ids.index("mp-2533")].copy()]
    structures[0].scale_lattice(1.1 * structures[0].volume)
    structures += to_structures(dealer("wurtzite", "wurtzite", "crushed").draw(3).crystals)
    names = [f"{k}" for k in range(4)]
    record = {"request": {"system": "Nb-O"}, "model": {"name": "nbo", "sha256": "abc"}}
    write_run(
        tmp_path / "run",
        structures=structures,
        names=names,
        rows=[{"file": name} for name in names],
        columns=["file"],
        record=record,
    )
    return tmp_path / "run"


@pytest.mark.slow
def test_figures_of_a_raw_run(run, tmp_path, monkeypatch, capsys, dealer):
    (fluorite,) = to_structures(dealer("fluorite").draw(1).crystals)
    few = load(fluorite)
    monkeypatch.setattr(raw, "load_dataset", lambda _: few)
    raw.main([str(run), "--workers", "1", "--out", str(tmp_path / "raw.json")])
    found = json.loads((tmp_path / "raw.json").read_text())
    assert found["model"] == {"name": "nbo", "sha256": "abc"}
    assert (found["samples"], found["strictly valid"]) == (4, 0.75)
    assert found["unique of valid"] == pytest.approx(2 / 3)
    assert (found["equal to a known phase"], found["known phases found"]) == (0.25, 1)
    assert found["new"] == found["new, but for merged roles"] == 0.5
    assert found["distinct space groups"] == 2
    assert found["samples of known formulas"] == 3
    assert "| 4 | 0.750 |" in capsys.readouterr().out


def test_volumes_beside_known_ones(dealer):
    rutile, wurtzite = to_structures(dealer("rutile", "wurtzite").draw(2).crystals)
    swollen = rutile.copy()
    swollen.scale_lattice(1.2 * swollen.volume)
    error, n = raw.volume_error([rutile, swollen, wurtzite], load(rutile))
    assert (error, n) == (pytest.approx(0.1), 2)
    assert raw.volume_error([wurtzite], load(rutile)) == (None, 0)


def test_what_is_no_raw_run_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"no candidates\.csv"):
        raw.measure(tmp_path)
    next((run / "structures").glob("*.cif")).unlink()
    with pytest.raises(InputError, match="not a raw run"):
        raw.measure(run)
