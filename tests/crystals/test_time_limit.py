import threading
import time

import pytest

from crystalgraph.crystals.time_limit import TimeUp, cpu_limit


def work_forever():
    while True:
        pass


def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_endless_work_is_ended():
    start = time.thread_time()
    with pytest.raises(TimeUp), cpu_limit(0.05):
        work_forever()
    assert time.thread_time() - start >= 0.05


def test_work_in_other_threads_is_ended_too_and_only_there():
    ended, whole = [], []

    def too_long():
        try:
            with cpu_limit(0.05):
                work_forever()
        except TimeUp:
            ended.append(threading.get_ident())

    def short():
        with cpu_limit(60):
            work(0.5)
        whole.append(threading.get_ident())

    threads = [threading.Thread(target=target) for target in (too_long, short, too_long)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ended) == {threads[0].ident, threads[2].ident}
    assert whole == [threads[1].ident]


def test_short_work_is_left_alone_also_afterwards():
    with cpu_limit(0.05):
        total = sum(range(100))
    work(0.6)  # longer than the limit, and than it takes to look
    assert total == 4950


def test_time_that_passes_without_work_does_not_count():
    with cpu_limit(0.1):
        time.sleep(0.5)


def test_the_narrower_of_two_limits_ends_the_work():
    with cpu_limit(60):
        with pytest.raises(TimeUp), cpu_limit(0.05):
            work_forever()
        work(0.3)
    with pytest.raises(TimeUp), cpu_limit(0.05), cpu_limit(60):
        work_forever()
