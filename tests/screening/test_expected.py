"""The line about work to expect names what was asked for, and grows with it."""

import re

from crystalgraph.screening.expected import expected_work
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.search import SearchSettings


def line(num=100, relax=None, minutes=None, judges=(), workers=1, **options):
    request = GenerationRequest.parse(system="Nb-O", num=num, **options)
    search = SearchSettings()
    return expected_work(request, search, relax=relax, minutes=minutes, judges=judges, workers=workers)


def test_samples_without_energies():
    many, raw = (int(re.search(r"([\d,]+) samples", text)[1].replace(",", "")) for text in (line(), line(raw=True)))
    assert many > raw == 100
    assert "relaxations" not in line()


def test_relaxations_by_each_judge():
    both = line(relax=30, judges=("sevennet-0", "diep"), workers=2)
    assert "up to 30 relaxations by SevenNet-0, DIEP in 2 processes" in both
    assert "samples" not in both
    few, many = (int(re.search(r"(\d+) min$", line(relax=n, judges=("chgnet",)))[1]) for n in (3, 60))
    assert few < many


def test_minutes_bound_the_rounds():
    assert "rounds until 20 min are over, then the finalists" in line(minutes=20.0, judges=("sevennet-0",))
    assert "rounds until 5 min are over, then up to 9 relaxations" in line(relax=9, minutes=5.0, judges=("sevennet-0",))
