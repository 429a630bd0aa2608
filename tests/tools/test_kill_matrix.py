"""A small part of the matrix; the whole one takes an hour."""

import subprocess
import sys

import pytest

from tools.kill_matrix import CASES, ROOT, Row, table


@pytest.mark.slow
@pytest.mark.parametrize("command", ["import", "optimade"])
def test_what_was_killed_ends_as_if_it_had_not_been(command):
    call = [sys.executable, "-m", "tools.kill_matrix", command, "--random", "1"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("identical\n") == 4
    assert f"| {command} |" in done.stdout


def test_the_table_has_a_row_for_each_command_and_names_what_failed():
    rows = [Row(name=name, seconds=1.0, volatile=[], kills=3, killed_before_the_end=2, identical=3) for name in CASES]
    rows[0].faults.append("killed at 1.00 s: differs in a.json")
    text = table(rows)
    assert text.count("\n| ") == len(CASES) + 1
    assert text.endswith("generate: killed at 1.00 s: differs in a.json")
