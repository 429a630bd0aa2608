import signal
import threading

import pytest

from crystalgraph.crystals.time_limit import TimeUp, cpu_limit


def work_forever():
    while True:
        pass


def test_endless_work_is_ended_and_the_signal_given_back():
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TimeUp), cpu_limit(0.05):
        work_forever()
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_short_work_is_left_alone():
    with cpu_limit(60):
        total = sum(range(100))
    assert total == 4950
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_other_threads_have_no_limit():
    results = []

    def work():
        with cpu_limit(1e-6):
            results.append(sum(range(100_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [4999950000]
