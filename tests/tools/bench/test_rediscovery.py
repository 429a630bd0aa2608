"""Rediscovery on a made-up run: what is in which folder, and whose template was learned from."""

import json

import numpy as np
import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.known.phases import known_phases
from crystalgraph.models.bundle import load_model
from crystalgraph.runs.folder import write_run
from crystalgraph.training.config import Config, DataConfig
from crystalgraph.training.corpus import is_held_out
from tools.bench import rediscovery


@pytest.fixture
def run(tmp_path):
    """A run that kept rutile and NbO, and relaxed into NbO alone."""
    known = known_phases("Nb-O")
    structures = [known.structures[known.ids.index(name)] for name in ("mp-2311", "mp-2533")]
    record = {
        "request": {"system": "Nb-O", "seed": 3, "max_atoms": 6},
        "model": {"name": "nbo", "sha256": "abc", "record": load_model("nbo").record},
        "versions": {},
        "counts": {"drawn": 5, "selected": 2},
        "seconds": {"total": 90.0},
    }
    swollen = [structure.copy() for structure in structures]
    for structure in swollen:
        structure.scale_lattice(1.1 * structure.volume)
    write_run(
        tmp_path / "run",
        structures=swollen,
        names=["0001_NbO_sg221", "0002_NbO2_sg136"],
        rows=[
            {"funnel_status": "relaxed", "e_above_hull": 0.1, "agreed_metastable": "yes"},
            {"funnel_status": "relaxed", "e_above_hull": 0.2, "agreed_metastable": "no"},
            {"funnel_status": "copies", "e_above_hull": 0.0, "agreed_metastable": "yes"},
        ],
        columns=["funnel_status", "e_above_hull", "agreed_metastable"],
        record=record,
        relaxed=structures[:1],
    )
    return tmp_path / "run"


@pytest.mark.slow
def test_phases_of_a_run(run, tmp_path, monkeypatch, capsys):
    corpus = load_dataset("corpus")
    of_rutile = np.array([name == "mp-2657" for name in corpus.ids])  # TiO2 has the template of rutile NbO2, not of NbO
    assert of_rutile.sum() == 1
    monkeypatch.setattr(rediscovery, "learned_from", lambda _: corpus[of_rutile])
    rediscovery.main([str(run), "--workers", "1", "--out", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    phases = {phase["id"]: phase for phase in found["phases"]}
    assert (found["known"], found["found"], found["found_relaxed"]) == (len(phases), 2, 1)
    rutile, niobium_oxide = phases["mp-2533"], phases["mp-2311"]
    assert (rutile["kept"], rutile["relaxed"]) == (["0002_NbO2_sg136"], [])
    assert (niobium_oxide["kept"], niobium_oxide["relaxed"]) == (["0001_NbO_sg221"], ["0001_NbO_sg221"])
    assert (rutile["template_seen"], niobium_oxide["template_seen"]) == (True, False)
    assert (rutile["formula"], rutile["space_group_number"], rutile["origin"]) == ("NbO2", 136, "experimental")
    assert [found[what] for what in ("passed the funnel", "of them metastable", "of them agreed")] == [2, 1, 1]
    low = {name for name, phase in phases.items() if (above := phase["dft_e_above_hull"]) is not None and above <= 0.1}
    small = {name for name, phase in phases.items() if phase["atoms"] <= 6}
    assert set(found["within_reach"]["known"]) == low & small
    assert set(found["within_reach"]["missed"]) == (low & small) - {"mp-2311"}
    assert found["within_reach"]["found"]["numerator"] == 1
    assert found["within_reach"]["found"]["denominator"] == len(low & small)
    assert rutile["atoms"] == 6
    assert found["wall_minutes"] == 1.5
    assert "2 of" in capsys.readouterr().out


@pytest.mark.slow
def test_only_what_a_model_was_trained_on_counts_as_learned():
    data = DataConfig(dataset="nbo", system="Ti-O", holdout=0.3, holdout_by="formula")
    learned = rediscovery.learned_from(Config(name="test", data=data))
    everything = load_dataset("nbo")
    formulas = {structure.composition.reduced_formula for structure in learned.structures}
    assert 0 < len(learned) < len(everything)
    assert not any(is_held_out(formula, 0.3, 0) for formula in formulas)
    without_niobium = rediscovery.learned_from(Config(name="test", data=data.model_copy(update={"system": "Nb"})))
    assert "Nb" not in {structure.composition.reduced_formula for structure in without_niobium.structures}
    assert "Nb" in formulas


def test_a_run_without_relaxation_is_refused(tmp_path):
    with pytest.raises(InputError, match="relaxed"):
        rediscovery.measure(tmp_path)
