"""Check a run folder from its files alone: elements, validity, copies, counts.

    cg-generate -n 500 --seed 1 --out runs/n500
    python tools/check_run.py runs/n500

Reads the CIFs again, so that what is checked is what a user gets. Prints one line a check; exits with 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from crystalgraph.crystals.conversion import to_structures
from crystalgraph.crystals.matching import group_equal
from crystalgraph.crystals.reference_index import MatchLog
from crystalgraph.crystals.validity import strict_validity
from crystalgraph.io.reading import read_structures


def check(folder: Path) -> list[tuple[str, str, bool]]:
    """(what, figure, whether it is as it should be) for each check."""
    record = json.loads((folder / "run.json").read_text())
    table = pd.read_csv(folder / "candidates.csv")
    read = read_structures(folder / "structures")
    structures = [] if read.crystals is None else to_structures(read.crystals)
    wanted = record["counts"]["kept"]
    system = set(record["request"]["system"].split("-"))
    outside = sum({e.symbol for e in s.composition} != system for s in structures)
    invalid = 0 if read.crystals is None else int((~strict_validity(read.crystals).valid).sum())
    log = MatchLog()
    labels = group_equal(structures, log=log)
    copies = int((labels != np.arange(len(labels))).sum())
    fates, counts = table["fate"].value_counts().to_dict(), record["counts"]
    adds_up = len(table) == counts["drawn"] and all(fates.get(k, 0) == v for k, v in counts.items() if k != "drawn")
    files = set(table["file"].dropna()) == {Path(name).stem for name in read.names}
    checks = [
        ("CIFs", f"{len(structures)} read, {len(read.failures)} unreadable, {wanted} kept", len(structures) == wanted),
        ("elements", f"{outside} outside {record['request']['system']}", outside == 0),
        ("strict validity", f"{invalid} invalid", invalid == 0),
        ("copies", f"{copies} ({log.compared} pairs compared, {log.timed_out} timed out)", copies == 0),
        ("counts", ", ".join(f"{k} {v}" for k, v in counts.items()), adds_up),
        ("files", "each kept row has its CIF", files),
    ]
    if record["request"]["formula"]:
        formulas = set(table[table["fate"] == "kept"]["formula"])
        checks.append(("formula", ", ".join(sorted(formulas)), formulas == {record["request"]["formula"]}))
    if record["request"]["space_group_number"]:
        kinds = table[table["fate"] == "kept"]["symmetry"].value_counts().to_dict()
        checks.append(("space group", str(kinds), set(kinds) <= {"exact", "supergroup"}))
    return checks


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    fine = True
    for what, figure, good in check(parser.parse_args().folder):
        print(f"{'ok  ' if good else 'FAIL'} {what}: {figure}")
        fine &= good
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
