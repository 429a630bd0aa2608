"""``cg-data import --optimade`` against a real OPTIMADE server: the reference implementation, on loopback."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from pymatgen.io.optimade import OptimadeStructureAdapter

from crystalgraph.cli.data import EXAMPLES
from crystalgraph.crystals.conversion import to_structures
from crystalgraph.io.datasets import load_dataset

COMMAND = [sys.executable, "-m", "crystalgraph.cli.data"]
N_ENTRIES, PAGE = 200, 10

pytestmark = pytest.mark.slow


class Server:
    """Where it listens, and what it has been asked for."""

    def __init__(self, url, log):
        self.url, self._log = url, log

    def pages_asked(self):
        return self._log.read_text().count("GET /v1/structures?")


@pytest.fixture(scope="module")
def corpus():
    """200 crystals of the corpus with their rows, niobium oxides among them."""
    dataset = load_dataset("corpus")
    formulas = dataset.columns["chemsys"]
    rows = [*np.flatnonzero(formulas == "Nb-O")[:20], *np.flatnonzero(formulas != "Nb-O")[:: len(dataset) // 180][:180]]
    assert len(rows) == N_ENTRIES
    return dataset, rows


@pytest.fixture(scope="module")
def server(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("server")
    dataset, rows = corpus
    with (folder / "entries.jsonl").open("w") as file:
        file.write(json.dumps({"x-optimade": {"meta": {"api_version": "1.2.0"}}}) + "\n")
        for row, structure in zip(rows, to_structures(dataset.crystals[rows]), strict=True):
            attributes = OptimadeStructureAdapter.get_optimade_structure(structure)["attributes"]
            attributes |= {"last_modified": "2026-01-01T00:00:00Z"}
            e_form = dataset.columns["formation_energy_per_atom"][row]
            attributes["e_form"] = None if np.isnan(e_form) else e_form
            file.write(json.dumps({"type": "structures", "id": dataset.ids[row], "attributes": attributes}) + "\n")
    (folder / "config.json").write_text(
        json.dumps(
            {
                "database_backend": "mongomock",
                "insert_test_data": False,
                "insert_from_jsonl": str(folder / "entries.jsonl"),
                "page_limit": PAGE,
                "page_limit_max": 100,
                "provider_fields": {
                    "structures": [{"name": "e_form", "type": "float", "unit": "eV", "description": "x"}]
                },
                "log_dir": str(folder),
            }
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "optimade.server.main:app", "--port", str(port), "--no-use-colors"],
            env=os.environ | {"OPTIMADE_CONFIG_FILE": str(folder / "config.json")},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/v1/info"):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield Server(url, log)
    finally:
        process.terminate()
        process.wait()


def call(*arguments, cwd):
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def kill_after_page(number, arguments, cwd):
    """Start an import and kill it as soon as a page is on disk."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    page = cwd / "killed" / "mine.partial" / f"page-{number:05d}.json"
    for _ in range(6000):
        if page.is_file():
            break
        assert process.poll() is None, "the import ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_an_import_killed_half_way_and_resumed_is_the_same(server, corpus, tmp_path):
    arguments = ["import", "--optimade", server.url, "--property", "_exmpl_e_form", "--page-limit", PAGE]
    before = server.pages_asked()
    assert call(*arguments, "--pause", 0, "--out", "whole/mine", "--quiet", cwd=tmp_path).returncode == 0
    assert server.pages_asked() - before == N_ENTRIES // PAGE

    before = server.pages_asked()
    kill_after_page(5, [*arguments, "--pause", 0.2, "--out", "killed/mine"], tmp_path)
    assert not (tmp_path / "killed" / "mine").exists()
    kill_after_page(12, [*arguments, "--pause", 0.2, "--out", "killed/mine", "--resume"], tmp_path)
    refused = call(*arguments, "--out", "killed/mine", cwd=tmp_path)
    assert refused.returncode == 2
    assert "go on with --resume, or remove it" in refused.stderr
    kept = list((tmp_path / "killed" / "mine.partial").glob("page-*.json"))
    assert 12 <= len(kept) < N_ENTRIES // PAGE
    resumed = call(*arguments, "--pause", 0, "--out", "killed/mine", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "200" in resumed.stdout
    assert not (tmp_path / "killed" / "mine.partial").exists()
    # Each kill can cost the page that was on its way.
    assert N_ENTRIES // PAGE <= server.pages_asked() - before <= N_ENTRIES // PAGE + 2

    assert content(tmp_path / "whole" / "mine") == content(tmp_path / "killed" / "mine")

    imported, (dataset, rows) = load_dataset(tmp_path / "killed" / "mine"), corpus
    assert len(imported) == N_ENTRIES
    assert imported.columns["duplicates"].tolist() == [[]] * N_ENTRIES
    row_of = {dataset.ids[row]: row for row in rows}
    assert sorted(imported.ids) == sorted(row_of)
    assert imported.source.card["import"]["n_entries"] == N_ENTRIES
    assert imported.source.card["counts"]["size"]["all"] == N_ENTRIES
    for position, name in enumerate(imported.ids):
        ours, theirs = imported.crystals[[position]], dataset.crystals[[int(row_of[name])]]
        np.testing.assert_allclose(ours.lattice, theirs.lattice, atol=1e-4)
        difference = (ours.frac_coords - theirs.frac_coords).numpy()
        np.testing.assert_allclose((difference - difference.round()) @ theirs.lattice[0].numpy(), 0, atol=1e-4)
        assert ours.atomic_numbers.tolist() == theirs.atomic_numbers.tolist()
        np.testing.assert_equal(
            imported.columns["_exmpl_e_form"][position], dataset.columns["formation_energy_per_atom"][row_of[name]]
        )
        assert imported.columns["space_group_number"][position] == dataset.columns["space_group_number"][row_of[name]]


def test_the_example_of_the_help_runs(server, corpus, tmp_path):
    (example,) = [line for line in EXAMPLES["import"] if "--optimade" in line]
    words = shlex.split(example)
    assert words[0] == "cg-data"
    words[words.index("--optimade") + 1] = server.url
    done = call(*words[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / words[words.index("--out") + 1]
    dataset, rows = corpus
    expected = {dataset.ids[row] for row in rows if {"Nb", "O"} <= {*dataset.columns["chemsys"][row].split("-")}}
    assert len(expected) >= 20
    found = load_dataset(out)
    assert {*found.ids, *(merged for names in found.columns["duplicates"] for merged in names)} == expected
    assert found.source.card["sources"][0]["name"] == "Example provider"
    assert len(found.source.card["import"]["optimade"]["retrieved"]) == len("2026-01-31")
    assert call("info", out, cwd=tmp_path).returncode == 0


def test_the_server_refuses_in_its_own_words(server, tmp_path):
    done = call("import", "--optimade", server.url, "--filter", "elements HAS ALL", "--out", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "refuses: HTTP 400" in done.stderr
    nothing = call("import", "--optimade", server.url, "--filter", "nelements=17", "--out", "x", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "has no entry for the filter 'nelements=17'" in nothing.stderr
    assert not (tmp_path / "x.partial").exists()
    assert not (tmp_path / "x").exists()
