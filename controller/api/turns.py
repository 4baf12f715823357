"""Work that takes much memory is done for some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventlet.semaphore import Semaphore

from controller.api.problems import Problem

WAIT_S: Final = 30.0
WAITING_MAX: Final = 128
"""More are sent away at once, so that those who wait do not take up every connection."""


class Turns:
    """most: that have a turn at once; others wait, and are told to come again after WAIT_S."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._free = Semaphore(most)
        self._waiting = 0

    def take(self, wait_s: float = WAIT_S) -> None:
        if not self._free.acquire(blocking=False) and not self._wait(wait_s):
            raise Problem(
                503,
                f"{self._most} {self._what} are on their way already",
                title="Too many at once",
                headers={"Retry-After": "5"},
            )

    def _wait(self, wait_s: float) -> bool:
        if wait_s <= 0 or self._waiting >= WAITING_MAX:
            return False
        self._waiting += 1
        try:
            return bool(self._free.acquire(timeout=wait_s))
        finally:
            self._waiting -= 1

    @contextmanager
    def one(self) -> Iterator[None]:
        self.take()
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        self._free.release()
