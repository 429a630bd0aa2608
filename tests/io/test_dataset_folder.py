import json

import pytest

from crystalgraph.io.dataset_folder import readme
from crystalgraph.io.datasets import shipped_folder

EVIL = "<script>alert(1)</script> [free](javascript:x) ![](http://x/y.png) [a][b]\n\n# Title | `code`"


@pytest.mark.parametrize("name", ["nbo", "corpus"])
def test_the_shipped_cards_are_what_would_be_written(name: str) -> None:
    folder = shipped_folder() / name
    text = (folder / "README.md").read_text(encoding="utf-8")
    written_by = text.rpartition("Written by `")[2].partition("`")[0]
    assert readme(json.loads((folder / "card.json").read_bytes()), written_by) == text


def test_what_a_stranger_wrote_stays_text() -> None:
    source = dict.fromkeys(("name", "licence", "taken_from", "attribution"), EVIL)
    card = {
        **dict.fromkeys(("title", "description", "exclusions", "citation"), EVIL),
        "counts": {"size": {"all": 1}},
        "sources": [source],
        "columns": {EVIL: {"type": "text", "meaning": "ours"}},
        "made": ["ours"],
        "gaps": [EVIL],
    }
    lines = readme(card, "a test").splitlines()
    assert [line for line in lines if any(mark in line for mark in ("<", "](", "]["))] == []
    assert [line for line in lines if line.startswith("#")][1:] == [
        "## Counts",
        "## Sources, licences, attribution",
        "## Columns",
        "## How it was made",
        "## Known gaps",
    ]
    (row,) = (line for line in lines if line.startswith("| `&lt;script"))
    assert row.replace("\\|", "").count("|") == 4
