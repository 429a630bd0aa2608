import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine import local_cluster
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError, RunError
from crystalgraph.io.sealed import read_sealed
from crystalgraph.relax import many
from crystalgraph.relax.cache import read_relaxation, write_relaxation
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.many import many_derivatives, relax_many, single_points
from crystalgraph.relax.relaxation import Relaxation, RelaxSettings
from crystalgraph.relax.relaxer import relax
from crystalgraph.relax.single_point import derivatives, single_point

HERE = Path(__file__).parent
EMT_NAME = "ase.calculators.emt:EMT"
SETTINGS = RelaxSettings(potential=EMT_NAME, fmax=0.02)


@pytest.fixture
def crystals(fcc):
    """Seven distorted metals and alloys."""
    found = []
    for number, symbol in enumerate(["Cu", "Al", "Ni", "Pd", "Cu", "Al", "Ni"]):
        cell = fcc(symbol, 3.9 + 0.02 * number) * (2, 1, 1)
        if number > 3:
            cell.replace(0, "Pd")
        cell.translate_sites([0], [0.02, 0.01 * number, 0])
        found.append(cell)
    return found


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """How often each formula was begun by the stand-ins that count."""
    file = tmp_path / "count"
    monkeypatch.setenv("COUNT", str(file))
    return lambda: Counter(file.read_text().split()) if file.exists() else Counter()


def records(relaxations):
    return [relaxation.to_dict() | {"seconds": 0} for relaxation in relaxations]


@pytest.mark.slow
def test_one_worker_two_workers_and_none_agree_to_the_last_bit(crystals):
    seen = []
    one = relax_many(crystals, SETTINGS, progress=lambda *state: seen.append(state))
    assert seen == [("relaxation", k, 7) for k in range(8)]
    assert all(relaxation.status == "converged" for relaxation in one)
    assert records(relax_many(crystals, SETTINGS, workers=2)) == records(one)
    assert records(relax_many(crystals[::-1], SETTINGS)) == records(one)[::-1]
    assert records([relax(crystal, SETTINGS) for crystal in crystals]) == records(one)


@pytest.mark.slow
def test_chgnet_with_one_worker_and_two():
    pytest.importorskip("chgnet")
    cells = [
        Structure(Lattice.cubic(2.7 + 0.1 * k), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.45 + 0.01 * k]]) for k in range(3)
    ]
    settings = RelaxSettings(potential="chgnet", max_steps=15)
    one = relax_many(cells, settings)
    assert all(relaxation.usable for relaxation in one)
    assert records(relax_many(cells, settings, workers=2)) == records(one)
    assert single_points(cells, "chgnet", workers=2) == [relaxation.initial_energy for relaxation in one]


@pytest.mark.slow
def test_single_points(crystals):
    from ase.calculators.emt import EMT

    nonsense = Structure(Lattice.cubic(1), ["Cu"], [[0, 0, 0]])
    disordered = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    seen = []
    energies = single_points(
        [*crystals, nonsense, disordered], EMT_NAME, workers=2, progress=lambda *state: seen.append(state)
    )
    assert energies[:7] == [single_point(crystal, EMT()) for crystal in crystals]
    assert [isnan(energy) for energy in energies] == [False] * 7 + [True] * 2
    assert seen[-1] == ("single points", 9, 9)


@pytest.mark.slow
def test_many_derivatives(crystals):
    from ase.calculators.emt import EMT

    nonsense = Structure(Lattice.cubic(1), ["Cu"], [[0, 0, 0]])
    *found, none = many_derivatives([*crystals, nonsense], EMT_NAME, workers=2)
    assert none is None
    for crystal, own in zip(crystals, found, strict=True):
        alone = derivatives(crystal, EMT())
        assert own.energy == alone.energy
        assert (own.forces == alone.forces).all()
        assert (own.stress == alone.stress).all()


@pytest.mark.slow
def test_workers_serve_several_calls(crystals, counted):
    hull = Hull(ChemicalSystem.parse("Cu"), [Phase(name="Cu", formula="Cu", energy=-0.007)])
    name = "stand_ins:Counting"
    with Workers(1) as workers:
        first = relax_many(crystals[:1], replace(SETTINGS, potential=name), workers=workers)
        energies = single_points(crystals[:2], name, workers=workers)
        checked = relax_many(
            crystals[:1], replace(SETTINGS, potential=name, saddle_check=True), workers=workers, hull=hull
        )
        other = relax_many(crystals[:1], SETTINGS, workers=workers)
    assert records(other) == records(first)
    assert isnan(first[0].saddle_drop)
    assert not isnan(checked[0].saddle_drop)
    assert energies[0] == first[0].initial_energy
    assert counted() == {"Cu2": 4, "Al2": 1}


@pytest.mark.slow
def test_nothing_is_relaxed_twice(crystals, counted, tmp_path):
    settings = replace(SETTINGS, potential="stand_ins:Counting")
    folder = tmp_path / "done"
    twins = [crystals[0], crystals[1], crystals[0].copy()]
    first = relax_many(twins, settings, folder=folder)
    assert counted() == {"Cu2": 1, "Al2": 1}
    assert len(list(folder.iterdir())) == 2
    assert records(first)[0] == records(first)[2]
    seen = []
    again = relax_many(crystals[:3], settings, folder=folder, progress=lambda *state: seen.append(state))
    assert counted() == {"Cu2": 1, "Al2": 1, "Ni2": 1}
    assert seen == [("relaxation", 2, 3), ("relaxation", 3, 3)]
    assert records(again)[:2] == records(first)[:2]
    assert again[0].seconds == first[0].seconds
    relax_many(crystals[:1], replace(settings, max_steps=3), folder=folder)
    assert counted()["Cu2"] == 2


@pytest.mark.slow
def test_a_damaged_file_is_done_again(crystals, tmp_path):
    first = relax_many(crystals[:1], SETTINGS, folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    old = json.dumps(read_sealed(file)).encode()  # as it was kept before there were checksums
    for content in (b"", whole[:100], b"[]", old, b"\xff"):
        file.write_bytes(content)
        assert read_relaxation(tmp_path, file.stem) is None
    assert records(relax_many(crystals[:1], SETTINGS, folder=tmp_path)) == records(first)
    assert records([read_relaxation(tmp_path, file.stem)]) == records(first)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


RELAXATION = Relaxation(
    status="converged",
    structure=Structure(Lattice.cubic(3.6), ["Cu"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    initial_energy=-0.1,
    energy=-0.123456789012345,
    n_steps=7,
)


@pytest.mark.slow
def test_no_byte_of_a_kept_relaxation_can_be_changed(tmp_path, caplog):
    write_relaxation(tmp_path, "key", RELAXATION.structure, SETTINGS, RELAXATION.to_dict())
    assert read_relaxation(tmp_path, "key") == RELAXATION
    file, rng = tmp_path / "key.json", random.Random(0)
    whole = file.read_bytes()
    for k in rng.sample(range(len(whole)), 500):
        file.write_bytes(whole[:k] + bytes([whole[k] ^ 1 << rng.randrange(8)]) + whole[k + 1 :])
        assert read_relaxation(tmp_path, "key") is None
    assert len(caplog.messages) == 500
    assert all("is not believed (" in message for message in caplog.messages)
    file.write_bytes(whole)
    assert read_relaxation(tmp_path, "key") == RELAXATION


def test_a_relaxation_under_another_key_is_not_believed(tmp_path, caplog):
    write_relaxation(tmp_path, "key", RELAXATION.structure, SETTINGS, RELAXATION.to_dict())
    (tmp_path / "key.json").rename(tmp_path / "other.json")
    assert read_relaxation(tmp_path, "other") is None
    assert "it is another relaxation's" in caplog.text
    assert read_relaxation(tmp_path, "key") is None


@pytest.mark.slow
def test_a_dying_worker_costs_only_its_crystal(crystals, fcc, tmp_path):
    settings = replace(SETTINGS, potential="stand_ins:Deadly")
    mixed = [crystals[0], fcc("Au", 4.1), crystals[1], fcc("Ag", 4.1)]
    found = relax_many(mixed, settings, workers=2, folder=tmp_path)
    assert [relaxation.status for relaxation in found] == ["converged", "failed"] * 2
    assert "the worker died of it" in found[1].reason
    assert "the worker died of it" in found[3].reason
    assert len(list(tmp_path.iterdir())) == 2
    energies = single_points([fcc("Au", 4.1), crystals[0]], "stand_ins:Deadly")
    assert [isnan(energy) for energy in energies] == [True, False]


@pytest.mark.slow
def test_a_silent_worker_is_ended(crystals, fcc, monkeypatch):
    monkeypatch.setattr(many, "_PATIENCE", 5.0)
    found = single_points([fcc("Pt", 4.0), crystals[0]], "stand_ins:Deadly")
    assert [isnan(energy) for energy in found] == [True, False]
    settings = RelaxSettings(potential="stand_ins:Deadly", max_seconds=0)
    (silent,) = relax_many([fcc("Pt", 4.0)], settings)
    assert silent.reason == "the worker gave no answer for 5 s and was ended"


@pytest.mark.slow
def test_a_bug_in_a_worker_is_not_hidden(crystals):
    with pytest.raises(RunError, match="a worker failed: TypeError: a bug of the calculator") as failed:
        relax_many(crystals, replace(SETTINGS, potential="stand_ins:Wrong"), workers=2)
    assert "Traceback" in "".join(failed.value.__notes__)


@pytest.mark.slow
def test_a_worker_that_cannot_start_ends_the_work(crystals, monkeypatch, tmp_path):
    with pytest.raises(RunError, match=r"a worker could not start: the worker died of it"):
        single_points(crystals, "stand_ins:dies")
    monkeypatch.setattr(many, "_PATIENCE_FOR_CALCULATOR", 1.0)
    with pytest.raises(RunError, match="a worker could not start: the worker gave no answer for 1 s"):
        single_points(crystals, "stand_ins:hangs")
    monkeypatch.setattr(local_cluster, "_START", "import sys; sys.exit('no luck')")
    with pytest.raises(RunError, match="a worker could not start: the process ended: no luck"):
        single_points(crystals, EMT_NAME)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="name one with TMPDIR"):
        single_points(crystals, EMT_NAME)


@pytest.mark.slow
def test_mistakes(crystals):
    with pytest.raises(InputError, match="workers 0"):
        relax_many(crystals, SETTINGS, workers=0)
    with pytest.raises(InputError, match="unknown potential 'mace'"):
        relax_many(crystals, RelaxSettings(potential="mace"))
    with pytest.raises(InputError, match="unknown potential 'mace'"):
        single_points(crystals, "mace")
    with pytest.raises(ValueError, match="need a hull"):
        relax_many(crystals, replace(SETTINGS, saddle_check=True))


@pytest.mark.slow
def test_what_is_no_crystal_is_a_failure_and_nothing_is_fine(crystals):
    disordered = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    found = relax_many([disordered, crystals[0]], SETTINGS)
    assert [relaxation.status for relaxation in found] == ["failed", "converged"]
    assert "disordered" in found[0].reason
    assert relax_many([], SETTINGS) == []
    assert single_points([], EMT_NAME) == []


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
from pathlib import Path
from pymatgen.core import Lattice, Structure
from crystalgraph.relax.many import relax_many
from crystalgraph.relax.relaxation import RelaxSettings
cells = [Structure(Lattice.cubic(3.9 + k / 50), ["Cu"] * 4, [[0, 0, 0], [0, .5, .5], [.5, 0, .5], [.5, .5, .02 * k]])
         for k in range(6)]
found = relax_many(cells, RelaxSettings(potential="stand_ins:Slow"), folder=Path(sys.argv[1]))
print([relaxation.energy for relaxation in found])
"""


def start(folder):
    (temporary := folder.parent / "temporary").mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finished(folder):
    return len(list(folder.glob("[0-9a-f]*.json"))) if folder.exists() else 0


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path, counted):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(folder)
    wait_for(lambda: finished(folder) >= 2)
    process.kill()
    process.communicate()
    time.sleep(2)  # its workers hear of it a moment later
    n_kept = finished(folder)
    assert 2 <= n_kept < 6
    begun = sum(counted().values())
    output, _ = start(folder).communicate(timeout=300)
    assert sum(counted().values()) - begun == 6 - n_kept
    reference, _ = start(whole).communicate(timeout=300)
    assert output == reference
    assert output.count(b",") == 5


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_ends_at_once_with_its_workers(tmp_path, counted, sent):
    folder = tmp_path / "done"
    process = start(folder)
    wait_for(lambda: finished(folder) >= 1)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -sent
    assert finished(folder) < 6  # it did not do the rest first
    assert (b"KeyboardInterrupt" in errors) == (sent == signal.SIGINT)
    time.sleep(1)
    begun = sum(counted().values())
    time.sleep(2)
    assert sum(counted().values()) == begun
    assert not list(folder.glob(".*"))
    assert not list((tmp_path / "temporary").iterdir()), "the workers' folder goes with them"
