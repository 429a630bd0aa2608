"""Questions of many threads are answered together."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crystalgraph.relax.together import Together


def squares(asked, *, most=100):
    """Squares of numbers whose size is the number itself; keeps what was asked at once."""

    def answer_all(numbers):
        asked.append(list(numbers))
        time.sleep(0.02)
        if 13 in numbers:
            raise ValueError("13 has no square")
        return [number**2 for number in numbers]

    return Together(answer_all, lambda number: number, most)


def of_threads(together, numbers):
    """Answers or errors to numbers, each asked by a thread of its own, at the same moment."""
    barrier = threading.Barrier(len(numbers))

    def one(number):
        barrier.wait()
        try:
            return together.answer(number)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(numbers)) as pool:
        return list(pool.map(one, numbers))


def test_everybody_gets_their_own_answer_and_few_calls_give_them():
    asked, numbers = [], list(range(1, 13))
    assert of_threads(squares(asked), numbers) == [number**2 for number in numbers]
    assert sorted(number for call in asked for number in call) == numbers
    assert len(asked) <= 3


def test_no_more_is_asked_at_once_than_goes_and_what_is_larger_goes_alone():
    asked, numbers = [], [3, 4, 5, 11, 6, 30, 9]
    assert of_threads(squares(asked, most=12), numbers) == [number**2 for number in numbers]
    assert all(sum(call) <= 12 or len(call) == 1 for call in asked)


def test_a_question_without_an_answer_costs_no_other():
    asked, numbers = [], [2, 13, 5, 7, 8]
    expected = [4, "13 has no square", 25, 49, 64]
    assert of_threads(squares(asked), numbers) == expected


def test_a_bug_is_everybodys():
    def broken(_questions):
        raise KeyError("a bug")

    together = Together(broken, lambda _: 1, 10)
    for _ in range(2):
        with pytest.raises(KeyError, match="a bug"):
            together.answer(1)


def test_one_thread_alone_asks_one_by_one():
    asked = []
    together = squares(asked)
    assert [together.answer(number) for number in (1, 2, 3)] == [1, 4, 9]
    assert asked == [[1], [2], [3]]
