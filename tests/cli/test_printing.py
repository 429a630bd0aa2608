"""What the terminal shows of a run fits, says the same as the JSON, and nothing is cut off."""

import pytest

from crystalgraph.cli.printing import print_summary

CANDIDATES = [
    {
        "rank": k,
        "formula": "Mg10Mn12O30",
        "space_group": 194,
        "symbol": "P6_3/mmc",
        "e_above_hull": -0.1234,
        "agreed": answer,
        "known_phase": name,
        "known_rmsd": 0.123,
        "source": source,
        "file": f"{k:04d}_Mg10Mn12O30_sg194",
    }
    for k, (answer, name, source) in enumerate(
        [(True, "agm002145678", "prototype"), (False, None, "prototype"), (None, "mp-1", "generator")], start=1
    )
]
SAID = {
    "folder": "runs/x",
    "request": "3 crystals of Mg-Mn-O",
    "candidates": CANDIDATES,
    "n_candidates": 30,
    "funnel": "256 drawn → 30 with an energy (lost: 3 copy) → 3 relaxed → 3 selected",
    "remarks": ["a remark"],
}


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_is_whole(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(SAID)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    for row in CANDIDATES:
        (line,) = [line for line in lines if row["file"] in line]
        assert all(text in line for text in ("Mg10Mn12O30", "P6_3/mmc", "-0.123"))
    assert "agm002145678" in out
    assert "(0.12 Å)" in out
    assert "a prototype" in next(line for line in lines if CANDIDATES[1]["file"] in line)
    assert out.count("a prototype") == 1
    assert "…" not in out
    assert "the first 3 of 30" in out
    assert lines[-3:] == [SAID["funnel"], "a remark", "written to runs/x"]


def test_without_energies_the_score_is_shown(capsys):
    row = {key: value for key, value in CANDIDATES[0].items() if key not in ("e_above_hull", "agreed")} | {
        "score": None
    }
    print_summary(SAID | {"candidates": [row], "n_candidates": 1})
    out = capsys.readouterr().out
    assert "score" in out
    assert "agreed" not in out
    assert "the first" not in out


@pytest.mark.parametrize("name", ["generate", "evaluate", "train", "data"])
def test_every_command_tells_its_version(name, cg):
    from crystalgraph import __version__

    assert cg(f"cg-{name}", "--version") == (0, f"crystalgraph {__version__}\n", "")
