import pytest

from crystalgraph.errors import InputError
from crystalgraph.models.device import usable_device


def test_a_device_that_is_there_is_taken():
    assert usable_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_another_is_refused_and_those_that_are_there_are_named(name):
    with pytest.raises(InputError, match=r"is not usable here; available are cpu"):
        usable_device(name)
