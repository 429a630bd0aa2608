"""A run has its folder and its process to itself."""

import json

import pytest
import torch
from threadpoolctl import threadpool_info

from crystalgraph.errors import InputError
from crystalgraph.io.claim import claimed
from crystalgraph.runs.alone import N_THREADS, alone, one_thread
from crystalgraph.runs.generate import generate


@pytest.fixture
def threads():
    """Sets what a machine would give."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_run_has_one_thread_and_gives_back_the_others(threads):
    threads(3)
    with one_thread():
        assert torch.get_num_threads() == N_THREADS
        assert {pool["num_threads"] for pool in threadpool_info()} == {N_THREADS}
    assert torch.get_num_threads() == 3


def test_a_second_run_on_a_folder_is_refused_before_it_begins(tmp_path):
    begun = []

    @alone
    def run(*, out):
        begun.append(out)
        return torch.get_num_threads()

    assert run(out=None) == N_THREADS
    assert run(out=tmp_path / "one") == N_THREADS
    with claimed(tmp_path / "two"), pytest.raises(InputError, match="another run is writing to"):
        run(out=str(tmp_path / "two"))
    assert begun == [None, tmp_path / "one"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("quick_draws", "quick_plausibility")
def test_the_same_bytes_whatever_the_threads(tmp_path, threads):
    content = []
    for number in (1, 4):
        threads(number)
        out = tmp_path / f"{number}"
        generate(formula="NbO", num=3, fast=True, out=out)
        files = [path for path in sorted(out.rglob("*")) if path.suffix in (".cif", ".csv", ".extxyz")]
        content.append({str(path.relative_to(out)): path.read_bytes() for path in files})
        assert json.loads((out / "run.json").read_bytes())["threads"] == N_THREADS
    assert len(content[0]) > 2
    assert content[0] == content[1]
