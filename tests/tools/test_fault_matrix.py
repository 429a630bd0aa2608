"""A small part of the matrix; the whole one takes minutes."""

import pytest

from tools.fault_matrix import FAULTS, fault_matrix

CHEAP = ("disk full", "output read-only", "name too long", "stdout closed", "stdout on a full disk")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_a_fault_ends_in_one_line(name):
    (outcome,) = fault_matrix([name])
    assert not outcome.wrong, outcome


def test_there_are_faults_of_every_kind():
    assert len(FAULTS) >= 20
    assert set(CHEAP) <= set(FAULTS)
