from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As in the workers; more than one makes small systems many times slower."""
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    """The calculators of the tests can be imported, here and in the workers."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def fcc():
    """Face-centred cubic metals in the primitive cell; EMT's copper has a = 3.59 Å."""

    def make(symbol="Cu", a=3.7):
        return Structure(Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]]), [symbol], [[0, 0, 0]])

    return make
