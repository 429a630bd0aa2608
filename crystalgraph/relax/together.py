"""Crystals of many threads evaluated together, as a GPU wants it: one alone would keep it idle.

Every thread relaxes its crystal as if it were alone. Whoever comes while the device is at work waits; the first to get
on takes along all who wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from crystalgraph.relax.atoms import EXPECTED_ERRORS

Q = TypeVar("Q")


class Together(Generic[Q]):
    """A function of many questions, for threads that have one each.

    Args:
        answer_all: the answers to questions, in their order; an error is that of one of them.
        size: of a question.
        most: size of what is asked at once; a larger question is asked alone.
    """

    def __init__(self, answer_all: Callable[[Sequence[Q]], Sequence[Any]], size: Callable[[Q], int], most: int) -> None:
        self._answer_all, self._size, self._most = answer_all, size, most
        self._waiting = list[tuple[Q, Future[Any]]]()
        self._list, self._device = threading.Lock(), threading.Lock()

    def answer(self, question: Q) -> Any:
        """The answer to one question, once its turn has come.

        Raises:
            ValueError, RuntimeError, ...: those of `EXPECTED_ERRORS` that the question alone raises.
        """
        asked: tuple[Q, Future[Any]] = question, Future()
        with self._list:
            self._waiting.append(asked)
        while not asked[1].done():
            with self._device:
                if not asked[1].done():
                    self._answer(self._next())
        return asked[1].result()

    def _next(self) -> list[tuple[Q, Future[Any]]]:
        """The first that wait, as many as go together."""
        with self._list:
            size = number = 0
            for question, _ in self._waiting:
                size += self._size(question)
                if number and size > self._most:
                    break
                number += 1
            chosen, self._waiting = self._waiting[:number], self._waiting[number:]
        return chosen

    def _answer(self, chosen: list[tuple[Q, Future[Any]]]) -> None:
        """Answer some; should that fail, each alone."""
        try:
            answers = self._answer_all([question for question, _ in chosen])
        except Exception as error:  # noqa: BLE001  # raised in the thread that asked
            if len(chosen) > 1 and isinstance(error, EXPECTED_ERRORS):
                for asked in chosen:
                    self._answer([asked])
                return
            for _, answer in chosen:
                answer.set_exception(error)
            return
        for (_, answer), found in zip(chosen, answers, strict=True):
            answer.set_result(found)
