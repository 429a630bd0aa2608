"""The peers' benchmark with tiny numbers and a pair potential; its figures on made-up verdicts."""

import json
from dataclasses import replace
from math import nan

import pytest

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.errors import InputError
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.evaluation.rows import Row
from crystalgraph.io.load import load
from crystalgraph.relax.relaxation import Relaxation, structure_record
from tools.bench import arms, chosen, equal_samples, equal_time, evolution, peers, tables


@pytest.fixture
def bench(quick_draws, toy_calculator, flat_hull, monkeypatch, tmp_path):  # noqa: ARG001 - arms draw quickly
    """The benchmark on few crystals, with small rounds and a hull that lies at zero everywhere; gives its JSON."""
    few = {name: arms.prototypes(ChemicalSystem.parse(name))[:30] for name in ("Nb-O", "Mg-Mn-O")}
    monkeypatch.setattr(arms, "prototypes", lambda system: few[str(system)])
    monkeypatch.setattr(peers, "prototypes", lambda system: few[str(system)])
    crystals = Crystals.concatenate(list(few.values()))
    monkeypatch.setattr(peers, "load_dataset", lambda _: load(crystals))
    monkeypatch.setattr(peers, "reference_hull", flat_hull)
    monkeypatch.setattr(equal_time, "ROUND", 6)

    def work(out, *options):
        fixed = ("--potential", toy_calculator, "--seeds", "0,1", "--work", str(tmp_path / "work"))
        peers.main([*fixed, "--out", str(tmp_path / out), *options])
        return json.loads((tmp_path / out).read_text())

    return work


def without_times(content):
    if isinstance(content, dict):
        return {k: without_times(v) for k, v in content.items() if "seconds" not in k}
    return [without_times(v) for v in content] if isinstance(content, list) else content


@pytest.mark.slow
def test_arms_of_an_earlier_run_stand_beside(bench, tmp_path):
    size = ("--samples", "4", "--relaxed", "1")
    first = bench("first.json", "--arms", "substitution,random", *size)
    beside = ("--beside", str(tmp_path / "first.json"))
    both = bench("both.json", "--arms", "raw", *size, *beside)
    assert list(both["arms"]) == ["substitution", "raw"]  # random parameters depend on the model
    samples = both["arms"]["substitution"]["equal_samples"]
    assert list(samples["ranking"]) == ["single point"]
    assert samples["msun_of_relaxed"] == first["arms"]["substitution"]["equal_samples"]["msun_of_relaxed"]
    assert "| substitution |" in peers.show(both["arms"])
    assert both["model"]["sha256"] == first["model"]["sha256"]
    with pytest.raises(InputError, match="another samples: 4, not 5"):
        bench("other.json", "--arms", "raw", "--samples", "5", "--relaxed", "1", *beside)
    assert not (tmp_path / "other.json").exists()


def test_what_another_model_said_is_left_out_of_earlier_arms(tmp_path):
    def figures():
        by_order = {order: {"spearman": 0.5} for order in ("discriminator", "rank", "single point", "teacher")}
        return {"ranking": by_order, "ranking_by": {"second": dict(by_order)}}

    samples = figures() | {"per_seed": {"0": figures()}}
    record = {"arms": {"substitution": {"equal_samples": samples}, "raw": {"equal_samples": samples}}}
    (tmp_path / "earlier.json").write_text(json.dumps(record))
    arms = peers.earlier_arms(tmp_path / "earlier.json", {})
    assert list(arms) == ["substitution"]
    left = arms["substitution"]["equal_samples"]
    for found in (left, left["per_seed"]["0"]):
        for ranking in (found["ranking"], found["ranking_by"]["second"]):
            assert list(ranking) == ["single point", "teacher"]


@pytest.mark.slow
def test_a_tiny_run_and_the_same_again(bench, tmp_path):
    options = ("--arms", "pyxtal,substitution,raw", "--samples", "6", "--relaxed", "2", "--minutes", "0.0001")
    first = bench("one.json", *options)
    assert list(first["arms"]) == ["pyxtal", "substitution", "raw"]
    for arm in first["arms"].values():
        samples, race = arm["equal_samples"], arm["equal_time"]
        assert samples["samples"] == 12
        assert samples["relaxed"] <= 4
        assert samples["msun_of_relaxed"]["denominator"] == samples["relaxed"]
        assert sum(samples["ended"].values()) == samples["relaxed"]
        for order in ("discriminator", "single point"):
            found = samples["ranking"][order]
            assert found["crystals"] + found["left_out"] == samples["relaxed"]
        assert list(samples["per_seed"]) == ["0", "1"]
        assert race["counts"]["drawn"] == 6
        assert race["counts"]["entered"] <= 6
        assert all(len(found["msun"]["per_seed"]) == 2 for found in race["by_judge"].values())
    assert peers.show(first["arms"]).count("| ours, raw |") == 5  # equal samples, three orders, equal time
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")

    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")}
    assert finished
    again = bench("two.json", *options)
    assert without_times(again["arms"]) == without_times(first["arms"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")} == finished


@pytest.mark.slow
@pytest.mark.usefixtures("quick_plausibility")
def test_what_a_run_with_energies_relaxes_is_an_arm_and_so_it_is_without_a_part(bench):
    names = ("chosen", "chosen-drawn", "chosen-by-score")
    found = bench("out.json", "--arms", ",".join(names), "--samples", "50", "--relaxed", "3", "--seeds", "0")
    remarks = {}
    for name, arm in found["arms"].items():
        samples = arm["equal_samples"]
        assert samples["samples"] == samples["relaxed"] == 3  # none left out by chance
        assert samples["seconds_per_100_drawn"] > 0
        (remarks[name],) = (seed["remarks"] for seed in samples["per_seed"].values())
        assert remarks[name]["relaxed"] == 3 <= remarks[name]["energies"] <= remarks[name]["samples drawn"]
        assert tables.drawn(samples) == remarks[name]["samples drawn"] > 3
    energies = [remarks[name]["energies"] for name in names]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] <= 4  # where no energy chooses all that enters is relaxed, but for the last of a batch


@pytest.mark.slow
def test_another_tools_crystals_and_an_evolution_are_arms(bench, tmp_path):
    given = to_structures(arms.prototypes(ChemicalSystem.parse("Nb-O"))[:5])
    (tmp_path / "theirs").mkdir()
    for k, structure in enumerate(given):
        structure.to_file(str(tmp_path / "theirs" / f"{k}.cif"))
    files = ("--files", str(tmp_path / "theirs"))
    found = bench("out.json", "--arms", "files", *files, "--samples", "9", "--relaxed", "1", "--seeds", "0")
    assert found["arms"]["files"]["title"] == "files of theirs"
    assert found["arms"]["files"]["files"]["sha256"] == load(tmp_path / "theirs").source.sha256
    assert found["arms"]["files"]["equal_samples"]["samples"] == 5
    found = bench(
        "race.json", "--arms", "evolution,files", *files, "--samples", "0", "--minutes", "0.0001", "--seeds", "0"
    )
    counts = found["arms"]["evolution"]["equal_time"]["counts"]
    assert counts["relaxed"] == counts["drawn"] > 0
    assert counts["drawn"] % evolution.POPULATION == 0
    assert found["arms"]["files"]["equal_time"]["counts"]["drawn"] == 5


@pytest.mark.parametrize(
    "options",
    [
        ["--arms", "files"],
        ["--arms", "raw", "--files", "theirs"],
        ["--arms", "evolution", "--samples", "3"],
        ["--arms", "search", "--samples", "3"],
    ],
)
def test_arms_that_lack_what_they_need_are_refused(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        peers.parse([*options, "--out", "out.json"])
    assert stopped.value.code == 2
    assert "give" in capsys.readouterr().err


def test_every_arm_that_chooses_has_its_parts():
    assert list(arms.CHOSEN) == list(chosen.PARTS)


@pytest.mark.slow
def test_a_ternary_needs_no_special_case(bench):
    found = bench("out.json", "--system", "Mg-Mn-O", "--arms", "substitution", "--samples", "4", "--relaxed", "1")
    arm = found["arms"]["substitution"]
    assert found["system"] == "Mg-Mn-O"
    assert arm["equal_samples"]["msun_new_of_relaxed"]["numerator"] == 0
    assert "equal_time" not in arm


@pytest.mark.slow
@pytest.mark.parametrize(("other", "agrees"), [("toy_potential:make_alike", True), ("ase.calculators.emt:EMT", False)])
def test_other_potentials_judge_what_may_be_metastable(bench, toy_calculator, monkeypatch, other, agrees):
    usual = equal_samples.FunnelSettings  # all crystals lie high above a hull at zero, or low
    monkeypatch.setattr(equal_samples, "FunnelSettings", lambda **given: usual(**given, finalists_below=1e3))
    size = ("--samples", "6", "--relaxed", "4")
    found = bench("out.json", "--arms", "substitution", *size, "--confirm", other, "--teachers", other)
    samples = found["arms"]["substitution"]["equal_samples"]
    assert [judge["name"] for judge in found["judges"]] == [toy_calculator, other]
    assert list(samples["by_judge"]) == [toy_calculator, other, "agreed"]
    assert [teacher["name"] for teacher in found["teachers"]] == [other]
    ranking = samples["ranking_by"][other]["single point"]
    assert ranking["crystals"] == (samples["relaxed"] if agrees else 0)
    for order in ("single point", other):
        assert samples["ranking"][order]["spearman"] is not None or not agrees
    rates = {judge: own["msun_of_relaxed"] for judge, own in samples["by_judge"].items()}
    assert rates[toy_calculator] == samples["msun_of_relaxed"]
    assert {rate["denominator"] for rate in rates.values()} == {samples["relaxed"]}
    assert rates[toy_calculator]["numerator"] > 0
    expected = rates[toy_calculator]["numerator"] if agrees else 0  # EMT knows oxygen, and no niobium
    assert rates[other]["numerator"] == rates["agreed"]["numerator"] == expected


def test_an_unknown_arm_is_refused(capsys):
    with pytest.raises(SystemExit):
        peers.parse(["--arms", "raw,magic", "--out", "x.json"])
    assert "magic" in capsys.readouterr().err


def test_a_search_draws_no_samples(capsys):
    with pytest.raises(SystemExit):
        peers.parse(["--arms", "raw,search", "--out", "x.json"])
    assert "--samples 0" in capsys.readouterr().err


def test_what_is_chosen_needs_no_minutes(capsys):
    with pytest.raises(SystemExit):
        peers.parse(["--arms", "raw,chosen", "--minutes", "1", "--out", "x.json"])
    assert "leave --minutes out" in capsys.readouterr().err


def row(name, *, strict=True, relaxed=True, msun=False, new=True, rmsd=None, energy=nan):
    return Row(
        name=name,
        strictly_valid=strict,
        relax_status="converged" if relaxed else "",
        msun=msun if relaxed else None,
        sun=False if relaxed else None,
        relaxed_new=new if relaxed else None,
        rmsd=rmsd,
        e_above_hull=energy,
    )


@pytest.fixture
def sample_run():
    def made(rows):
        relaxed = {r.name: Relaxation(status="converged", seconds=2.0, n_steps=10) for r in rows if r.relax_status}
        judgement = Judgement(rows=rows, metrics={}, rediscovery=[], undecided={})
        drawn = equal_samples.Drawn(structures=[], setup_seconds=1.0, seconds=0.5, remarks={})
        energies = [r.e_above_hull for r in rows if r.relax_status]
        orders, above = {"guess": [-energy for energy in energies]}, {"one": energies, "two": [-e for e in energies]}
        hits = {"one": equal_samples.Hits.of(judgement), equal_samples.AGREED: equal_samples.Hits()}
        return equal_samples.SampleRun(
            rows=rows, relaxed=relaxed, judgement=judgement, hits=hits, drawn=drawn, orders=orders, above=above
        )

    return made


def test_figures_of_seeds_are_pooled(sample_run):
    one = [row("a", msun=True, rmsd=0.1, energy=0.05), row("b", energy=0.3), row("c", strict=False, relaxed=False)]
    two = [row("a", msun=True, new=False, rmsd=0.3, energy=0.01), row("b", relaxed=False), row("c", relaxed=False)]
    found = equal_samples.sample_figures([sample_run(one), sample_run(two)])
    assert (found["samples"], found["relaxed"]) == (6, 3)
    assert (found["strict"]["numerator"], found["strict"]["denominator"]) == (5, 6)
    assert found["msun_of_relaxed"]["value"] == pytest.approx(2 / 3)
    assert found["msun_new_of_relaxed"]["value"] == pytest.approx(1 / 3)
    assert found["msun_of_budget"]["value"] == pytest.approx(2 / 3 * 5 / 6)
    assert found["by_judge"]["one"]["msun_of_relaxed"] == found["msun_of_relaxed"]
    assert found["by_judge"]["agreed"]["msun_of_budget"]["value"] == 0
    table = tables.judges({"raw": {"title": "ours, raw", "equal_samples": found}})
    assert "| MSUN of relaxed by | one | agreed |" in table
    assert found["rmsd"] == pytest.approx(0.2)
    assert found["rmsd_matched"]["value"] == pytest.approx(2 / 3)
    assert found["e_above_hull_median"] == pytest.approx(0.05)
    assert found["seconds_per_100_drawn"] == pytest.approx(100 * 1.0 / 6)
    assert found["seconds_per_relaxation"] == pytest.approx(2.0)
    assert found["ranking"]["guess"]["spearman"] == pytest.approx(1.0)
    assert found["ranking_by"]["two"]["guess"]["spearman"] == pytest.approx(-1.0)
    assert "correlation with two" in tables.orders({"raw": {"title": "ours, raw", "equal_samples": found}})
    assert found["ranking"]["guess"]["metastable_of_top_tenth"]["value"] == 1.0


def test_an_arm_without_a_valid_sample_has_no_rate_of_relaxed(sample_run):
    found = equal_samples.sample_figures([sample_run([row("a", strict=False, relaxed=False)])])
    assert found["strict"]["value"] == 0
    assert "absent" in found["msun_of_relaxed"]
    assert found["rmsd"] is None
    assert "–" in tables.peers({"raw": {"title": "ours, raw", "equal_samples": found}})


def test_finds_are_counted_over_time(dealer):
    (crystal,) = to_structures(dealer("rutile").draw(1).crystals)
    record = structure_record(crystal)

    def find(at):
        return equal_time.Find(at=at, given=record, relaxed=record, energy=-1.0, n_steps=3)

    own = equal_samples.Hits(msun=frozenset({"00000", "00001"}), msun_new=frozenset({"00000"}))
    run = equal_time.TimeRun(
        finds=[find(30.0), find(20.0), find(10.0)],
        hits={"one": own, equal_samples.AGREED: equal_samples.Hits()},
        rediscovered=["NbO"],
        spent={"draw": 1.0},
        counts={"drawn": 100, "relaxed": 40},
        exhausted=False,
    )
    nothing = replace(run, finds=[], hits={}, rediscovered=[])
    found = equal_time.time_figures([run, nothing], 60.0)
    assert found["by_judge"]["one"]["msun"] == {"mean": 1.0, "per_seed": [2, 0], "at_seconds": [[20.0, 30.0], []]}
    assert found["by_judge"]["one"]["msun_new"]["per_seed"] == [1, 0]
    assert found["by_judge"]["agreed"]["msun"]["per_seed"] == [0, 0]
    assert found["counts"]["drawn"] == 100
    assert found["rediscovered"] == ["NbO"]
    table = tables.races({"raw": {"title": "ours, raw", "equal_time": found}})
    assert "| ours, raw | 0.0 | 100 | 40 | 1.0 (2, 0) | 0.0 (0, 0) | 0.5 (1, 0) | 0.0 (0, 0) |" in table
    assert find(1.0).relaxation().structure.matches(crystal)


@pytest.mark.slow
def test_a_search_takes_its_time_and_the_same_again(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path / "cache"))
    options = ("--arms", "search", "--samples", "0", "--minutes", "0.05")
    first = bench("one.json", *options)["arms"]["search"]["equal_time"]
    assert first["spent_seconds"]["search"] > 0
    assert first["counts"]["relaxed"] > 0
    assert bench("two.json", *options)["arms"]["search"]["equal_time"] == first
