"""Progress where nothing can be redrawn: lines that come by the clock, whatever the work calls."""

from time import sleep

import pytest

from crystalgraph.cli import progress


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0.02)


def test_what_is_done_at_once_says_nothing(capsys):
    with progress.stage_bars(show=True) as update:
        update("drawing", 1, 2)
        update("drawing", 2, 2)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def heard(capsys):
    """Waits until a line was printed so many times, however busy the machine; gives all lines without their times."""
    lines = []

    def wait_for(text, times=1):
        while lines.count(text) < times:
            sleep(0.005)
            lines.extend(line.partition(" ")[2] for line in capsys.readouterr().err.splitlines())
        return lines

    return wait_for


@pytest.mark.usefixtures("impatient")
def test_lines_come_even_where_the_work_is_silent(heard):
    with progress.stage_bars(show=True) as update:
        heard("getting ready")
        update("relaxation", 3, 8, "one failed")
        heard("relaxation 3 of 8: one failed", times=2)
        update("relaxation", 8, 8)
        lines = heard("relaxation 8 of 8")
        heard("relaxation: done, going on")
    assert lines.count("relaxation 8 of 8") == 1


@pytest.mark.usefixtures("impatient")
def test_what_has_no_known_end_is_never_done(heard):
    with progress.stage_bars(show=True) as update:
        update("selected", 0, 0, "64 drawn")
        heard("selected 0: 64 drawn")
        update("selected", 12, 0, "96 drawn")
        heard("selected 12: 96 drawn", times=2)


@pytest.mark.usefixtures("impatient")
def test_a_failure_ends_the_lines(capsys):
    with pytest.raises(ValueError, match="broken"), progress.stage_bars(show=True):
        raise ValueError("broken")
    said = capsys.readouterr().err
    sleep(0.06)
    assert capsys.readouterr().err == ""
    assert "broken" not in said


@pytest.mark.usefixtures("impatient")
def test_quiet_is_silent(capsys):
    with progress.stage_bars(show=False) as update:
        assert update is None
        sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_times_are_written_as_clocks():
    assert [progress._clock(seconds) for seconds in (0, 75.9, 3600 + 62)] == ["0:00", "1:15", "1:01:02"]
