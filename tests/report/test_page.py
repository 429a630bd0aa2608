import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crystalgraph.models.bundle import load_model
from crystalgraph.report import crystal_data
from crystalgraph.report.crystal_data import Crystal, Version
from crystalgraph.report.page import Column, FunnelLine, Page, render
from crystalgraph.report.words import (
    LEARNED_ATOMS,
    RANK_CORRELATION,
    RANK_CORRELATION_WITHIN,
    RANKED_CRYSTALS,
    SELECTED_RANK_CORRELATION,
    SELECTED_RANK_CORRELATION_WITHIN,
    SINGLE_POINT_CORRELATION,
    energy_caveats,
    judge_errors,
)

ROOT = Path(__file__).parents[2]
ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028&amp;"


class Reader(HTMLParser):
    """Which elements there are, what is in the scripts, and the attributes that could load something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.links, self.policy, self.text = [], [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.links += [value for name, value in attributes if name in ("src", "href", "action", "data", "srcset")]
        self.tags += [name for name in values if name.startswith("on")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]

    def handle_data(self, data):
        (self.scripts if self.lasttag == "script" and data.strip() else self.text).append(data)


def made(n=3, structure=None, text="data_x\n"):
    version = Version(label="relaxed", structure=structure, file="structures/a.cif", text=text)
    return Page(
        title=ATTACK,
        kind="generated crystals",
        lead=ATTACK,
        figures=[(ATTACK, ATTACK)],
        unit="sample",
        funnel=[FunnelLine(name=ATTACK, count=n, meaning=ATTACK, reasons=[ATTACK])],
        columns=[
            Column(key="formula", label="formula", kind="formula"),
            Column(key="name", label="name", kind="text"),
            Column(key="nothing", label="nothing"),
        ],
        rows=[{"formula": ATTACK, "name": ATTACK, "nothing": None} for _ in range(n)],
        n_rows=n,
        rows_file="candidates.csv",
        crystals=[Crystal(name=ATTACK, formula=ATTACK, facts=[(ATTACK, ATTACK)], versions=[version]) for _ in range(n)],
        missing=[ATTACK],
        record=[(ATTACK, [(ATTACK, ATTACK)])],
        caveats=[ATTACK],
    )


def data_of(text):
    return json.loads(Reader(text).scripts[0])


def test_nothing_from_outside_becomes_an_element():
    text = render(made(text=ATTACK))
    found = Reader(text)
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert not {tag for tag in found.tags if tag.startswith("on")}
    assert data_of(text)["crystals"][0]["versions"][0]["text"] == ATTACK
    assert data_of(text)["crystals"][0]["name"] == ATTACK


def test_nothing_is_loaded_and_only_the_two_scripts_may_run():
    found = Reader(render(made()))
    assert all(link == "data:," or link.startswith("#") for link in found.links)
    rules = dict(rule.strip().split(" ", 1) for rule in found.policy.split(";"))
    assert rules["default-src"] == "'none'"
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found.scripts[1:]]
    assert rules["script-src"] == " ".join(f"'sha256-{found}'" for found in sums)


def test_the_same_page_gives_the_same_bytes(crystals):
    assert render(made(structure=crystals["rutile"])) == render(made(structure=crystals["rutile"]))


def test_columns_without_a_value_are_left_out():
    heads = re.findall(r"<th scope=\"col\"[^>]*data-key=\"(\w+)\"", render(made()))
    assert heads == ["formula", "match", "name"], "match is for measured patterns"


@pytest.mark.slow
def test_two_hundred_large_crystals_stay_below_twelve_megabytes(crystals):
    large = crystals["wurtzite"] * (3, 3, 1)
    text = render(made(n=200, structure=large, text="x" * 50_000))
    assert len(text.encode()) < 12_000_000
    shown = [crystal for crystal in data_of(text)["crystals"] if crystal is not None]
    assert 0 < len(shown) < 200
    assert f"Structures of the first {len(shown)} are on this page" in text


def test_what_is_beyond_the_limits_is_said(monkeypatch):
    monkeypatch.setattr(crystal_data, "MAX_CRYSTALS", 2)
    page = made(n=4)
    text = render(Page(**vars(page) | {"n_rows": 9}))
    assert "The first 4 of 9; all are in candidates.csv." in text
    assert "Structures of the first 2 are on this page" in text


def test_too_many_atoms_are_not_drawn(crystals):
    version = data_of(render(made(n=1, structure=crystals["wurtzite"] * (4, 4, 4))))["crystals"][0]["versions"][0]
    assert version["scene"] is None
    assert version["reflections"] is None


def test_the_errors_named_are_those_measured():
    measured = json.loads((ROOT / "tools" / "results" / "judge.json").read_text())
    assert judge_errors() == measured["single_points"]
    (first, error, _) = energy_caveats(["sevennet-0", "sevennet-l3i5", "diep"], "Nb-O")
    assert "SevenNet-l3i5, not DFT's" in first
    assert "SevenNet-0 and DIEP judged beside it" in first
    assert f"{measured['single_points']['sevennet-l3i5']['Nb-O']['e_above_hull_mae']:.3f} eV/atom" in error


def test_the_rank_correlations_named_are_those_measured():
    arms = json.loads((ROOT / "tools" / "results" / "peers.json").read_text())["arms"]
    raw, selected = (arms[name]["equal_samples"]["ranking"] for name in ("raw", "screened"))
    found = [raw["rank"], selected["rank"], raw["single point"]]
    assert {ranking["crystals"] for ranking in found} == {RANKED_CRYSTALS}
    expected = [RANK_CORRELATION, SELECTED_RANK_CORRELATION, SINGLE_POINT_CORRELATION]
    assert [ranking["spearman"] for ranking in found] == pytest.approx(expected, abs=5e-3)
    within = [ranking["spearman_within_formulas"] for ranking in (raw["rank"], selected["rank"])]
    assert within == pytest.approx([RANK_CORRELATION_WITHIN, SELECTED_RANK_CORRELATION_WITHIN], abs=5e-3)


@pytest.mark.slow
def test_the_largest_cell_named_is_that_learned_from():
    assert load_model("nbo").record["config"]["data"]["max_atoms"] == LEARNED_ATOMS


def test_other_potentials_and_systems_are_not_judged_by_these_errors():
    for judges, system in ((["chgnet"], "Cs-Pb-I"), (["emt:EMT"], "Nb-O")):
        assert "was not measured" in energy_caveats(judges, system)[1]
