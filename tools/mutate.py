"""Files and arguments damaged at random: no reader and no parser of arguments may fail otherwise than by saying why.

    python -m tools.mutate --files 20000 --arguments 1000 --seed 0

Prints a table: how many of each kind gave crystals, a reason, an error of the user's, a traceback, or took too long.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated
from unittest.mock import patch

import pandas as pd
import typer
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from crystalgraph.cli import data, evaluate, generate, train
from crystalgraph.cli.errors import USAGE_ERROR
from crystalgraph.errors import InputError
from crystalgraph.io.reading import read_structures

SECONDS = 10
"""What takes longer counts as a hang."""

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.91, 5.4), ["Si", "O"], [[0.47, 0, 2 / 3], [0.413, 0.267, 0.786]]
)

_TOKENS = (
    *("nan", "inf", "-inf", "1e999", "-1", "0", "99999999999999999999", "", "?", ".", "1/0", "1/3", "0.3333(33333333)"),
    *("data_", "loop_", "save_x", "_cell_length_a", "_atom_site_fract_x", ";", "'", '"', "\0", "\ufeff", "\u2028", "é"),
    *("x,y,z", "-x,-y,-z+1/2", "F d -3 m", "R -3 m", "227", "Xx", "H", "D", "{", "}", "[", "]", "null", "true", "NaN"),
    *(
        "@class",
        "@module",
        "os.system",
        '{"@module": "os", "@class": "system"}',
        "-4.2",
        "1 1 2",
        "Selective",
        "Cartesian",
    ),
    *("Properties=species:S:1:pos:R:3000000000", 'Lattice="0 0 0 0 0 0 0 0 0"', ",,,", "1e5", "2**99", "#", "!"),
)


def seeds() -> dict[str, list[tuple[str, bytes]]]:
    """Sound files of every kind: name and content."""
    dicts = [structure.as_dict() for structure in (ROCK_SALT, QUARTZ)]
    entries = [{"material_id": f"mp-{k}", "structure": one, "e": -1.0 * k} for k, one in enumerate(dicts)]
    jarvis = {
        "lattice_mat": ROCK_SALT.lattice.matrix.tolist(),
        "coords": ROCK_SALT.frac_coords.tolist(),
        "elements": [site.specie.symbol for site in ROCK_SALT],
        "cartesian": False,
    }
    split = {"columns": ["structure", "e"], "index": [0, 1], "data": [[one, 0.5] for one in dicts]}
    documents = [dicts[1], dicts, entries, split, [{"jid": "JVASP-1", "atoms": jarvis}], {"a": dicts[0]}]
    cifs = [str(CifWriter(QUARTZ)), str(CifWriter(QUARTZ, symprec=0.01)), str(CifWriter(ROCK_SALT, symprec=0.01))]
    named = re.sub(r"loop_\n _symmetry_equiv.*?(?=loop_)", "", cifs[2], flags=re.DOTALL)
    poscar = Poscar(QUARTZ).get_str()
    frames = io.StringIO()
    for structure in (ROCK_SALT, QUARTZ):
        structure.to_ase_atoms().write(frames, format="extxyz")
    tables = [pd.DataFrame({"material_id": ["mp-1", "mp-2", "mp-3"], "cif": cifs})]
    tables.append(pd.DataFrame({"id": [1, 2], "structure": [json.dumps(one) for one in dicts], "e": [0.5, None]}))
    return {
        "cif": [("a.cif", text.encode()) for text in (*cifs, named, cifs[1] + cifs[2])],
        "poscar": [("POSCAR", text.encode()) for text in (poscar, poscar.replace("direct", "Selective\nCartesian"))],
        "extxyz": [("a.extxyz", frames.getvalue().encode()), ("a.xyz", b"2\nwater\nO 0 0 0\nH 0 0 1\n")],
        "json": [("a.json", json.dumps(document).encode()) for document in documents]
        + [("a.jsonl", "\n".join(json.dumps(one) for one in dicts).encode())],
        "csv": [("a.csv", table.to_csv(index=False).encode()) for table in tables],
    }


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(_CHANGES)(content, rng)[: 2**20]
    return content


def _position(content: bytes, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def _flip(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _position(content, rng)]


def _drop(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + content[at + rng.randrange(1, 60) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + content[at : at + rng.randrange(1, 200)] * rng.choice((2, 3, 50)) + content[at:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + rng.choice(_TOKENS).encode() + content[at:]


def _replace_word(content: bytes, rng: random.Random) -> bytes:
    words = content.split(b" ")
    words[rng.randrange(len(words))] = rng.choice(_TOKENS).encode()
    return b" ".join(words)


def _move_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _change_number(content: bytes, rng: random.Random) -> bytes:
    digits = [position for position, byte in enumerate(content) if chr(byte).isdigit()]
    if not digits:
        return content
    at = rng.choice(digits)
    return content[:at] + rng.choice((b"9", b"0", b"-", b"e", b".", b"99999999", b"*")) + content[at + 1 :]


def _encode(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return rng.choice(
        (
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-16-be"),
            lambda: b"\xef\xbb\xbf" + content,
            lambda: content.replace(b"\n", b"\r"),
            lambda: gzip.compress(content)[: rng.choice((20, 10**6))],
            lambda: content + bytes(30),
        )
    )()


def _nest(content: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((10, 2_000, 100_000))
    return b"[" * depth + content + b"]" * depth


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _cut, _drop, _repeat, _insert, _insert, _replace_word, _replace_word, _move_line),
    *(_change_number, _change_number, _encode, _nest),
)


class _Hang(BaseException):
    """Raised after `SECONDS`; no reader catches it."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(call: Callable[[], str], keep: Callable[[str], None]) -> str:
    """What became of a call: what it says itself, ``user error``, ``hang`` or ``traceback``."""
    try:
        with _time_limit():
            return call()
    except (InputError, USAGE_ERROR):
        return "user error"
    except (typer.Exit, typer.Abort, SystemExit):
        return "exit"
    except _Hang:
        keep("hang")
        return "hang"
    except BaseException:  # noqa: BLE001 -- whatever it is, it is what is looked for
        keep(traceback.format_exc())
        return "traceback"


def mutate_files(n_files: int, seed: int, kept: Path) -> Counter[tuple[str, str]]:
    """Read so many damaged files, every tenth time a folder of several.

    Args:
        n_files: how many inputs.
        seed: of the damages.
        kept: folder for those that failed, each with its traceback.

    Returns:
        (kind, outcome) -> how often.
    """
    rng, sound = random.Random(seed), seeds()
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(n_files):
        with tempfile.TemporaryDirectory() as place:
            kind = "folder" if number % 10 == 9 else rng.choice([*sound])
            path = _write(Path(place), kind, sound, rng)

            def keep(text: str, number: int = number, path: Path = path) -> None:
                kept.mkdir(parents=True, exist_ok=True)
                if path.is_file():
                    (kept / f"{seed}-{number}-{path.name}").write_bytes(path.read_bytes())
                (kept / f"{seed}-{number}.txt").write_text(text, encoding="utf-8", errors="replace")

            counts[kind, outcome(lambda path=path: _read(path), keep)] += 1  # type: ignore[misc]
    return counts


def _write(place: Path, kind: str, sound: dict[str, list[tuple[str, bytes]]], rng: random.Random) -> Path:
    if kind != "folder":
        name, content = rng.choice(sound[kind])
        (place / name).write_bytes(damaged(content, rng))
        return place / name
    for number in range(rng.randrange(1, 6)):
        name, content = rng.choice(sound[rng.choice([*sound])])
        stem = os.fsencode(place) + b"/" + rng.choice((b"a", b"caf\xe9", b"x\ny", b"._a", b"POSCAR", b" "))
        whole = stem + str(number).encode() + rng.choice((b"", b".gz", b".zip", b".mcif")) + Path(name).suffix.encode()
        Path(os.fsdecode(whole)).write_bytes(damaged(content, rng))
    return place


def _read(path: Path) -> str:
    table = read_structures(path)
    reasons = [*table.failures.values(), *table.source.gaps, *table.order]
    for text in reasons:
        text.encode()  # a name that cannot be printed is lost later
    broken = [text for text in reasons if "\n" in text or len(text) > 5_000]
    if broken or not table.order:
        raise AssertionError(f"texts of several lines, or nothing said at all: {broken[:3]}")
    return "crystals" if len(table) else "reason"


_COMMANDS = {
    "cg-generate": (generate.app, "crystalgraph.runs.generate.generate"),
    "cg-evaluate": (evaluate.app, "crystalgraph.runs.evaluate.evaluate"),
    "cg-train": (train.app, "crystalgraph.runs.train.train"),
    "cg-data": (data.app, "crystalgraph.runs.importing.import_dataset"),
}

_VALUES = (
    *(
        "",
        "-1",
        "0",
        "1",
        "2",
        "1e9",
        "nan",
        "99999999999999999999",
        "Nb-O",
        "C-o",
        "S-i",
        "Nb(V)-O",
        "CaSO4.2H2O",
        "C",
    ),
    *("²", "+-5", "9" * 5_000, "Nb" + "9" * 5_000, "O/Nb=²:1", "O/Nb=1:" + "9" * 5_000),
    *("NbO", "Nb2O5", "O/Nb=1:2", "O=2:1", "O/Nb=", "=", ":", "nbo", "nowhere", "a" * 300, "a\nb", "\udce9", "π", "--"),
    *("Og-H", "Nb0O", "(", "))", "Nb2O5" * 40, ",", "cif,,poscar", "none", "cuda:9", "../..", "/", ".", "[]", "{}"),
)


def mutate_arguments(n_lists: int, seed: int, kept: Path) -> Counter[tuple[str, str]]:
    """Give so many random lists of arguments to the commands, whose work itself is left out; as `mutate_files`."""
    rng = random.Random(seed)
    for _, work in _COMMANDS.values():  # whose libraries take seconds to load
        importlib.import_module(work.rpartition(".")[0])
    counts: Counter[tuple[str, str]] = Counter()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            for number in range(n_lists):
                name = rng.choice([*_COMMANDS])
                arguments = _arguments(name, rng)

                def keep(text: str, number: int = number, arguments: list[str] = arguments) -> None:
                    kept.mkdir(parents=True, exist_ok=True)
                    (kept / f"{seed}-arguments-{number}.txt").write_text(f"{arguments!r}\n{text}", encoding="utf-8")

                counts[name, outcome(lambda name=name, arguments=arguments: _run(name, arguments), keep)] += 1  # type: ignore[misc]
        finally:
            os.chdir(before)
    return counts


def _arguments(name: str, rng: random.Random) -> list[str]:
    command = typer.main.get_command(_COMMANDS[name][0])
    chosen: list[str] = []
    if subcommands := getattr(command, "commands", None):
        chosen.append(rng.choice([*subcommands, "nothing"]))
        command = subcommands.get(chosen[0], command)
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
    for _ in range(rng.randrange(6)):
        chosen.append(rng.choice((*options, rng.choice(_VALUES))) if rng.random() < 0.3 else rng.choice(options))
        if rng.random() < 0.8:
            chosen.append(rng.choice(_VALUES))
    return chosen


def _run(name: str, arguments: list[str]) -> str:
    app, work = _COMMANDS[name]
    silent = io.StringIO()
    with (
        patch(work, side_effect=InputError("the work is left out")),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        app(arguments, standalone_mode=False)
    return "done"


def main(
    files: Annotated[int, typer.Option(help="Damaged inputs.")] = 20_000,
    arguments: Annotated[int, typer.Option(help="Lists of arguments.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Of all damages.")] = 0,
    kept: Annotated[Path, typer.Option(help="Where inputs go that failed.")] = Path("mutations"),
) -> None:
    """Print what became of damaged files and arguments; exit code 1 after a traceback or a hang."""
    counts = mutate_files(files, seed, kept) + mutate_arguments(arguments, seed, kept)
    columns = ("crystals", "reason", "user error", "exit", "done", "traceback", "hang")
    print(f"{'':12}" + "".join(f"{column:>12}" for column in columns))
    for kind in dict.fromkeys(kind for kind, _ in counts):
        print(f"{kind:12}" + "".join(f"{counts[kind, column]:>12,}" for column in columns))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")
    sys.exit(any(column in ("hang", "traceback") for _, column in counts))


if __name__ == "__main__":
    typer.run(main)
