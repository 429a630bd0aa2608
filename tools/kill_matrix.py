"""Kill every long command at random and at aimed moments, go on as its line says, and compare what comes out.

    python -m tools.kill_matrix                        # all commands, 20 random moments and 3 aimed ones each
    python -m tools.kill_matrix train --random 5       # one command, fewer moments

Each trial is a process of its own, forked from this one, which has the libraries loaded; it is killed with SIGKILL and
the command is repeated, with ``--resume`` where it asks for it. The outputs are those of a run that nobody killed, or
the table says what differs. What differs between two runs that nobody killed are times, and they are named; what a
record counts in seconds is one in any case. JSON and safetensors are compared value by value, so that a time in them
hides nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parent.parent
MARK = "CRYSTALGRAPH_TRIAL"
"""Environment variable by which the processes of a trial are known."""

OUT = "out"
PATIENCE = 900.0
"""Seconds after which a run counts as hanging."""

CONFIG = """
name = "small"
threads = 1
checkpoint_every = 5
data = {system = "Nb-O", max_atoms = 3}
generator = {form = "feedback", width = 16, n_stages = 2, n_passes = 2}
prior = {steps = 10, batch_size = 8, width = 16}
warm_start = {steps = 15, batch_size = 8, n_draws = 2}
adversarial = {steps = 10, batch_size = 6, width = 16, head_start = 4}
[energies]
systems = 4
rounds = 1
samples = 4
calculator = "toy_potential:make"
steps = 6
batch_size = 4
width = 16
"""

_TOY = ("--potential", "toy_potential:make")


@dataclass(frozen=True)
class Case:
    """A command and the moments at which it is worth killing: as soon as something of these names exists."""

    command: str
    arguments: tuple[str, ...]
    moments: tuple[str, str, str]


CASES = {
    "generate": Case(
        "generate",
        (
            *("--formula", "NbO", "--space-group", "225", "-n", "4", "--fast", "--relax", "3"),
            *("--known", "known", "--confirm", "none", "--out", OUT, *_TOY),
        ),
        (f"{OUT}.partial/relaxations/*.json", f".{OUT}.*.partial", f"{OUT}/run.json"),
    ),
    "evaluate": Case(
        "evaluate",
        ("cifs", "--known", "known", "--relax", "4", "--out", OUT, *_TOY),
        (f"{OUT}/relaxations/*.json", f"{OUT}/structures.csv", f"{OUT}/metrics.json"),
    ),
    "train": Case(
        "train",
        ("config.toml", "--out", OUT),
        (f"{OUT}/checkpoint.safetensors", f"{OUT}/model/model.safetensors", f"{OUT}/heldout.json"),
    ),
    "import": Case(
        "data",
        ("import", "cifs", "--out", OUT),
        (f".{OUT}.*.partial", f".{OUT}.*.partial/{OUT}/crystals.npz", f"{OUT}/card.json"),
    ),
    "optimade": Case(
        "data",
        ("import", "--optimade", "URL", "--page-limit", "3", "--pause", "0", "--out", OUT),
        (f"{OUT}.partial/page-00001.json", f".{OUT}.*.partial", f"{OUT}/card.json"),
    ),
}


@dataclass
class Row:
    """What became of the trials of a command."""

    name: str
    seconds: float
    volatile: list[str]
    kills: int = 0
    killed_before_the_end: int = 0
    identical: int = 0
    faults: list[str] = field(default_factory=list)


def kill_matrix(names: list[str], n_random: int, seed: int, say: Callable[[str], None] = print) -> list[Row]:
    """Try commands.

    Args:
        names: of `CASES`.
        n_random: moments drawn uniformly over the time that the command takes, for each.
        seed: of the moments.
        say: told how far it is.
    """
    with tempfile.TemporaryDirectory(prefix="kill-matrix-") as folder, _server() as url:
        inputs = Path(folder) / "inputs"
        write_inputs(inputs)
        return [_try_case(name, url, Path(folder), inputs, n_random, random.Random(seed), say) for name in names]


def _try_case(
    name: str, url: str, folder: Path, inputs: Path, n_random: int, rng: random.Random, say: Callable[[str], None]
) -> Row:
    case = CASES[name]
    arguments = [url if argument == "URL" else argument for argument in case.arguments]
    unbroken: list[dict[str, str]] = []
    for number in range(2):
        place = _fresh(folder, f"{name}-unbroken-{number}", inputs)
        start = time.monotonic()
        code = _Trial(case.command, arguments, place).wait()
        seconds = time.monotonic() - start
        if code:
            raise SystemExit(f"{name} fails without being killed:\n{(place / 'stderr').read_text()}")
        unbroken.append(_content(place / OUT))
    expected = {
        file: digest for file, digest in unbroken[0].items() if unbroken[1].get(file) == digest and not _is_time(file)
    }
    row = Row(name=name, seconds=seconds, volatile=sorted({*unbroken[0], *unbroken[1]} - {*expected}))
    moments: list[float | str] = [*case.moments, *(rng.uniform(0, seconds) for _ in range(n_random))]
    for number, moment in enumerate(moments):
        place = _fresh(folder, f"{name}-{number}", inputs)
        at = moment if isinstance(moment, str) else f"{moment:.2f} s"
        row.kills += 1
        fault = _try_moment(case.command, arguments, place, moment, row)
        if not fault:
            found = _content(place / OUT)
            differing = sorted(
                file
                for file in {*expected, *found} - {*row.volatile}
                if not _is_time(file) and _differs(file, expected, found)
            )
            fault = f"differs in {', '.join(differing[:10])}" if differing else left_behind(place)
        if fault:
            row.faults.append(f"killed at {at}: {fault}")
        else:
            row.identical += 1
        say(f"{name} {number + 1} of {len(moments)}, killed at {at}: {fault or 'identical'}")
        shutil.rmtree(place)
    return row


def _try_moment(command: str, arguments: list[str], place: Path, moment: float | str, row: Row) -> str:
    """Kill the command at a moment and go on with it; what went wrong, or an empty text."""
    trial = _Trial(command, arguments, place)
    if trial.wait_until(moment):
        row.killed_before_the_end += 1
    trial.kill()
    if alive := processes_of(place):
        return f"{alive} processes live on"
    said = ""
    for more in ([], ["--resume"]):
        again = _Trial(command, [*arguments, *more], place)
        code = again.wait()
        said = (place / "stderr").read_text(errors="replace").strip().rpartition("\n")[2]
        if code == 0:
            return ""
        if code is None:
            return "the repeated command hangs"
        if "Traceback" in (place / "stderr").read_text(errors="replace"):
            return f"the repeated command ends in a traceback: {said}"
        if "--resume" not in said:
            break
    return "" if "already exists" in said and (place / OUT).is_dir() else f"cannot be gone on with: {said}"


class _Trial:
    """A command in a process of its own, in a folder of its own."""

    def __init__(self, command: str, arguments: list[str], place: Path) -> None:
        self.place = place
        self.pid = os.fork()
        if self.pid == 0:
            _become(command, arguments, place)

    def wait(self) -> int | None:
        """The exit code; None if it had to be ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        self.kill()
        return None

    def wait_until(self, moment: float | str) -> bool:
        """Wait for some seconds, or for a name; False if the process ended before."""
        start = time.monotonic()
        while True:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            passed = time.monotonic() - start
            if passed > PATIENCE or (not isinstance(moment, str) and passed >= moment):
                return True
            if isinstance(moment, str) and any(self.place.glob(moment)):
                return True
            time.sleep(0.0005)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def processes_of(place: Path) -> int:
    """Processes of a trial that live on, after they had a while to notice that they should not."""
    for _ in range(100):
        alive = sum(_belongs(process, place) for process in Path("/proc").glob("[0-9]*"))
        if not alive:
            break
        time.sleep(0.1)
    return alive


def _belongs(process: Path, place: Path) -> bool:
    try:
        return f"{MARK}={place}\0".encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def _become(command: str, arguments: list[str], place: Path) -> None:
    """Be the command, and end."""
    code: object = 70
    try:
        os.chdir(place)
        os.environ |= {MARK: str(place), "CRYSTALGRAPH_CACHE": str(place / "cache")}
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.argv = [f"cg-{command}", *arguments]
        importlib.import_module(f"crystalgraph.cli.{command}").main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - this process must not go on as its parent
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _fresh(folder: Path, name: str, inputs: Path) -> Path:
    place = folder / name
    place.mkdir()
    for path in inputs.iterdir():
        (place / path.name).symlink_to(path)
    return place


def _content(out: Path) -> dict[str, str]:
    """What the files of a run hold: their names, or names and keys of values, with a checksum each."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and "tensorboard" not in path.parts]
    return {
        f"{path.relative_to(out)}{key}": hashlib.sha256(value).hexdigest()
        for path in files
        for key, value in _values(path)
    }


def _values(path: Path) -> Iterator[tuple[str, bytes]]:
    """The values in a file by their keys; of other kinds than JSON and safetensors, the whole file."""
    data = path.read_bytes()
    if path.suffix == ".json":
        yield from _leaves(json.loads(data), "")
    elif path.suffix == ".safetensors":
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        metadata = header.get("__metadata__", {})
        metadata |= {"record": json.loads(metadata["record"])} if "record" in metadata else {}
        yield from _leaves(header, "")
        yield " tensors", data[end:]
    else:
        yield "", data


def _leaves(value: Any, key: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{key} {name}")
    elif isinstance(value, list) and value:
        for position, part in enumerate(value):
            yield from _leaves(part, f"{key} {position}")
    else:
        yield key, json.dumps(value).encode()


def _is_time(file: str) -> bool:
    """Whether a value of a record is one of seconds: short ones are equal in two runs by chance."""
    return "seconds" in file.split()


def _differs(file: str, expected: dict[str, str], found: dict[str, str]) -> bool:
    return expected.get(file) != found.get(file)


def left_behind(place: Path) -> str:
    """Names of what is half-written in the folder of a trial."""
    hidden = (*place.glob(".*"), *(place / OUT).rglob(".*"), *(place / "cache").rglob(".*"))
    return f"leaves {', '.join(path.name for path in hidden)}" if hidden else ""


def write_inputs(folder: Path) -> None:
    """Crystals to judge, known ones, and a config of a small training."""
    from pymatgen.core import Lattice, Structure

    from crystalgraph.io.writing import write_structures

    def cubic(group: int, a: float) -> Structure:
        second = [0.5, 0.5, 0.5]
        return Structure.from_spacegroup(group, Lattice.cubic(a), ["Nb", "O"], [[0, 0, 0], second])

    niobium = Structure.from_spacegroup(229, Lattice.cubic(3.3), ["Nb"], [[0, 0, 0]]).get_primitive_structure()
    oxygen = Structure(Lattice.cubic(3.2), ["O"], [[0, 0, 0]])
    known = [cubic(225, 4.3).get_primitive_structure(), niobium, oxygen]
    judged = [cubic(group, a) for a in (2.6, 2.7, 2.8, 2.9) for group in (221, 225)]
    write_structures(known, ["NbO", "Nb", "O"], folder / "known", "cif")
    write_structures(judged, [f"c{k}" for k in range(len(judged))], folder / "cifs", "cif")
    (folder / "config.toml").write_text(CONFIG)


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that were killed."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class _Pages(BaseHTTPRequestHandler):
    """Ten pages of rock salts, each after a moment."""

    n_pages = 10

    def do_GET(self) -> None:
        number = int(parse_qs(urlsplit(self.path).query).get("page_offset", ["0"])[0])
        time.sleep(0.1)
        entries = [_entry(f"salt-{number}-{k}", 4.0 + number / 10 + k / 40) for k in range(3)]
        following = f"/v1/structures?page_offset={number + 1}" if number + 1 < self.n_pages else None
        meta = {"time_stamp": "2026-01-31T00:00:00Z", "data_returned": 3 * self.n_pages}
        content = json.dumps({"data": entries, "links": {"next": following}, "meta": meta}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _entry(name: str, a: float) -> dict[str, object]:
    half = a / 2
    sites: dict[str, list[list[float]]] = {
        "Mg": [[0, 0, 0], [0, half, half], [half, 0, half], [half, half, 0]],
        "O": [[half, half, half], [half, 0, 0], [0, half, 0], [0, 0, half]],
    }
    attributes = {
        "lattice_vectors": [[a, 0, 0], [0, a, 0], [0, 0, a]],
        "cartesian_site_positions": [place for places in sites.values() for place in places],
        "species_at_sites": [element for element, places in sites.items() for _ in places],
        "species": [{"name": one, "chemical_symbols": [one], "concentration": [1.0]} for one in sites],
        "dimension_types": [1, 1, 1],
        "structure_features": [],
    }
    return {"type": "structures", "id": name, "attributes": attributes}


@contextmanager
def _server() -> Iterator[str]:
    """A server of pages, in a process of its own lest trials are forked from one with threads; gives its address."""
    server = _Server(("127.0.0.1", 0), _Pages)
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    server.socket.close()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = [
        "| command | seconds unbroken | kills | before the end | resumed identical | times, not compared |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        counts = f"{row.kills} | {row.killed_before_the_end} | {row.identical}"
        volatile = sorted({re.sub(r"^relaxations/\w+|\b\d+\b", "*", file) for file in row.volatile})
        lines.append(f"| {row.name} | {row.seconds:.0f} | {counts} | {', '.join(volatile) or 'none'} |")
    return "\n".join([*lines, "", *(f"{row.name}: {fault}" for row in rows for fault in row.faults)])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"any of {', '.join(CASES)}; all without")
    parser.add_argument("--random", type=int, default=20, help="random moments for each (20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := [name for name in options.commands if name not in CASES]:
        parser.error(f"no command {unknown[0]!r}")
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for heavy in ("evaluate", "generate", "importing", "train"):
        importlib.import_module(f"crystalgraph.runs.{heavy}")
    rows = kill_matrix(
        options.commands or list(CASES), options.random, options.seed, lambda line: print(line, flush=True)
    )
    print(table(rows))
    sys.exit(any(row.faults for row in rows))


if __name__ == "__main__":
    main()
