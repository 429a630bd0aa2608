"""Write docs/benchmarks.md and the README's table from the committed results, or check that they are what these give.

python -m tools.bench docs
python -m tools.bench docs --check
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from crystalgraph.io.atomic import write_text
from tools.bench.record import RESULTS, ROOT, command_line
from tools.bench.results import load, provenance, shipped_weights
from tools.bench.sections import SECTIONS, WORDS
from tools.bench.tables import five_rows

BEGIN, END = "<!-- table: python -m tools.bench docs -->", "<!-- end of table -->"
"""The README's table stands between these."""


def page(results: Path, shipped: str) -> str:
    """The text of ``docs/benchmarks.md``.

    Args:
        results: folder of the result files.
        shipped: SHA-256 of the weights that ship.
    """
    contents = "\n".join(f"- [{section.title}](#{section.name})" for section in SECTIONS)
    parts = [
        "# Benchmarks",
        (
            "Written by `python -m tools.bench docs` from the files in `tools/results`: change nothing here by hand.\n"
            f"The shipped weights are `{shipped[:12]}`; what was measured with others, or does not say with which, is\n"
            "marked. The commands run in a checkout; `python -m tools.bench --help` lists them."
        ),
        contents,
        "## Words",
        WORDS,
    ]
    for section in SECTIONS:
        parts += [f'<a id="{section.name}"></a>', f"## {section.title}", section.body(partial(load, results))]
        parts += [provenance(name, load(results, name), shipped) for name in section.results]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def with_table(readme: str, results: Path, shipped: str) -> str | None:
    """The README with its table as the results give it; None if it has no place for one."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return None
    return f"{before}{BEGIN}\n\n{five_rows(results, shipped)}\n{END}{after}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command_line("docs", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something would change")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Write or check; returns the exit code."""
    options, shipped = parse(arguments), shipped_weights()
    wanted = {options.page: page(options.results, shipped)}
    readme = options.readme.read_text(encoding="utf-8")
    table = with_table(readme, options.results, shipped)
    if table is None:
        print(f"{options.readme} has no place for the table: {BEGIN} … {END}", file=sys.stderr)
    else:
        wanted[options.readme] = table
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if options.check:
        if stale:
            names = " and ".join(map(str, stale))
            print(
                f"{names}: not what {options.results} gives; write anew with python -m tools.bench docs",
                file=sys.stderr,
            )
        return int(bool(stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, wanted[path])
        print(f"wrote {path}")
    return 0
