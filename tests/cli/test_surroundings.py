"""What a command finds around it does not matter to it."""

import io
import os
import signal
import sys
import warnings

import pytest

from crystalgraph.cli.surroundings import ForgivingStream, settled


class Broken(io.StringIO):
    """Nobody reads it any more."""

    def write(self, _text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")


def test_what_nobody_reads_is_lost_in_silence():
    stream = ForgivingStream(Broken(), OSError)
    assert stream.write("text") == 4
    stream.flush()
    with pytest.raises(OSError, match="No space"):
        ForgivingStream(Broken(), BrokenPipeError).flush()
    kept = io.StringIO()
    ForgivingStream(kept, OSError).write("text")
    assert kept.getvalue() == "text"


def test_streams_that_are_closed_lead_to_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with settled():
        assert not sys.stdout.isatty()
        assert sys.stderr.fileno() == 2
    assert sys.stdout is None


def test_letters_that_an_encoding_lacks_are_question_marks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with settled():
        print("Å ≤ 1")
        sys.stdout.flush()
    assert raw.getvalue() == b"? ? 1\n"


def test_warnings_are_no_errors_and_plots_need_no_screen(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("MPLBACKEND", "module://no_such_module")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("error")
        with settled():
            warnings.warn("said", UserWarning, stacklevel=1)
            warnings.warn("not said", DeprecationWarning, stacklevel=1)
            assert os.environ["MPLBACKEND"] == "agg"
            assert "PYTHONWARNINGS" not in os.environ
        with pytest.raises(UserWarning):
            warnings.warn("an error again", UserWarning, stacklevel=1)
    assert os.environ["MPLBACKEND"] == "module://no_such_module"


def test_signals_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with settled():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before
