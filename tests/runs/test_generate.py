"""Generation as a library call: what it gives, what it writes, what it refuses before any work."""

import json
import logging
import re
from dataclasses import replace

import gemmi
import numpy as np
import pandas as pd
import pytest
import spglib
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice
from pymatgen.io.cif import CifParser

from crystalgraph.errors import InputError
from crystalgraph.io.columns import COLUMNS
from crystalgraph.io.exporting import select
from crystalgraph.runs.generate import generate
from crystalgraph.runs.generation_result import GenerationResult
from crystalgraph.sampling.settings import SamplingSettings
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.search import SearchSettings

pytestmark = pytest.mark.usefixtures("quick_plausibility", "cache")

SHORT = SearchSettings(round_size=32, patience=3)


@pytest.fixture
def cache(monkeypatch, tmp_path_factory):
    """An empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(folder))
    return folder


@pytest.fixture
def deal(dealer, monkeypatch):
    """Generate with a stand-in for model and sampler; gives the result, and what the sampler was made with."""

    def call(*arguments, names=(), **options):
        requested = {}

        def sampler(model, elements, rng, **settings):
            requested.update(settings, elements=elements, seed=rng.initial_seed())
            return model

        model = dealer(*names)
        monkeypatch.setattr("crystalgraph.runs.generate.load_model", lambda _: model)
        monkeypatch.setattr("crystalgraph.runs.generate.Sampler", sampler)
        return generate(*arguments, **{"search": SHORT} | options), requested

    return call


@pytest.mark.slow
def test_without_a_folder_nothing_is_written(deal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result, _ = deal("Nb-O", num=3, seed=5)
    assert isinstance(result, GenerationResult)
    assert len(result) == len(result.structures) == len(result.names) == 3
    assert result.request == GenerationRequest.parse(system="Nb-O", num=3, seed=5)
    assert result.record["counts"]["selected"] == 3
    assert json.loads(json.dumps(result.record)) == result.record
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_folder_holds_the_result(deal, tmp_path):
    result, _ = deal("Nb-O", num=4, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == result.record
    written = pd.read_csv(tmp_path / "run" / "candidates.csv")
    assert set(written.columns) <= set(COLUMNS)
    everything, selected = result.to_dataframe(all_samples=True), result.to_dataframe()
    assert list(everything.columns) == list(selected.columns) == list(written.columns)
    assert len(everything) == len(written) == result.counts["drawn"]
    assert selected["rank"].tolist() == [1, 2, 3, 4]
    ranked = written[written["rank"].notna()].sort_values("rank")
    assert selected["file"].tolist() == ranked["file"].tolist() == result.names
    assert selected["score"].tolist() == pytest.approx(ranked["score"].tolist(), rel=1e-5)
    assert {path.stem for path in (tmp_path / "run" / "structures").iterdir()} == set(result.names)


@pytest.mark.slow
def test_a_relaxed_result_is_ranked_by_energy(deal, toy_calculator, flat_hull, monkeypatch):
    monkeypatch.setattr("crystalgraph.screening.funnel.reference_hull", flat_hull)
    stages = []
    options = {"relax": 2, "potential": toy_calculator, "progress": lambda *told: stages.append(told[0])}
    result, _ = deal("Nb-O", **options)
    assert result.request.num == len(result) == 6
    frame = result.to_dataframe()
    relaxed = frame[frame["funnel_status"] == "relaxed"]
    assert 1 <= len(relaxed) == len(result.relaxed) <= 2
    assert relaxed["e_above_hull"].is_monotonic_increasing
    assert result.hull is not None
    assert result.record["relaxation"]["relaxed"] == len(relaxed)
    assert {"selected", "single point"} <= set(stages)


def group_of_spglib(structure, symprec):
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), structure.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number


def assert_one_group_everywhere(folder, states):
    """Name, CSV, CIF, page and spglib, at the stated tolerance and far below it; the cell on the page is the file's."""
    rows = pd.read_csv(folder / "candidates.csv")
    page = re.search(
        r"<script[^>]*application/json[^>]*>(.*?)</script>", (folder / "report.html").read_text(), re.DOTALL
    )
    versions = {v["file"]: (c, v) for c in json.loads(page[1])["crystals"] for v in c["versions"]}
    symprec = json.loads((folder / "run.json").read_text())["symprec"]
    for state, (column, fact) in states.items():
        for file in sorted((folder / state).glob("*.cif")):
            named = rows["drawn_file"].fillna(rows["file"]) if "drawn_file" in rows else rows["file"]
            row = rows[(rows["file"] if state == "relaxed" else named) == file.stem].iloc[0]
            group = int(row[column])
            crystal, version = versions[f"{state}/{file.name}"]
            small = gemmi.read_small_structure(str(file))
            (structure,) = CifParser(file, frac_tolerance=0).parse_structures(primitive=False)
            assert file.stem.endswith(f"_sg{group}")
            assert small.spacegroup.number == group
            assert f"({group})" in dict(crystal["facts"])[fact]
            assert [group_of_spglib(structure, tolerance) for tolerance in (1e-4, symprec)] == [group, group]
            assert version["text"] == file.read_text()
            shown = Lattice(version["scene"]["lattice"]).parameters
            assert shown[:3] == pytest.approx(structure.lattice.parameters[:3], abs=2e-4)
            assert shown[3:] == pytest.approx(structure.lattice.parameters[3:], abs=0.02)


DRAWN = {"structures": ("space_group", "group drawn")}


@pytest.mark.slow
def test_name_table_file_and_page_have_one_group(deal, tmp_path):
    result, _ = deal("Nb-O", num=4, out=tmp_path / "run")
    assert_one_group_everywhere(tmp_path / "run", DRAWN)
    for structure, name in zip(result.structures, result.names, strict=True):
        assert structure.properties["state"] == "as drawn"
        assert name.endswith(f"_sg{structure.properties['space_group']}")
        assert group_of_spglib(structure, 1e-4) == structure.properties["space_group"]


@pytest.mark.slow
def test_a_relaxed_crystal_has_its_own_group_everywhere(deal, toy_calculator, flat_hull, monkeypatch, tmp_path):
    monkeypatch.setattr("crystalgraph.screening.funnel.reference_hull", flat_hull)
    result, _ = deal("Nb-O", num=6, relax=3, potential=toy_calculator, out=tmp_path / "run")
    assert_one_group_everywhere(tmp_path / "run", DRAWN | {"relaxed": ("relaxed_space_group", "group relaxed")})
    assert result.relaxed
    for structure in result.structures:
        assert group_of_spglib(structure, 1e-4) == structure.properties["space_group"]
        assert len(structure) == len(structure.get_primitive_structure())
    chosen = select(str(tmp_path / "run"), top=2)
    assert chosen.ids == result.names[:2]
    assert chosen.structures[0].matches(result.relaxed[0])
    for structure, sample in zip(result.relaxed, result.selected, strict=False):
        outcome = result.outcomes[sample.draw]
        own = structure.properties
        assert (own["state"], own["space_group"]) == ("relaxed", outcome.relaxed_space_group)
        assert own["energy"] == outcome.energy
        assert own["e_above_hull"] == outcome.e_above_hull


@pytest.mark.slow
def test_under_pressure_it_is_the_enthalpy_that_ranks(deal, toy_calculator, flat_hull, monkeypatch, tmp_path):
    settings = []

    def hull(*arguments, **options):
        settings.append(options["settings"])
        return flat_hull(*arguments)

    monkeypatch.setattr("crystalgraph.screening.funnel.reference_hull", hull)
    folder = tmp_path / "run"
    result, _ = deal("Nb-O", num=6, relax=3, potential=toy_calculator, pressure=10.0, out=folder)
    assert [one.pressure for one in settings] == [10.0]
    assert result.relaxed
    for structure, sample in zip(result.relaxed, result.selected, strict=False):
        outcome, own = result.outcomes[sample.draw], structure.properties
        work = 10.0 * structure.volume / len(structure) / 160.21766208
        assert outcome.enthalpy == pytest.approx(outcome.energy + work, abs=1e-4)
        assert outcome.e_above_hull == outcome.enthalpy  # the hull lies at zero
        assert (own["pressure"], own["enthalpy"]) == (10.0, outcome.enthalpy)
        (text,) = [file.read_text() for file in (folder / "relaxed").glob(f"{sample.file}.cif")]
        assert "# enthalpy above the hull at 10 GPa, eV/atom" in text
        assert re.search(r"_crystalgraph_pressure\s+10\b", text)
    assert result.to_dataframe()["e_above_hull"][: len(result.relaxed)].is_monotonic_increasing
    assert result.record["relaxation"]["settings"]["pressure"] == 10.0
    assert any("enthalpies at 10 GPa" in line for line in result.record["caveats"])
    assert "enthalpies at 10 GPa" in (folder / "report.html").read_text()
    assert "enthalpy" in pd.read_csv(folder / "candidates.csv").columns
    without, _ = deal("Nb-O", num=6, relax=3, potential=toy_calculator)
    assert "enthalpy" not in without.columns
    assert "pressure" not in without.relaxed[0].properties


def pattern_of(structure, path):
    lines = XRDCalculator("CuKa").get_pattern(structure, two_theta_range=(8, 92))
    angles = np.arange(10, 90, 0.02)
    counts = sum(part * np.exp(-0.5 * ((angles - at) / 0.08) ** 2) for at, part in zip(lines.x, lines.y, strict=True))
    np.savetxt(path, np.column_stack((angles, counts + 3)))
    return path


@pytest.mark.slow
def test_a_powder_pattern_ranks(deal, tmp_path):
    before, _ = deal("Nb-O", num=6)
    wanted = before.structures[3]
    file = pattern_of(wanted.copy().scale_lattice(1.02 * wanted.volume), tmp_path / "mine.xy")
    result, _ = deal("Nb-O", num=6, pattern=file, out=tmp_path / "run")
    assert result.structures[0].matches(wanted)
    frame = pd.read_csv(tmp_path / "run" / "candidates.csv").dropna(subset="rank").sort_values("rank")
    assert frame["pattern_similarity"].is_monotonic_decreasing
    assert frame["pattern_similarity"].iloc[0] > 0.9
    assert frame["file"].tolist() == result.names
    assert [name[:4] for name in result.names] == [f"{rank:04d}" for rank in range(1, 7)]
    assert_one_group_everywhere(tmp_path / "run", DRAWN)
    assert {structure.properties["pattern_similarity"] for structure in result.structures} == set(
        result.to_dataframe()["pattern_similarity"]
    )
    assert result.record["pattern"]["file"] == "mine.xy"
    assert any("powder pattern mine.xy" in line for line in result.record["caveats"])
    assert result.best(1)[0]["pattern_similarity"] == pytest.approx(frame["pattern_similarity"].iloc[0], rel=1e-4)


@pytest.mark.slow
def test_with_energies_a_powder_pattern_ranks_the_metastable(deal, toy_calculator, flat_hull, monkeypatch, tmp_path):
    monkeypatch.setattr("crystalgraph.screening.funnel.reference_hull", flat_hull)
    options = {"num": 6, "relax": 4, "potential": toy_calculator}
    before, _ = deal("Nb-O", **options)
    file = pattern_of(before.relaxed[-1], tmp_path / "mine.xy")
    result, _ = deal("Nb-O", **options, pattern=file, out=tmp_path / "run")
    frame, n = result.to_dataframe(), len(result.relaxed)
    low = (frame["funnel_status"] == "relaxed") & (frame["e_above_hull"] <= 0.1)
    assert low.any()
    assert low.is_monotonic_decreasing
    assert frame.loc[low, "pattern_similarity"].is_monotonic_decreasing
    assert frame.loc[~low, "e_above_hull"].dropna().is_monotonic_increasing
    assert sorted(map(str, result.to_dataframe()["template"])) == sorted(map(str, before.to_dataframe()["template"]))
    if low[:n].all():
        assert result.relaxed[0].matches(before.relaxed[-1])
    assert_one_group_everywhere(tmp_path / "run", DRAWN | {"relaxed": ("relaxed_space_group", "group relaxed")})
    for structure, value in zip(result.relaxed, frame["pattern_similarity"], strict=False):
        assert structure.properties["pattern_similarity"] == value


@pytest.mark.slow
def test_a_raw_result_is_in_draw_order(deal):
    result, requested = deal("Nb-O", raw=True, num=5, names=("rock salt", "crushed"))
    assert result.to_dataframe()["draw"].tolist() == [0, 1, 2, 3, 4]
    assert result.to_dataframe()["strictly_valid"].tolist() == [True, False, True, False, True]
    assert requested["n_draws"] == 1


def test_the_request_reaches_the_sampler(deal, cache):
    request = GenerationRequest.parse(
        formula="NbO2", space_group_number=136, max_atoms=12, num=1, seed=7, temperature=2.0, explore=0.5, fast=True
    )
    settings = SamplingSettings(n_draws=3)
    result, requested = deal(request, names=("rutile",), sampling=settings)
    assert len(result) == 1
    assert requested == {
        "elements": [41, 8],
        "formula": {41: 1, 8: 2},
        "space_group_number": 136,
        "min_atoms": 1,
        "max_atoms": 12,
        "seed": 7,
        "temperature": 2.0,
        "explore": 0.5,
        "n_draws": None,
        "fast": True,
        "use_prototypes": True,
        "surrogate_steps": None,
        "settings": settings,
        "trials": cache / "generation",
    }
    _, requested = deal(replace(request, fast=False), names=("rutile",))
    assert (requested["n_draws"], requested["fast"]) == (None, False)


def test_where_nothing_can_be_kept_this_is_said_and_the_run_goes_on(deal, cache, monkeypatch, caplog):
    (cache / "file").write_text("")
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(cache / "file"))
    with caplog.at_level(logging.WARNING, "crystalgraph.runs"):
        result, requested = deal(formula="NbO2", num=1, names=("rutile",))
    assert len(result) == 1
    assert requested["trials"] is None
    assert "cannot be written to" in caplog.text
    assert "tried anew in every run" in caplog.text


@pytest.mark.slow
def test_a_notebook_shows_the_first_candidates(deal):
    result, _ = deal("Nb-O", num=3)
    text = result._repr_html_()
    assert text.count("<tr>") == 1 + 3
    assert all(name in text for name in result.names)
    assert "NbO<sub>2</sub>" in text
    assert repr(result).startswith("<3 candidates of ")
    hostile = replace(result, samples=[replace(s, formula="<img>") for s in result.samples])
    assert "<img>" not in hostile._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("Nb-Qq",), {}, "Qq"),
        (("Nb-O",), {"relax": 0}, "relax 0"),
        (("Nb-O",), {"relax": 3, "raw": True, "num": 5}, "cg-evaluate"),
        (("Nb-O",), {"workers": 0}, "workers 0"),
        (("Nb-O",), {"relax": 3, "potential": "abacus"}, "abacus"),
        (("Nb-O",), {"confirm": ["diep"]}, "nothing to relax"),
        (("Nb-O",), {"potential": "chgnet"}, "a potential .chgnet. but nothing to relax"),
        (("Nb-O",), {"radiation": "light"}, "a radiation .light. but no powder pattern"),
        (("Nb-O",), {"pressure": 10.0}, "a pressure .10 GPa. but nothing to relax"),
        (("Nb-O",), {"relax": 3, "pressure": 151.0}, "151 GPa is not in -10 to 150"),
        (("Nb-O",), {"relax": 3, "pressure": float("nan")}, "nan GPa is not in -10 to 150"),
        (("Nb-O",), {"formats": ["xsf"]}, "xsf"),
        (("Nb-O",), {"pattern": __file__}, "is no pattern"),
        (("Nb-O",), {"pattern": "/nowhere.xy"}, "cannot be read"),
        (("Nb-O",), {"pattern": __file__, "radiation": "light"}, "'light' is none of Cu Kα"),
        (("Nb-O",), {"pattern": __file__, "raw": True, "num": 5}, "a raw run is not ranked"),
        (("Nb-O",), {"device": "abacus"}, "abacus"),
        (("Nb-O",), {"refine": 5}, "learned no energies"),
        (("Nb-O",), {"out": "/dev/null"}, "/dev/null"),
        (("Nb-O",), {"out": "/proc/run"}, "not a folder one can write to"),
        ((GenerationRequest.parse(),), {"num": 5}, "put all into the request"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(deal, arguments, options, says, monkeypatch):
    monkeypatch.setattr("crystalgraph.runs.generate.run", None)
    with pytest.raises(InputError, match=says):
        deal(*arguments, **options)


def test_an_unknown_argument_is_named_with_those_that_are_known(deal):
    with pytest.raises(TypeError, match=r"generate\(\) has no argument 'nope'; a request has .*space_group_number"):
        deal("Nb-O", nope=1)


@pytest.mark.slow
def test_a_folder_without_its_page_never_appears(deal, tmp_path, monkeypatch):
    def broken(folder, *_):
        assert (folder / "run.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("crystalgraph.runs.generate.write_generation_report", broken)
    with pytest.raises(KeyboardInterrupt):
        deal("Nb-O", num=2, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws", "quick_plausibility")
def test_a_space_group_that_is_asked_for_is_that_also_with_some_tolerance():
    found = generate(formula="Nb2O5", space_group_number=15, num=4, seed=0)
    assert found.structures
    for symprec in (0.1, 0.01):
        for degrees in (5, -1):  # pymatgen's default, spglib's own
            groups = {structure.get_space_group_info(symprec, degrees)[1] for structure in found.structures}
            assert groups == {15}
    nearly = [sample.reason for sample in found.samples if "within 0.1 Å" in sample.reason]
    assert all(re.fullmatch(r"spglib finds space group \d+ within 0\.1 Å( and 5°)?", reason) for reason in nearly)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws")
def test_the_default_judges_agree_on_niobium_monoxide():
    """Nothing stands in for the potentials here: each gives an energy, and the known phase is named."""
    result = generate(formula="NbO", max_atoms=6, relax=2, seed=0)
    first = (result.outcomes or {})[result.selected[0].draw]
    assert set(first.e_above_hull_by) == {"sevennet-0", "sevennet-l3i5", "diep"}
    assert first.ranked_by == "sevennet-l3i5"
    assert first.relaxed_space_group == 221
    assert first.e_above_hull == pytest.approx(0, abs=0.02)
    assert result.best(1)[0]["known_phase"]
    assert result.best(1)[0]["agreed"]
