"""The README's figures are those of the committed results, row by row."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "tools" / "results" / f"{name}.json").read_text())


def interval(low: float, high: float) -> str:
    return f"({low:.2f}–{high:.2f})"


def rate(record: dict[str, Any]) -> str:
    return f"{record['value']:.2f} {interval(*record['interval'])}"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def peers(name: str) -> list[str]:
    rows = []
    for arm in result(name)["arms"].values():
        found = arm["equal_samples"]
        rates = [rate(found[what]) for what in ("msun_of_relaxed", "msun_of_budget", "msun_new_of_budget")]
        strict = f"{found['strict']['value']:.2f}"
        rows.append(row(arm["title"], strict, f"{found['e_above_hull_median']:.3f}", *rates))
    return rows


def at_equal_time() -> list[str]:
    rows = []
    for arm in result("peers_time")["arms"].values():
        found = arm["equal_time"]
        msun, new = (
            f"{found[what]['mean']:.1f} ({', '.join(map(str, found[what]['per_seed']))})"
            for what in ("msun", "msun_new")
        )
        rows.append((arm["title"], msun, f"{found['sun']['mean']:.1f}", new))
    return ["\n".join(cells) for cells in rows]


def rankings() -> list[str]:
    rows = []
    names = {"discriminator": "discriminator's score", "rank": "rank", "single point": "CHGNet before relaxation"}
    for arm in ("raw", "screened", "substitution"):
        for order, found in result("peers")["arms"][arm]["equal_samples"]["ranking"].items():
            what = names[order]
            numbers = f"{found['spearman']:.2f} | {found['spearman_within_formulas']:.2f}"
            rows.append(f"{what} | {numbers} | {rate(found['metastable_of_top_tenth'])} |")
    return rows


def raw() -> list[str]:
    rows = []
    for title, name in (("three passes", "raw"), ("with `--fast`: one pass", "raw_fast")):
        found = result(name)
        rows.append(
            row(
                title,
                f"{found['strictly valid']:.3f}",
                *(f"{found[what]:.2f}" for what in ("unique of valid", "new", "new, but for merged roles")),
                f"{found['space group above 2']:.3f}",
                str(found["distinct space groups"]),
                str(found["distinct formulas"]),
                f"{100 * found['median volume error, known formulas']:.1f} %",
            )
        )
    return rows


def heldout() -> list[str]:
    rows = []
    for arm in [*result("heldout_shipped")["arms"], *result("heldout")["arms"]]:
        matches = [
            f"{arm[what]:.2f} {interval(*arm[f'{what}_interval'])}"
            for what in ("match_1", "match_20", "simple_match_1", "simple_match_20")
        ]
        rows.append(row(arm["arm"], f"{arm['strict']:.3f}", *matches))
    return [line.removesuffix(" |") for line in rows]


def speed() -> list[str]:
    found = result("generate")
    random = found["theirs"]["PyXtal, random group"]
    return [
        f"| {ours['per_second']:,.0f} | {ours['strict']:.3f} | {random[f'ratio_{name}']:.2g} "
        f"| {random[f'ratio_strictly_valid_{name}']:.2g} |"
        for name, ours in found["ours"].items()
    ]


def rediscovery() -> list[str]:
    rows = []
    for phase in result("rediscovery")["phases"]:
        if phase["relaxed"]:
            template = "learned from" if phase["template_seen"] else "unseen"
            place = int(phase["relaxed"][0].split("_")[0])
            cells = (phase["formula"], phase["id"], phase["space_group_number"], phase["origin"], template, place)
            rows.append(row(*map(str, cells)))
    return rows


def prediction() -> list[str]:
    return [line for line in (ROOT / "tools" / "results" / "prediction.md").read_text().splitlines() if "(0." in line]


def splits() -> list[str]:
    return (ROOT / "tools" / "results" / "splits.md").read_text().splitlines()[2:]


TABLES = {
    "peers": lambda: peers("peers"),
    "peers of Ti-O": lambda: peers("peers_tio"),
    "peers of Mg-Mn-O": lambda: peers("peers_mgmno"),
    "rankings": rankings,
    "raw": raw,
    "rediscovery": rediscovery,
    "prediction": prediction,
    "heldout": heldout,
    "splits": splits,
    "speed": speed,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_in_the_readme(table: str) -> None:
    rows = TABLES[table]()
    assert len(rows) >= 2
    missing = [line for line in rows if line not in README]
    assert not missing, "\n".join(missing)


def test_equal_time_in_the_readme() -> None:
    for line in at_equal_time():
        title, *cells = line.split("\n")
        (shown,) = [text for text in README.splitlines() if text.startswith(f"| {title} |") and cells[0] in text]
        assert all(cell in shown for cell in cells)


def test_hull_errors_in_the_readme() -> None:
    found = result("hull_nbo")
    for name in ("formation_energy_error", "e_above_hull_error"):
        assert f"{found[name]['mae']:.3f}" in README
        assert f"−{-found[name]['bias']:.3f}" in README
