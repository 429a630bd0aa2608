"""The baseline of structure prediction on crystals with known neighbours, the figures by hand, and a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures, to_structures
from crystalgraph.errors import InputError
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.bundle import load_model, save_model
from crystalgraph.training.config import DataConfig
from crystalgraph.training.corpus import held_out_checksum, prepare
from tools.bench import prediction, tables


def rutile(metal: str, anion: str = "O") -> Structure:
    return Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 3.0), [metal, anion], [[0, 0, 0], [0.305, 0.305, 0]])


def anatase(metal: str) -> Structure:
    cell = Lattice.tetragonal(3.78, 9.51)
    structure = Structure.from_spacegroup(141, cell, [metal, "O"], [[0, 0, 0], [0, 0, 0.2081]])
    return structure.get_primitive_structure()


VOLUME = torch.arange(119, dtype=torch.float64) / 2


def case(structure: Structure) -> Crystals:
    return from_structures([structure])


def test_nearest_elements_come_first_and_no_protostructure_twice_before_all_came(as_parametrised) -> None:
    baseline = prediction.NearestPrototypes(
        as_parametrised(rutile("Pb"), anatase("Sn"), anatase("Zr"), rutile("O", "Li")), VOLUME
    )
    first, second, third = to_structures(baseline.predict(case(rutile("Ti")), 20))
    assert third.get_space_group_info()[1] == 141  # of SnO2: its protostructure came already
    assert first.composition.formula == second.composition.formula == "Ti2 O4"
    assert first.get_space_group_info()[1] == 141  # of ZrO2: zirconium is next to titanium
    assert second.get_space_group_info()[1] == 136  # of PbO2; in OLi2 the anion has the other place
    volume = rutile("Pb").volume * (2 * 22 + 4 * 8) / (2 * 82 + 4 * 8)
    assert second.volume == pytest.approx(volume, rel=1e-6)
    assert len(baseline.predict(case(rutile("Ti")), 1)) == 1


def test_what_no_crystal_has_the_stoichiometry_of_has_no_prototype(as_parametrised) -> None:
    baseline = prediction.NearestPrototypes(as_parametrised(rutile("Pb"), anatase("Sn")), VOLUME)
    alloy = Structure(Lattice.cubic(5), ["Ti", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]])
    found = baseline.predict(case(alloy), 20)
    assert len(found) == 0
    assert prediction.compare(alloy, found).rms == []


def test_distance_is_zero_for_the_same_and_none_for_another() -> None:
    assert prediction.rms_distance(rutile("Ti"), rutile("Ti")) == pytest.approx(0, abs=1e-6)
    larger = rutile("Ti")
    larger.scale_lattice(larger.volume * 1.2)
    assert prediction.rms_distance(rutile("Ti"), larger) == pytest.approx(0, abs=1e-6)
    fluorite = Structure.from_spacegroup(225, Lattice.cubic(4.8), ["Ti", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    assert prediction.rms_distance(rutile("Ti"), fluorite) is None


def test_figures_by_hand() -> None:
    outcomes = [
        prediction.Outcome(rms=[0.3, None, 0.1]),
        prediction.Outcome(rms=[None, 0.2]),
        prediction.Outcome(rms=[None]),
        prediction.Outcome(rms=[]),
    ]
    found = prediction.figures(outcomes)
    assert found["cases"] == 4
    assert found["without_samples"] == 1
    assert (found["match_1"]["numerator"], found["match_1"]["denominator"]) == (1, 4)
    assert found["match_20"]["numerator"] == 2
    assert found["rmse_1"] == pytest.approx(0.3)
    assert found["rmse_20"] == pytest.approx((0.1 + 0.2) / 2)


@pytest.mark.slow
def test_our_samples_have_the_asked_atoms() -> None:
    found = prediction.our_samples(load_model("nbo"), case(rutile("Nb")), torch.Generator().manual_seed(0))
    assert len(found["drawn"]) == 20
    assert 2 <= len(found["ranked"]) <= 20
    assert len(found["ours"]) > len(found["drawn"])  # known crystals, and the better half of what is drawn
    for crystals in found.values():
        assert {structure.composition.formula for structure in to_structures(crystals)} == {"Nb2 O4"}
    many = ["Li", "Nb", "Mn", "Fe", "O", "S", "Cl"]  # no known template has so many elements: they are enumerated
    seven = case(Structure(Lattice.cubic(6), many, torch.rand(7, 3).numpy()))
    for crystals in prediction.our_samples(load_model("nbo"), seven, torch.Generator().manual_seed(0)).values():
        assert all(
            sorted(structure.composition.get_el_amt_dict()) == sorted(many) for structure in to_structures(crystals)
        )


def test_what_nothing_is_to_relax_by_is_refused() -> None:
    with pytest.raises(InputError, match="add --potential"):
        prediction.main(["--model", "nbo", "--relax", "3", "--out", "found.json"])


def test_copies_count_once_among_the_best() -> None:
    swollen = rutile("Ti")
    swollen.scale_lattice(1.2 * swollen.volume)
    crystals = from_structures([anatase("Ti"), rutile("Ti"), swollen, rutile("V")])
    assert prediction.first_distinct(crystals, [2, 1, 3, 0]) == [2, 3, 0]


@pytest.mark.slow
def test_runs_as_a_command_with_workers(tmp_path) -> None:
    model, data = load_model("nbo"), DataConfig(dataset="nbo", system="Ti-O", holdout=0.3, holdout_by="formula")
    model.record["config"]["data"] = data.model_dump()
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "tools.bench", "prediction", "--model", str(tmp_path / "model")]
    command += ["--cases", "3", "--workers", "2", "--out", str(tmp_path / "found.json")]
    command += ["--potential", "sevennet-0", "--relax", "1", "--relaxed-cases", "1", "--cache", str(tmp_path / "cache")]

    save_model(model, tmp_path / "model")
    refused = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "was trained on another split" in refused.stderr

    model.record["held_out"] = held_out_checksum(prepare(load_dataset("nbo"), data))
    save_model(model, tmp_path / "model")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["command"].startswith("python -m tools.bench prediction --model")
    assert record["model"]["sha256"] == load_model("nbo").checksum
    groups = record["groups"]
    assert {arm: found["cases"] for arm, found in groups["all"].items()} == {
        "nearest prototypes": 3,
        "likeliest prototypes": 3,
        "drawn": 3,
        "ranked": 3,
        "nearest prototypes, by single points": 3,
        "ours, by single points": 3,
        "nearest prototypes, relaxed": 1,
        "ours, relaxed": 1,
    }
    assert record["energies"]["name"] == "sevennet-0"
    assert record["energies"]["cpu_seconds"]["ours"]["most"] > 0
    assert done.stdout.strip().endswith(tables.prediction(groups).strip())
