"""Run the commands among faults of the machine, and see that each ends in one clear line, or does not matter.

    python -m tools.fault_matrix                 # all faults
    python -m tools.fault_matrix --only "disk"   # those whose names hold a text

Full and read-only disks are mounted in a namespace of their own (``unshare``); where that is not allowed, these faults
are not tried, and the table says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.kill_matrix import MARK, ROOT, left_behind, processes_of, write_inputs

FULL, READ_ONLY = "size=8k", "ro"
"""Options of the disk that is mounted on ``disk``."""

_NO_PLACE = "/proc/no-such-place"  # nobody can make a folder there, root neither

_POTENTIALS = """
import os, signal, time
from toy_potential import Toy

class Wrong(Toy):
    def calculate(self, *_):
        raise TypeError("a bug of the calculator")

class Deadly(Toy):
    def calculate(self, atoms, *arguments):
        if len(atoms) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *arguments)

class Slow(Toy):
    def calculate(self, *arguments):
        time.sleep(0.3)
        super().calculate(*arguments)

def dies():
    os._exit(5)

def hangs():
    time.sleep(1000)

def slow():
    return Slow(sigma=2.0, epsilon=0.02, rc=5.0)
"""

_DATA = ("data", "import", "cifs", "--out", "out")
_JUDGE = ("evaluate", "cifs", "--known", "known", "--relax", "2", "--out", "out", "--quiet", "--potential")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and how the command has to end.

    Attributes:
        command: and its arguments.
        codes: exit codes that are right.
        says: what the one line on stderr holds, or each where the command goes on; empty: nothing is said there.
        environment: variables; None takes one away.
        disk: options of a disk mounted on the folder ``disk``, None without.
        shell: what a shell does with the command, ``"$@"``.
        prelude: Python run before it.
        sent: signal sent to it once a relaxation is kept.
        before: prepares the folder.
    """

    command: tuple[str, ...]
    codes: tuple[int, ...] = (0,)
    says: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    disk: str | None = None
    shell: str = '"$@"'
    prelude: str = ""
    sent: signal.Signals | None = None
    before: Callable[[Path], object] | None = None


def _hold(place: Path) -> None:
    """Another run holds the folder, until its parent ends."""
    code = "import sys, time; from pathlib import Path; from crystalgraph.io.claim import claimed\n"
    code += "with claimed(Path('out')):\n    print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(place)
    )
    assert process.stdout is not None
    process.stdout.readline()
    _HELD.append(process)


_HELD: list[subprocess.Popen[bytes]] = []


def _damage_checkpoint(place: Path) -> None:
    (place / "out").mkdir()
    shutil.copy(place / "config.toml", place / "out" / "config.toml")
    (place / "out" / "checkpoint.safetensors").write_bytes(b"\x10" + b"\0" * 100)


def _damage_cache(place: Path) -> None:
    """All relaxations of the known phases are there, and a byte of each is another."""
    done = subprocess.run(
        _python(
            "evaluate",
            "cifs",
            "--known",
            "known",
            "--relax",
            "1",
            "--out",
            "first",
            "--potential",
            "toy_potential:make",
        ),
        cwd=place,
        env=_environment(place),
        capture_output=True,
        check=True,
    )
    assert done.returncode == 0
    for file in (place / "cache" / "relaxations").glob("*.json"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


FAULTS = {
    "disk full": Fault(command=(*_DATA[:-1], "disk/out"), codes=(1,), says="No space left on device", disk=FULL),
    "output read-only": Fault(
        command=(*_DATA[:-1], "disk/out"), codes=(2,), says="not a folder one can write to", disk=READ_ONLY
    ),
    "output in a file": Fault(
        command=(*_DATA[:-1], "config.toml/out"), codes=(2,), says="not a folder one can write to"
    ),
    "name too long": Fault(command=(*_DATA[:-1], "n" * 300), codes=(2,), says="too long a name"),
    "cache read-only": Fault(
        command=(*_JUDGE, "toy_potential:make"),
        codes=(2,),
        says="CRYSTALGRAPH_CACHE",
        disk=READ_ONLY,
        environment={"CRYSTALGRAPH_CACHE": "disk/cache"},
    ),
    "no home": Fault(
        command=(*_JUDGE, "toy_potential:make"),
        codes=(2,),
        says="CRYSTALGRAPH_CACHE",
        environment={"CRYSTALGRAPH_CACHE": None, "HOME": _NO_PLACE},
    ),
    "worker dies while starting": Fault(
        command=(*_JUDGE, "potentials:dies"), codes=(1,), says="a worker could not start"
    ),
    "worker hangs while starting": Fault(
        command=(*_JUDGE, "potentials:hangs"),
        prelude="import crystalgraph.relax.many as many; many._PATIENCE_FOR_CALCULATOR = 2.0",
        codes=(1,),
        says="a worker could not start: the worker gave no answer for 2 s",
    ),
    "worker throws": Fault(
        command=(*_JUDGE, "potentials:Wrong"), codes=(1,), says="a worker failed: TypeError: a bug of the calculator"
    ),
    "worker is killed": Fault(command=(*_JUDGE, "potentials:Deadly")),
    "Ctrl-C": Fault(
        command=(*_JUDGE, "potentials:slow"), codes=(130,), says="interrupted; relaxations", sent=signal.SIGINT
    ),
    "terminated by a scheduler": Fault(
        command=(*_JUDGE, "potentials:slow"), codes=(130,), says="interrupted; relaxations", sent=signal.SIGTERM
    ),
    "read by head": Fault(command=("data", "info", "nbo"), shell='"$@" | head -n 1; exit ${PIPESTATUS[0]}'),
    "stdout closed": Fault(command=_DATA, shell='"$@" >&-'),
    "stderr closed": Fault(command=_DATA, shell='"$@" 2>&-'),
    "stdout on a full disk": Fault(command=_DATA, shell='"$@" >/dev/full', codes=(1,), says="No space left on device"),
    "stderr on a full disk": Fault(
        command=(*_JUDGE[:-2], "--potential", "toy_potential:make"), shell='"$@" 2>/dev/full'
    ),
    "ASCII terminal": Fault(command=("data", "info", "nbo"), environment={"PYTHONIOENCODING": "ascii"}),
    "Latin-1 terminal": Fault(command=("data", "info", "nbo"), environment={"PYTHONIOENCODING": "latin-1"}),
    "a notebook's plots": Fault(
        command=(*_JUDGE, "toy_potential:make"),
        environment={"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    ),
    "no such plots": Fault(command=(*_JUDGE, "toy_potential:make"), environment={"MPLBACKEND": "no-such"}),
    "warnings are errors": Fault(command=(*_JUDGE, "toy_potential:make"), environment={"PYTHONWARNINGS": "error"}),
    "a second run on the folder": Fault(command=_DATA, codes=(2,), says="another run is writing to", before=_hold),
    "damaged checkpoint": Fault(
        command=("train", "config.toml", "--out", "out", "--resume", "--quiet"),
        codes=(2,),
        says="is damaged",
        before=_damage_checkpoint,
    ),
    "damaged cache": Fault(
        command=(*_JUDGE, "toy_potential:make"), says="is not believed (its checksum", before=_damage_cache
    ),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended among a fault; ``wrong`` is empty where that is right."""

    name: str
    code: int | None
    line: str
    wrong: str


def fault_matrix(names: list[str]) -> list[Outcome]:
    """Try faults, by name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # commands would go on ignoring it, as jobs behind & do
    with tempfile.TemporaryDirectory(prefix="fault-matrix-") as folder:
        inputs = Path(folder) / "inputs"
        write_inputs(inputs)
        (inputs / "potentials.py").write_text(_POTENTIALS)
        return [_try(name, Path(folder) / f"{number}", inputs) for number, name in enumerate(names)]


def _try(name: str, place: Path, inputs: Path) -> Outcome:
    fault = FAULTS[name]
    shutil.copytree(inputs, place)
    (place / "disk").mkdir()
    if fault.disk is not None and not _can_mount():
        return Outcome(name=name, code=None, line="not tried: no disk can be mounted here", wrong="")
    if fault.before is not None:
        fault.before(place)
    mount = "" if fault.disk is None else f"mount -t tmpfs -o {fault.disk} none disk && "
    shell = ["bash", "-c", f"{mount}{fault.shell}", "bash", *_python(*fault.command, prelude=fault.prelude)]
    process = subprocess.Popen(
        shell if fault.disk is None else ["unshare", "-rm", *shell],
        cwd=place,
        env=_environment(place, fault.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if fault.sent is not None:
        _wait_for(lambda: any((place / "out" / "relaxations").glob("*.json")) or process.poll() is not None)
        os.killpg(process.pid, fault.sent)
    try:
        said = process.communicate(timeout=600)[1].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Outcome(name=name, code=None, line="", wrong="hangs")
    while _HELD:
        _HELD.pop().communicate()
    lines = said.strip().splitlines()
    return Outcome(
        name=name,
        code=process.returncode,
        line=lines[-1] if lines else "",
        wrong=_wrong(fault, process.returncode, lines) or _remains(place),
    )


def _wrong(fault: Fault, code: int, lines: list[str]) -> str:
    """What is not as it should be; empty where nothing is."""
    if any("Traceback" in line for line in lines):
        return "a traceback"
    if code not in fault.codes:
        return f"exit code {code}"
    if bool(lines) != bool(fault.says) or (len(lines) > 1 and code):
        return f"{len(lines)} lines"
    return "" if all(fault.says in line for line in lines) else "another line"


def _remains(place: Path) -> str:
    """What is left behind, on disk or as a process."""
    if alive := processes_of(place):
        return f"{alive} processes live on"
    return left_behind(place)


def _python(command: str, *arguments: str, prelude: str = "") -> list[str]:
    return [sys.executable, "-c", f"{prelude}\nfrom crystalgraph.cli.{command} import main; main()", *arguments]


def _environment(place: Path, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(place)])
    usual = os.environ | {"PYTHONPATH": path, MARK: str(place), "CRYSTALGRAPH_CACHE": str(place / "cache")}
    return {name: value for name, value in (usual | dict(changes or {})).items() if value is not None}


def _can_mount() -> bool:
    trial = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    return (
        shutil.which("unshare") is not None and subprocess.run(trial, capture_output=True, check=False).returncode == 0
    )


def _wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def table(outcomes: list[Outcome]) -> str:
    """In Markdown."""
    rows = [
        f"| {one.name} | {'–' if one.code is None else one.code} | {one.line or 'nothing'} | {one.wrong or 'right'} |"
        for one in outcomes
    ]
    return "\n".join(["| fault | exit code | last line on stderr | |", "| --- | --- | --- | --- |", *rows])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="faults whose names hold it")
    options = parser.parse_args()
    outcomes = fault_matrix([name for name in FAULTS if options.only in name])
    print(table(outcomes))
    sys.exit(any(one.wrong for one in outcomes))


if __name__ == "__main__":
    main()
