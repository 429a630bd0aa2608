"""What the funnel's rules lose and save, on made-up trajectories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.screening.funnel_settings import ABORT
from tools.bench import funnel
from tools.bench.trajectories import follow


def made(*, start, end, steps, formula="NbO", status="converged"):
    e_hull = [start + (end - start) * k / steps for k in range(steps + 1)]
    return funnel.Trajectory(formula=formula, e_hull=e_hull, status=status)


def test_a_rule_ends_what_is_too_high_at_its_step():
    slow = made(start=1.0, end=0.0, steps=100)
    assert slow.steps_until_abort(ABORT) == 10
    assert slow.steps_until_abort([(50, 0.6)]) is None
    assert slow.steps_until_abort([(50, 0.4), (80, 0.1)]) == 50
    short = made(start=1.0, end=0.9, steps=5)
    assert short.steps_until_abort(ABORT) is None


def test_only_a_usable_end_is_metastable():
    assert made(start=1.0, end=0.1, steps=5).is_metastable
    assert not made(start=1.0, end=0.1, steps=5, status="unbelievable").is_metastable
    assert not made(start=1.0, end=0.11, steps=5).is_metastable


def test_losses_and_savings_add_up():
    fast = [made(start=0.3, end=0.0, steps=9, formula=f"F{k}") for k in range(8)]
    late = [made(start=1.0, end=0.05, steps=99, formula=f"L{k}") for k in range(2)]
    bad = [made(start=2.0, end=1.0, steps=99, formula=f"B{k}") for k in range(5)]
    found = funnel.figures([*fast, *late, *bad])
    assert (found["relaxed"], found["metastable"]) == (15, 10)
    assert found["evaluations"] == 8 * 10 + 7 * 100
    kept = found["abort"]["1"]["kept"]
    assert (kept["numerator"], kept["denominator"]) == (8, 10)
    assert found["abort"]["1"]["evaluations_saved"] == pytest.approx(1 - (80 + 7 * 11) / 780)
    choice = found["choice"]
    assert choice["relaxed"] == pytest.approx(round(funnel.CHOSEN_SHARE * 15) / 15)
    assert 0 < choice["kept_after_abort"] <= choice["kept"] < 1
    gain = found["funnel_over_relaxing_everything"]["metastable_per_evaluation"]
    assert gain == pytest.approx(choice["kept_after_abort"] / choice["evaluations"])


def test_nothing_metastable_is_no_division_by_zero():
    assert funnel.figures([made(start=2.0, end=1.0, steps=3)]) == {"relaxed": 1, "metastable": 0}


@pytest.mark.slow
def test_every_step_of_a_real_relaxation_is_seen_once(toy_calculator, flat_hull, dealer, tmp_path):
    from crystalgraph.crystals.conversion import to_structures
    from crystalgraph.relax.relaxation import RelaxSettings
    from crystalgraph.relax.relaxer import relax

    (structure,) = to_structures(dealer("rutile").draw(1).crystals)
    settings = RelaxSettings(potential=toy_calculator, fmax=0.005)
    record = follow(structure, settings, tmp_path / "one.json")
    found = relax(structure, settings)
    assert len(record["energies"]) == found.n_steps + 1
    assert record["energies"][0] == pytest.approx(found.initial_energy)
    assert record["energies"][-1] == pytest.approx(found.energy)
    assert flat_hull(ChemicalSystem.parse("Nb-O")).e_above_hull(
        structure.composition, record["energies"][-1]
    ) == pytest.approx(found.energy)
    assert follow(structure, settings, tmp_path / "one.json") == record


@pytest.mark.slow
def test_runs_as_a_command_with_workers(tmp_path):
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "tools.bench", "funnel", "--num", "4", "--workers", "2"]
    command += ["--potential", "toy_potential:make", "--out", "funnel.json"]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "funnel.json").read_text())
    assert json.loads(done.stdout) == found
    assert found["relaxed"] <= 4
    assert len(list((tmp_path / "runs" / "funnel" / "Nb-O").glob("*.json"))) == 4
