"""One command for all benchmarks; a user's mistake is one line and code 2."""

from pathlib import Path

import pytest

import tools.bench
from tools.bench.__main__ import COMMANDS, main
from tools.bench.results import MEASUREMENTS


def test_help_names_every_benchmark_with_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "examples:" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_name_is_a_module_with_help(name, capsys):
    assert (Path(tools.bench.__file__).parent / f"{name}.py").is_file()
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: python -m tools.bench {name} " in capsys.readouterr().out


def test_commands_that_repeat_a_result_exist():
    own = [line.split() for each in MEASUREMENTS.values() for line in each.commands if line.startswith("python")]
    assert own
    assert all(words[:3] == ["python", "-m", "tools.bench"] and words[3] in COMMANDS for words in own)


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["magic"])
    assert "magic" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["rediscovery", str(tmp_path), "--out", str(tmp_path / "x.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not (tmp_path / "x.json").exists()
