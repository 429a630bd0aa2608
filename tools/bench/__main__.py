"""Measure, or write what was measured into the documentation."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from crystalgraph.errors import InputError

COMMANDS = {
    "peers": "beside PyXtal and substitution: equal samples, or equal CPU time",
    "raw": "raw samples: valid, unique, new, volumes",
    "heldout": "templates that were never trained on",
    "splits": "the same for several splits",
    "prediction": "crystals of held-out formulas, beside the nearest prototypes",
    "search": "textbook ground states by formula alone, with a small budget",
    "rediscovery": "known phases that a run found again",
    "funnel": "what the funnel of relaxations loses and saves",
    "speed": "crystals per second, beside PyXtal",
    "judge": "potentials against DFT, over all systems with DFT energies",
    "foreign": "potentials and the learned score against DFT, on crystals that other tools made",
    "engine": "what dask costs, what a second worker gives, and plain FIRE beside ours",
    "thousand_workers": "how busy a scheduler is with a thousand simulated workers",
    "scale": "CPU time and memory of judging up to 100,000 crystals",
    "relaxer": "the optimisers of relaxation, beside FIRE and L-BFGS",
    "formation_energy": "a graph network of twenty lines, beside a random forest",
    "picture": "the first crystals of a run as a PNG",
    "docs": "write docs/benchmarks.md and the README's table, or check them",
}
"""Module of this package -> what it does."""

EXAMPLES = """\
examples:
  python -m tools.bench peers --system Nb-O --samples 300 --relaxed 100 --workers 2 --out tools/results/peers.json
  python -m tools.bench heldout --shipped --out tools/results/heldout_shipped.json
  python -m tools.bench heldout --help
  python -m tools.bench docs --check
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark; returns the exit code."""
    width = max(map(len, COMMANDS))
    names = "\n".join(f"  {name:{width}}  {meaning}" for name, meaning in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description=f"{__doc__}\n\nnames:\n{names}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=COMMANDS, metavar="NAME", help="see above")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="of that benchmark")
    options = parser.parse_args(arguments)
    try:
        return importlib.import_module(f"tools.bench.{options.name}").main(options.options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
